// Numbers in sentences for the user.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace normtweak {

// "1 row", "2 rows", "0 rows". noun: in the singular; its plural ends in s.
std::string counted(std::int64_t count, std::string_view noun);

// With four decimals, or, where these would leave less than two digits of a small number, with those two: "0.1500",
// "4.2e-06", "0".
std::string figure(double value);

}  // namespace normtweak
