#include "normtweak/base/processes/launch.h"

#include <charconv>
#include <cstdlib>

#include "normtweak/base/error.h"

namespace normtweak {
namespace {

std::string text_of(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr) fail("WORLD_SIZE is set, {} is not; start several processes with torchrun", name);
  return value;
}

int number(const char* name, int low, int high) {
  const auto text = text_of(name);
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < low || value > high) {
    fail("{}={}: a number from {} to {} expected", name, text, low, high);
  }
  return value;
}

bool is_set(const char* name) { return std::getenv(name) != nullptr; }

}  // namespace

Launch launch_from_environment() {
  constexpr int kMostProcesses = 65536, kLongest = 7 * 24 * 3600;
  Launch launch;
  if (!is_set("WORLD_SIZE")) return launch;
  launch.size = number("WORLD_SIZE", 1, kMostProcesses);
  if (launch.size == 1) return launch;
  launch.rank = number("RANK", 0, launch.size - 1);
  launch.local_rank = is_set("LOCAL_RANK") ? number("LOCAL_RANK", 0, launch.rank) : launch.rank;
  launch.local_size =
      is_set("LOCAL_WORLD_SIZE") ? number("LOCAL_WORLD_SIZE", launch.local_rank + 1, launch.size) : launch.size;
  launch.address = text_of("MASTER_ADDR");
  launch.port = static_cast<std::uint16_t>(number("MASTER_PORT", 1, UINT16_MAX));
  launch.has_store = is_set("TORCHELASTIC_USE_AGENT_STORE") && text_of("TORCHELASTIC_USE_AGENT_STORE") == "True";
  if (is_set("TORCHELASTIC_RESTART_COUNT")) launch.attempt = text_of("TORCHELASTIC_RESTART_COUNT");
  if (is_set("NORMTWEAK_TIMEOUT")) launch.timeout = std::chrono::seconds(number("NORMTWEAK_TIMEOUT", 1, kLongest));
  return launch;
}

}  // namespace normtweak
