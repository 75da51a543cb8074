// Bounds of numeric options. CLI11's own checks accept NaN, wrap a negative seed, and truncate numbers that exceed 64
// bits.
#pragma once
#include <CLI/CLI.hpp>
#include <cstdint>
#include <limits>

namespace normtweak::cli {

struct Bounds {
  const char* name;                                       // shown in the help after the type
  long double least = 0;                                  // smallest accepted value
  long double most = std::numeric_limits<double>::max();  // largest accepted value
  bool above_least = false;                               // `least` itself is excluded
  bool whole = false;                                     // a whole number
};

// For Option::check.
CLI::Validator within(const Bounds& bounds);

// Counts fit an int, so that the product of two fits 64 bits.
constexpr Bounds kCount = {.name = "NONNEGATIVE", .most = std::numeric_limits<int>::max(), .whole = true};
constexpr Bounds kPositiveCount = {
    .name = "POSITIVE", .least = 1, .most = std::numeric_limits<int>::max(), .whole = true};
constexpr Bounds kWindow = {  // a window of one token predicts nothing
    .name = "[2,inf)",
    .least = 2,
    .most = std::numeric_limits<int>::max(),
    .whole = true};
constexpr Bounds kSeed = {.name = "NONNEGATIVE", .most = std::numeric_limits<std::uint64_t>::max(), .whole = true};
constexpr Bounds kThreads = {.name = "NONNEGATIVE", .most = 4096, .whole = true};  // many more crash OpenMP
constexpr Bounds kPositive = {.name = "POSITIVE", .above_least = true};
constexpr Bounds kShare = {.name = "[0,1]", .most = 1};
constexpr Bounds kPositiveShare = {.name = "(0,1]", .most = 1, .above_least = true};

}  // namespace normtweak::cli
