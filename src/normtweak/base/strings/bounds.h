// Bounds of numbers that a user writes: in options, in rules, in plans. Parsers of the standard library and of CLI11
// accept NaN, wrap a negative seed, and truncate numbers that exceed 64 bits.
#pragma once
#include <limits>
#include <string>
#include <string_view>

namespace normtweak {

struct Bounds {
  const char* name;                                       // shown in the help after the type
  long double least = 0;                                  // smallest accepted value
  long double most = std::numeric_limits<double>::max();  // largest accepted value
  bool above_least = false;                               // `least` itself is excluded
  bool whole = false;                                     // a whole number
};

// What is wrong with `text` as a number within the bounds; empty if nothing is.
std::string complaint(const std::string& text, const Bounds& bounds);

// The number. Throws Error with the complaint.
double number_within(std::string_view text, const Bounds& bounds);
int count_within(std::string_view text, const Bounds& bounds);  // of whole numbers that fit an int

// Counts fit an int, so that the product of two fits 64 bits.
inline constexpr Bounds kCount = {.name = "NONNEGATIVE", .most = std::numeric_limits<int>::max(), .whole = true};
inline constexpr Bounds kShare = {.name = "[0,1]", .most = 1};

}  // namespace normtweak
