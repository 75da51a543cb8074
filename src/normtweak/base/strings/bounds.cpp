#include "normtweak/base/strings/bounds.h"

#include <cmath>
#include <cstdlib>

#include "normtweak/base/error.h"

namespace normtweak {
namespace {

// Decimal digits with an optional sign.
bool is_whole(const std::string& text) {
  const std::size_t sign = text.starts_with('-') || text.starts_with('+') ? 1 : 0;
  return text.size() > sign && text.find_first_not_of("0123456789", sign) == std::string::npos;
}

std::string bound_text(long double bound, bool whole) {
  return whole ? fmt::format("{:.0f}", bound) : fmt::format("{:g}", bound);
}

std::string checked(std::string_view text, const Bounds& bounds) {
  std::string number(text);
  if (const auto wrong = complaint(number, bounds); !wrong.empty()) fail("{}", wrong);
  return number;
}

}  // namespace

std::string complaint(const std::string& text, const Bounds& bounds) {
  char* end = nullptr;
  // A long double represents every seed exactly; real-valued options are stored as double.
  const long double number = bounds.whole ? std::strtold(text.c_str(), &end) : std::strtod(text.c_str(), &end);
  if (end == text.c_str() || *end != '\0' || !std::isfinite(number) || (bounds.whole && !is_whole(text))) {
    return fmt::format("{}: a {}number is expected", text, bounds.whole ? "whole " : "");
  }
  if (number < bounds.least || (bounds.above_least && number == bounds.least)) {
    return fmt::format("{} is too small; {} {} is expected", text, bounds.above_least ? "more than" : "at least",
                       bound_text(bounds.least, bounds.whole));
  }
  if (number > bounds.most) {
    return fmt::format("{} is too large; at most {} is expected", text, bound_text(bounds.most, bounds.whole));
  }
  return "";
}

double number_within(std::string_view text, const Bounds& bounds) {
  return std::strtod(checked(text, bounds).c_str(), nullptr);
}

int count_within(std::string_view text, const Bounds& bounds) {
  return static_cast<int>(std::strtol(checked(text, bounds).c_str(), nullptr, 10));
}

}  // namespace normtweak
