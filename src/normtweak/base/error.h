// The one error type of the library: what happened, where, expected and found, what to do; one line.
#pragma once
#include <fmt/format.h>

#include <stdexcept>
#include <string_view>
#include <utility>

namespace normtweak {

// what() is a complete message for the user; `cli/` prints it after "normtweak: " and exits with status 1.
class Error : public std::runtime_error {
 public:
  // Messages often quote file content. What one_line() (base/strings/one_line.h) makes of them is one line of valid
  // UTF-8 that cannot control the terminal, and without the middle of what is too long.
  explicit Error(std::string_view message);
};

// The request contradicts itself, whatever the files contain; `cli/` exits with status 2.
class UsageError : public Error {
 public:
  using Error::Error;
};

template <class... Arguments>
[[noreturn]] void fail(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  throw Error(fmt::format(format, std::forward<Arguments>(arguments)...));
}

template <class... Arguments>
[[noreturn]] void fail_usage(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  throw UsageError(fmt::format(format, std::forward<Arguments>(arguments)...));
}

}  // namespace normtweak
