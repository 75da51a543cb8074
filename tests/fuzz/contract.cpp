#include "contract.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>

#include "normtweak/base/error.h"
#include "normtweak/base/strings/one_line.h"

// Of the sanitizers' runtime; GCC has no header for them.
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*allocated)(const volatile void*, std::size_t),
                                                         void (*freed)(const volatile void*));
extern "C" std::size_t __sanitizer_get_allocated_size(const volatile void* place);

namespace normtweak::fuzz {
namespace {

constexpr double kMostSeconds = 1;
constexpr std::int64_t kMostBytesPerByte = 100, kMostBytesBeside = 64 << 20;

std::atomic<std::int64_t> allocated_bytes = 0, peak_bytes = 0;
Outcome latest;

void count_allocation(const volatile void*, std::size_t size) {
  const auto now = allocated_bytes += static_cast<std::int64_t>(size);
  auto peak = peak_bytes.load();
  while (now > peak && !peak_bytes.compare_exchange_weak(peak, now)) {
  }
}

void count_release(const volatile void* place) {
  if (place != nullptr) allocated_bytes -= static_cast<std::int64_t>(__sanitizer_get_allocated_size(place));
}

[[noreturn]] void broken(const std::string& promise) {
  std::fprintf(stderr, "the contract of readers is broken: %s\n", promise.c_str());
  std::abort();
}

double processor_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

// And a short one, of valid UTF-8.
bool is_one_line(std::string_view text) { return !text.empty() && one_line(text) == text; }

Outcome run(std::string_view bytes, const std::function<void(std::string_view)>& read) {
  try {
    read(bytes);
    return {true, {}};
  } catch (const Error& error) {
    if (!is_one_line(error.what())) broken(fmt::format("an Error that is not one short line: {}", error.what()));
    return {false, error.what()};
  } catch (const std::exception& error) {
    broken(fmt::format("an exception that is no Error: {}", error.what()));
  }
}

}  // namespace

int check(const std::uint8_t* data, std::size_t size, const std::function<void(std::string_view)>& read) {
  static const int hooks = __sanitizer_install_malloc_and_free_hooks(&count_allocation, &count_release);
  if (hooks == 0) broken("allocations cannot be counted");
  const auto before = allocated_bytes.load();
  peak_bytes = before;
  const auto seconds_taken = [&] {
    const auto start = processor_seconds();
    latest = run({reinterpret_cast<const char*>(data), size}, read);
    return processor_seconds() - start;
  };
  auto seconds = seconds_taken();
  if (seconds > kMostSeconds) seconds = seconds_taken();  // the system's time counts too: a busy machine may stall once
  if (seconds > kMostSeconds) broken(fmt::format("{:.1f} seconds for {} bytes", seconds, size));
  const auto taken = peak_bytes - before;
  if (taken > kMostBytesPerByte * static_cast<std::int64_t>(size) + kMostBytesBeside) {
    broken(fmt::format("{} bytes of memory for {} bytes", taken, size));
  }
  return 0;
}

const Outcome& outcome() { return latest; }

void require(bool holds, std::string_view promise) {
  if (!holds) broken(std::string(promise));
}

}  // namespace normtweak::fuzz
