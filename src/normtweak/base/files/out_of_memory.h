// Names the file for which memory does not suffice.
#pragma once
#include <new>
#include <string_view>
#include <utility>

#include "normtweak/base/error.h"

namespace normtweak {

// What `read` returns. Throws Error naming `origin` where it runs out of memory.
template <class Read>
decltype(auto) within_memory(std::string_view origin, Read&& read) {
  try {
    return std::forward<Read>(read)();
  } catch (const std::bad_alloc&) {
    fail("{}: takes more memory to read than is left", origin);
  }
}

}  // namespace normtweak
