// Bounds of numeric options. CLI11's own checks let NaN pass, wrap a negative seed, and cut what 64 bits cannot hold.
#pragma once
#include <CLI/CLI.hpp>
#include <cstdint>
#include <limits>

namespace normtweak::cli {

struct Bounds {
  const char* name;                                       // in the help, behind the type
  long double least = 0;                                  // the least that is taken
  long double most = std::numeric_limits<double>::max();  // the greatest
  bool above_least = false;                               // `least` itself is not taken
  bool whole = false;                                     // a whole number
};

// For Option::check.
CLI::Validator within(const Bounds& bounds);

// A count fits an int, so that two of them can be multiplied in 64 bits.
constexpr Bounds kCount = {.name = "NONNEGATIVE", .most = std::numeric_limits<int>::max(), .whole = true};
constexpr Bounds kPositiveCount = {
    .name = "POSITIVE", .least = 1, .most = std::numeric_limits<int>::max(), .whole = true};
constexpr Bounds kWindow = {  // of one token would predict nothing
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
