# The functions that make every library and every test of the project in the same way.

# New compilers bring new warnings; they are errors only with the compiler that the project is checked with.
set(warnings_are_errors OFF)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  set(warnings_are_errors ON)
endif()
option(NORMTWEAK_WARNINGS_AS_ERRORS "Stop at a warning" ${warnings_are_errors})

add_library(normtweak_flags INTERFACE)
target_compile_options(normtweak_flags INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wno-unknown-pragmas)
if(NORMTWEAK_WARNINGS_AS_ERRORS)
  target_compile_options(normtweak_flags INTERFACE -Werror)
endif()
target_include_directories(normtweak_flags INTERFACE "${PROJECT_SOURCE_DIR}/src")

# Tests run side by side: one thread each, unless a test asks for more.
set(NORMTWEAK_TEST_ENVIRONMENT "OMP_NUM_THREADS=1")
if(NORMTWEAK_SANITIZE)
  target_compile_options(normtweak_flags INTERFACE
    -O1 -g1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-sanitize=vptr)
  target_link_options(normtweak_flags INTERFACE -fsanitize=address,undefined)
  if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    target_compile_options(normtweak_flags INTERFACE -fsanitize=fuzzer-no-link)  # libFuzzer sees which code has run
  endif()
  # LibTorch keeps global state until the end, which counts as leaked.
  list(APPEND NORMTWEAK_TEST_ENVIRONMENT "ASAN_OPTIONS=detect_leaks=0" "UBSAN_OPTIONS=print_stacktrace=1")
endif()

# normtweak_precompile(TARGET [TESTS]): TARGET's files start from one precompiled header, where the compiler takes them.
function(normtweak_precompile target)
  cmake_parse_arguments(ARG "TESTS" "" "" ${ARGN})
  if(NOT NORMTWEAK_PRECOMPILED)
    return()
  elseif(ARG_TESTS)
    target_precompile_headers(${target} REUSE_FROM normtweak_precompiled_tests)
  else()
    target_precompile_headers(${target} REUSE_FROM normtweak_precompiled)
  endif()
endfunction()

# normtweak_library(FOLDER SOURCES a.cpp ... [LINK library ...] [INCLUDE folder ...]): the static library
# normtweak_FOLDER. INCLUDE: headers of other projects, in which warnings do not count.
function(normtweak_library folder)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK;INCLUDE" ${ARGN})
  add_library(normtweak_${folder} STATIC ${ARG_SOURCES})
  target_link_libraries(normtweak_${folder} PUBLIC ${ARG_LINK} normtweak::torch Threads::Threads PRIVATE normtweak_flags)
  target_include_directories(normtweak_${folder} PUBLIC "${PROJECT_SOURCE_DIR}/src")
  target_include_directories(normtweak_${folder} SYSTEM PUBLIC ${ARG_INCLUDE})
  normtweak_precompile(normtweak_${folder})
  set_property(GLOBAL APPEND PROPERTY NORMTWEAK_LIBRARIES normtweak_${folder})
endfunction()

# Begins the command of a test that needs Python packages. It is skipped, with a line saying what is missing, where a
# package of requirements-test.txt is not installed: an interpreter named by the user is not changed.
set(NORMTWEAK_IF_INSTALLED
  "${NORMTWEAK_PYTHON}" "${PROJECT_SOURCE_DIR}/tools/run_if_installed.py" "${PROJECT_SOURCE_DIR}/requirements-test.txt")

# Begins the command of a test that is several processes; `--nproc-per-node N PROGRAM` follows.
set(NORMTWEAK_TORCHRUN "${NORMTWEAK_PYTHON}" -m torch.distributed.run --standalone --no-python)

# normtweak_test(NAME SOURCES a.cpp ... LINK library ... [ORACLES name ...] [ENVIRONMENT A=b ...] [LABELS label ...]
# [PROCESSES N]): the GoogleTest program test_NAME, one ctest entry. ORACLES: names given to normtweak_oracle, which run
# before. PROCESSES: so many processes run it at the same time, started by torchrun.
function(normtweak_test name)
  cmake_parse_arguments(ARG "" "PROCESSES" "SOURCES;LINK;ORACLES;ENVIRONMENT;LABELS" ${ARGN})
  add_executable(test_${name} ${ARG_SOURCES} "${PROJECT_SOURCE_DIR}/tests/support/seed.cpp")
  target_link_libraries(test_${name} PRIVATE ${ARG_LINK} normtweak_flags GTest::gtest_main)
  target_include_directories(test_${name} PRIVATE "${PROJECT_SOURCE_DIR}/tests")  # for "support/..."
  normtweak_precompile(test_${name} TESTS)
  if(ARG_PROCESSES)
    add_test(NAME ${name} COMMAND ${NORMTWEAK_TORCHRUN} --nproc-per-node ${ARG_PROCESSES} $<TARGET_FILE:test_${name}>)
  elseif(ARG_ORACLES)
    add_test(NAME ${name} COMMAND ${NORMTWEAK_IF_INSTALLED} $<TARGET_FILE:test_${name}>)
  else()
    add_test(NAME ${name} COMMAND test_${name})
  endif()
  set_tests_properties(${name} PROPERTIES
    ENVIRONMENT "${NORMTWEAK_TEST_ENVIRONMENT};${ARG_ENVIRONMENT}" TIMEOUT 600 SKIP_RETURN_CODE 77
    FIXTURES_REQUIRED "${ARG_ORACLES}" LABELS "${ARG_LABELS}")
endfunction()

# NORMTWEAK_PYTHON with these arguments as a ctest entry.
function(_normtweak_python_test name)
  cmake_parse_arguments(ARG "" "" "COMMAND;ENVIRONMENT;LABELS" ${ARGN})
  add_test(NAME ${name}
    COMMAND ${NORMTWEAK_IF_INSTALLED} "${NORMTWEAK_PYTHON}" ${ARG_COMMAND}
    WORKING_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}")
  set_tests_properties(${name} PROPERTIES
    ENVIRONMENT "${NORMTWEAK_TEST_ENVIRONMENT};PYTHONPATH=${PROJECT_SOURCE_DIR}/tests/oracles;PYTHONDONTWRITEBYTECODE=1;${ARG_ENVIRONMENT}"
    TIMEOUT 600 SKIP_RETURN_CODE 77 LABELS "${ARG_LABELS}")
endfunction()

# normtweak_pytest(NAME file.py [ORACLES name ...] [ENVIRONMENT A=b ...] [LABELS slow ...]): one file of pytest as a
# ctest entry. The environment variable NORMTWEAK names the built program. No entry in a sanitized build, which has no
# program.
function(normtweak_pytest name file)
  cmake_parse_arguments(ARG "" "" "ORACLES;ENVIRONMENT;LABELS" ${ARGN})
  if(NORMTWEAK_SANITIZE)
    return()
  endif()
  _normtweak_python_test(${name}
    COMMAND -m pytest -q -p no:cacheprovider "${CMAKE_CURRENT_SOURCE_DIR}/${file}"
    ENVIRONMENT "NORMTWEAK=${CMAKE_BINARY_DIR}/normtweak" ${ARG_ENVIRONMENT}
    LABELS ${ARG_LABELS})
  set_tests_properties(${name} PROPERTIES FIXTURES_REQUIRED "${ARG_ORACLES}")
endfunction()

# normtweak_oracle(NAME script.py OUTPUT_FOLDER [argument ...]): runs `script.py OUTPUT_FOLDER argument ...`, which
# writes what another implementation computes, before the tests that name NAME among their ORACLES.
function(normtweak_oracle name script output)
  cmake_path(ABSOLUTE_PATH script BASE_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}")
  _normtweak_python_test(oracle_${name} COMMAND "${script}" "${output}" ${ARGN})
  set_tests_properties(oracle_${name} PROPERTIES FIXTURES_SETUP ${name})
endfunction()
