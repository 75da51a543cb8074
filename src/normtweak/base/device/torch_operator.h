// Operators that torch's own compiler calls and that have no function in its headers.
#pragma once
#include <ATen/core/dispatch/Dispatcher.h>

#include <optional>

namespace normtweak {

// nullopt if this torch version has none of this name with this signature.
template <class Signature>
std::optional<c10::TypedOperatorHandle<Signature>> find_operator(const char* name) {
  const auto found = c10::Dispatcher::singleton().findSchema({name, ""});
  if (!found) return std::nullopt;
  try {
    return found->typed<Signature>();
  } catch (const c10::Error&) {
    return std::nullopt;
  }
}

}  // namespace normtweak
