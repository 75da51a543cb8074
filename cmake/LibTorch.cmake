# Makes the target `normtweak::torch` from the torch package of a Python environment.
#
# TorchConfig.cmake is not used on purpose: that of a CUDA build demands a CUDA toolkit, which a program without
# kernels of its own does not need. Headers and shared libraries of the wheel are enough.
#
# NORMTWEAK_PYTHON: the interpreter whose torch is taken (default: .venv/bin/python of the project).

set(NORMTWEAK_PYTHON "${PROJECT_SOURCE_DIR}/.venv/bin/python" CACHE FILEPATH "Python interpreter whose torch is used")

execute_process(
  COMMAND "${NORMTWEAK_PYTHON}" -c "import os, torch; print(os.path.dirname(torch.__file__), torch.__version__, int(torch._C._GLIBCXX_USE_CXX11_ABI), sep=';')"
  OUTPUT_VARIABLE torch_facts OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE torch_status ERROR_VARIABLE torch_error)
if(NOT torch_status EQUAL 0)
  message(FATAL_ERROR "no torch in ${NORMTWEAK_PYTHON}: run `make setup`, or name another interpreter with `make build TORCH_PYTHON=...`\n${torch_error}")
endif()
list(GET torch_facts 0 torch_root)
list(GET torch_facts 1 torch_version)
list(GET torch_facts 2 torch_cxx11_abi)
message(STATUS "LibTorch ${torch_version} from ${torch_root}")

add_library(normtweak_torch INTERFACE)
add_library(normtweak::torch ALIAS normtweak_torch)
target_include_directories(normtweak_torch SYSTEM INTERFACE
  "${torch_root}/include" "${torch_root}/include/torch/csrc/api/include")
# With the second one, ATen's own headers include the operators that they need, instead of all 1300.
target_compile_definitions(normtweak_torch INTERFACE _GLIBCXX_USE_CXX11_ABI=${torch_cxx11_abi} AT_PER_OPERATOR_HEADERS)
# Without OpenMP, at::parallel_for is a plain loop. Given as flags, so that the runtime found is the one that LibTorch
# has loaded.
target_compile_options(normtweak_torch INTERFACE -fopenmp)
target_link_options(normtweak_torch INTERFACE -fopenmp "-Wl,-rpath,${torch_root}/lib")
foreach(name torch torch_cpu c10)
  target_link_libraries(normtweak_torch INTERFACE "${torch_root}/lib/lib${name}.so")
endforeach()
if(EXISTS "${torch_root}/lib/libtorch_cuda.so")
  # Nothing refers to a symbol of these, but loading them registers the CUDA kernels. One item, because CMake may move
  # or merge the parts of several.
  string(JOIN "," cuda_libraries
    "-Wl,--push-state" --no-as-needed "${torch_root}/lib/libtorch_cuda.so" "${torch_root}/lib/libc10_cuda.so" --pop-state)
  target_link_libraries(normtweak_torch INTERFACE "${cuda_libraries}")
  # They in turn need CUDA's own libraries, which lie in other wheels: the loader finds those through the RUNPATH of
  # the torch libraries, the linker need not.
  target_link_options(normtweak_torch INTERFACE "-Wl,--allow-shlib-undefined")
  set(NORMTWEAK_HAS_CUDA ON)
endif()

# Another torch in the same place: look again before the next build.
set_property(DIRECTORY "${PROJECT_SOURCE_DIR}" APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${torch_root}/version.py")
