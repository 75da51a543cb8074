// Errors that say what they are about.
#pragma once
#include <string_view>

#include "normtweak/base/error.h"

namespace normtweak {

// Runs `action` and puts `subject` in front of the message of its Error: the name of a file, a linear or a tensor that
// only the caller knows.
template <class Action>
auto about(std::string_view subject, const Action& action) {
  try {
    return action();
  } catch (const Error& error) {
    fail("{}: {}", subject, error.what());
  }
}

}  // namespace normtweak
