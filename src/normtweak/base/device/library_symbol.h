// Functions of shared libraries that this program is not linked with.
#pragma once
#include <dlfcn.h>

namespace normtweak {

// Whether the library has the function, which is then set. library: as dlopen() returns it, or RTLD_DEFAULT.
template <typename Function>
bool find_symbol(void* library, const char* name, Function*& function) {
  function = reinterpret_cast<Function*>(::dlsym(library, name));
  return function != nullptr;
}

}  // namespace normtweak
