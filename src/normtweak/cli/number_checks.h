// Bounds of numeric options.
#pragma once
#include <CLI/CLI.hpp>
#include <cstdint>
#include <limits>

#include "normtweak/base/strings/bounds.h"

namespace normtweak::cli {

// For Option::check.
CLI::Validator within(const Bounds& bounds);

constexpr Bounds kPositiveCount = {
    .name = "POSITIVE", .least = 1, .most = std::numeric_limits<int>::max(), .whole = true};
constexpr Bounds kWindow = {  // a window of one token predicts nothing
    .name = "[2,inf)",
    .least = 2,
    .most = std::numeric_limits<int>::max(),
    .whole = true};
constexpr Bounds kSeed = {.name = "NONNEGATIVE", .most = std::numeric_limits<std::uint64_t>::max(), .whole = true};
constexpr Bounds kThreads = {.name = "NONNEGATIVE", .most = 4096, .whole = true};  // many more crash OpenMP
constexpr Bounds kNonnegative = {.name = "NONNEGATIVE"};
constexpr Bounds kPositive = {.name = "POSITIVE", .above_least = true};
constexpr Bounds kPositiveShare = {.name = "(0,1]", .most = 1, .above_least = true};

}  // namespace normtweak::cli
