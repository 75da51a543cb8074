# Two functions that make every library and every test of the project in the same way.

add_library(normtweak_flags INTERFACE)
target_compile_options(normtweak_flags INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wno-unknown-pragmas -Werror)
target_include_directories(normtweak_flags INTERFACE "${PROJECT_SOURCE_DIR}/src")
if(NORMTWEAK_SANITIZE)
  target_compile_options(normtweak_flags INTERFACE
    -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-sanitize=vptr)
  target_link_options(normtweak_flags INTERFACE -fsanitize=address,undefined)
endif()

# normtweak_library(FOLDER SOURCES a.cpp ... [LINK library ...]): the static library normtweak_FOLDER.
function(normtweak_library folder)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK;INCLUDE" ${ARGN})
  add_library(normtweak_${folder} STATIC ${ARG_SOURCES})
  target_link_libraries(normtweak_${folder} PUBLIC ${ARG_LINK} normtweak::torch Threads::Threads PRIVATE normtweak_flags)
  target_include_directories(normtweak_${folder} PUBLIC "${PROJECT_SOURCE_DIR}/src")
  target_include_directories(normtweak_${folder} SYSTEM PUBLIC ${ARG_INCLUDE})
endfunction()

# normtweak_test(NAME SOURCES a.cpp ... LINK library ...): the GoogleTest program test_NAME, one ctest entry.
function(normtweak_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_executable(test_${name} ${ARG_SOURCES})
  target_link_libraries(test_${name} PRIVATE ${ARG_LINK} normtweak_flags GTest::gtest_main)
  add_test(NAME ${name} COMMAND test_${name})
endfunction()
