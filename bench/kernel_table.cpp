#include "kernel_table.h"

#include <ATen/Context.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

namespace normtweak {
namespace {

namespace profiler = torch::autograd::profiler;
using torch::profiler::impl::ActivityType;

bool is_counted(const profiler::KinetoEvent& event) { return !at::hasCUDA() || event.deviceType() == at::kCUDA; }

}  // namespace

void start_profile() {
  const profiler::ProfilerConfig config(profiler::ProfilerState::KINETO);
  const std::set<ActivityType> activities = {at::hasCUDA() ? ActivityType::CUDA : ActivityType::CPU};
  profiler::prepareProfiler(config, activities);
  profiler::enableProfiler(config, activities);
}

std::string kernel_table(std::size_t rows) {
  struct Sum {
    double milliseconds = 0;
    int count = 0;
  };
  std::map<std::string, Sum> sums;
  double busy = 0;
  std::uint64_t first = UINT64_MAX, last = 0;
  const auto result = profiler::disableProfiler();
  for (const auto& event : result->events()) {
    if (!is_counted(event)) continue;
    const auto milliseconds = static_cast<double>(event.durationNs()) / 1e6;
    auto& sum = sums[event.name()];
    sum.milliseconds += milliseconds;
    ++sum.count;
    busy += milliseconds;
    first = std::min<std::uint64_t>(first, event.startNs());
    last = std::max<std::uint64_t>(last, event.endNs());
  }
  std::vector<std::pair<std::string, Sum>> longest(sums.begin(), sums.end());
  std::ranges::sort(longest,
                    [](const auto& a, const auto& b) { return a.second.milliseconds > b.second.milliseconds; });
  auto table = fmt::format("busy {:.1f} ms of {:.1f}, {} kernels\n\n| kernel | ms | share | launches |\n|-|-|-|-|\n",
                           busy, last > first ? static_cast<double>(last - first) / 1e6 : 0.0, result->events().size());
  for (std::size_t i = 0; i < std::min(longest.size(), rows); ++i) {
    const auto& [name, sum] = longest[i];
    table += fmt::format("| {} | {:.1f} | {:.1f}% | {} |\n", name.substr(0, 110), sum.milliseconds,
                         100 * sum.milliseconds / busy, sum.count);
  }
  return table;
}

}  // namespace normtweak
