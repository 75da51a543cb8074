#pragma once

namespace normtweak::cli {

inline constexpr const char* kVersion = NORMTWEAK_VERSION;  // from CMakeLists.txt

}  // namespace normtweak::cli
