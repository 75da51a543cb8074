// Speed of reading a GGUF file from the page cache into codes, as `tweak` loads it: file bytes a second, for each block
// type of the file, on one thread and on all, beside a plain copy of the same bytes.
//
//     cmake --build build --target bench_gguf && build/bench_gguf MODEL.gguf ...
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <ctime>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "normtweak/base/error.h"
#include "normtweak/formats/gguf.h"

namespace normtweak {
namespace {

constexpr int kRepeats = 7;  // of which the quickest counts

double elapsed() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double cpu_time() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

using Clock = double();

double seconds_of(Clock* clock, const std::function<void()>& work) {
  auto least = std::numeric_limits<double>::infinity();
  for (int i = 0; i < kRepeats; ++i) {
    const auto start = clock();
    work();
    least = std::min(least, clock() - start);
  }
  return least;
}

struct TypeTensors {
  std::vector<std::string> names;
  std::size_t bytes = 0;
};

// Of the types that have codes.
std::map<std::string, TypeTensors> tensors_by_type(const formats::GgufFile& file) {
  std::map<std::string, TypeTensors> types;
  for (const auto& name : file.names()) {
    if (!file.outline(name)) continue;
    auto& type = types[std::string(file.tensor_type(name).name)];
    type.names.push_back(name);
    type.bytes += file.tensor_bytes(name).size();
  }
  return types;
}

void copy(std::span<const std::byte> bytes) {
  const auto target = at::empty({static_cast<std::int64_t>(bytes.size())}, at::kByte);
  auto* to = target.mutable_data_ptr<std::uint8_t>();
  constexpr std::int64_t kChunk = std::int64_t{1} << 18;
  at::parallel_for(0, static_cast<std::int64_t>(bytes.size()), kChunk, [&](std::int64_t begin, std::int64_t end) {
    std::memcpy(to + begin, bytes.data() + begin, static_cast<std::size_t>(end - begin));
  });
}

void measure(const std::string& path, Clock* clock) {
  const formats::GgufFile file(path);
  const int all = clock == cpu_time ? 1 : at::get_num_threads();
  for (const auto& [type, tensors] : tensors_by_type(file)) {
    const auto rate = [&, &tensors = tensors](int threads, const std::function<void(const std::string&)>& read) {
      at::set_num_threads(threads);
      const auto seconds = seconds_of(clock, [&] { std::ranges::for_each(tensors.names, read); });
      at::set_num_threads(all);
      return static_cast<double>(tensors.bytes) / 1e9 / seconds;
    };
    const auto codes = [&](const std::string& name) { file.read_weight(name); };
    const auto bytes = [&](const std::string& name) { copy(file.tensor_bytes(name)); };
    fmt::print("| {} | {} | {:.0f} | {:.2f} | {:.2f} | {:.2f} | {:.2f} |\n", path.substr(path.rfind('/') + 1), type,
               static_cast<double>(tensors.bytes) / 1e6, rate(1, codes), rate(all, codes), rate(1, bytes),
               rate(all, bytes));
  }
}

int run(std::vector<std::string> arguments) {
  auto* clock = std::erase(arguments, "--cpu-time") > 0 ? cpu_time : elapsed;
  fmt::print("| file | type | MB | codes, GB/s, 1 thread | {0} threads | copy, 1 thread | {0} threads |\n",
             clock == cpu_time ? 1 : at::get_num_threads());
  fmt::print("|-|-|-|-|-|-|-|\n");
  for (const auto& path : arguments) measure(path, clock);
  return 0;
}

}  // namespace
}  // namespace normtweak

int main(int count, char** values) {
  try {
    return normtweak::run({values + 1, values + count});
  } catch (const normtweak::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
