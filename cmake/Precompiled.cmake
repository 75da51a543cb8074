# The headers that most files include, parsed once: LibTorch's tensor, and the widest of the standard library. They were
# three quarters of the time of compiling a file. A file still includes what it uses: `make lint` compiles each on its
# own (clang cannot read GCC's precompiled headers), and so does a build with -DNORMTWEAK_PRECOMPILED=OFF.
set(precompiled_by_default OFF)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  set(precompiled_by_default ON)
endif()
option(NORMTWEAK_PRECOMPILED "Compile with a precompiled header" ${precompiled_by_default})
if(NOT NORMTWEAK_PRECOMPILED)
  return()
endif()

set(precompiled_headers
  <algorithm> <array> <cstdint> <filesystem> <functional> <map> <memory> <optional> <string> <string_view> <utility>
  <vector> <ATen/TensorOperators.h> <ATen/core/Tensor.h> <nlohmann/json.hpp>)

# A library of nothing but the header: other targets reuse it.
function(_normtweak_precompiled target)
  file(WRITE "${CMAKE_BINARY_DIR}/${target}.cpp.new" "// Holds the precompiled header.\n")
  file(COPY_FILE "${CMAKE_BINARY_DIR}/${target}.cpp.new" "${CMAKE_BINARY_DIR}/${target}.cpp" ONLY_IF_DIFFERENT)
  add_library(${target} STATIC "${CMAKE_BINARY_DIR}/${target}.cpp")
  target_link_libraries(${target} PRIVATE normtweak::torch Threads::Threads normtweak_flags)
  target_precompile_headers(${target} PRIVATE ${ARGN})
endfunction()

_normtweak_precompiled(normtweak_precompiled ${precompiled_headers})
if(NORMTWEAK_TESTS)
  _normtweak_precompiled(normtweak_precompiled_tests ${precompiled_headers} <gtest/gtest.h>)
endif()
