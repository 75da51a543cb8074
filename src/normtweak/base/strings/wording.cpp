#include "normtweak/base/strings/wording.h"

#include <fmt/format.h>

#include <cmath>

namespace normtweak {

std::string counted(std::int64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::string figure(double value) {
  constexpr double kLeast = 1e-3;  // below it, four decimals show less than two digits
  return std::abs(value) < kLeast ? fmt::format("{:.2g}", value) : fmt::format("{:.4f}", value);
}

}  // namespace normtweak
