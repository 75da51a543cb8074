# The headers that most files include, parsed once: LibTorch's tensor, and the widest of the standard library. They were
# more than half of the time of compiling many files. A file still includes what it uses: `make lint` compiles each on its
# own (clang cannot read GCC's precompiled headers), and so does a build with -DNORMTWEAK_PRECOMPILED=OFF.
set(precompiled_by_default OFF)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  set(precompiled_by_default ON)
endif()
option(NORMTWEAK_PRECOMPILED "Compile with a precompiled header" ${precompiled_by_default})

set(precompiled_headers
  <algorithm> <array> <cstdint> <filesystem> <functional> <map> <memory> <optional> <string> <string_view> <utility>
  <vector> <ATen/TensorOperators.h> <ATen/core/Tensor.h> <nlohmann/json.hpp>)

# normtweak_precompiled_header(TARGET [HEADERS <header> ...] [LINK library ...]): a library of nothing but the header, to
# which HEADERS are added; other targets reuse it.
function(normtweak_precompiled_header target)
  cmake_parse_arguments(ARG "" "" "HEADERS;LINK" ${ARGN})
  if(NOT NORMTWEAK_PRECOMPILED)
    return()
  endif()
  file(CONFIGURE OUTPUT "${CMAKE_BINARY_DIR}/${target}.cpp" CONTENT "// Holds the precompiled header.\n")
  add_library(${target} STATIC "${CMAKE_BINARY_DIR}/${target}.cpp")
  target_link_libraries(${target} PRIVATE normtweak::torch Threads::Threads normtweak_flags ${ARG_LINK})
  target_include_directories(${target} SYSTEM PRIVATE ${JSON_INCLUDE})  # the one that all use, where there are several
  target_precompile_headers(${target} PRIVATE ${precompiled_headers} ${ARG_HEADERS})
endfunction()

normtweak_precompiled_header(normtweak_precompiled)
