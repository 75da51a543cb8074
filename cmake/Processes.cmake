# What several processes talk through: Gloo between CPUs, NCCL between GPUs. Both are in LibTorch; the headers that
# c10d's own headers include are not. Gloo's come from Debian's libgloo-dev (its library must not be linked), NCCL's and
# CUDA's from the nvidia-* wheels beside torch or from a toolkit. Without them the program is built all the same, for
# one process.
#
# Sets NORMTWEAK_C10D_DEFINITIONS and NORMTWEAK_C10D_INCLUDES for the one file that uses it.

set(NORMTWEAK_C10D_DEFINITIONS "")
set(NORMTWEAK_C10D_INCLUDES "")

find_path(GLOO_INCLUDE gloo/algorithm.h)
if(GLOO_INCLUDE)
  list(APPEND NORMTWEAK_C10D_DEFINITIONS USE_C10D_GLOO)
  list(APPEND NORMTWEAK_C10D_INCLUDES "${GLOO_INCLUDE}")
endif()

# Sets NORMTWEAK_NCCL if c10d's header of NCCL compiles with these folders.
include(CheckCXXSourceCompiles)
function(_normtweak_try_nccl)
  set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
  set(CMAKE_REQUIRED_INCLUDES "${torch_root}/include" "${torch_root}/include/torch/csrc/api/include" ${ARGN})
  set(CMAKE_REQUIRED_DEFINITIONS -DUSE_C10D_NCCL)
  check_cxx_source_compiles("
    #include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
    int size() { return sizeof(c10d::ProcessGroupNCCL); }" NORMTWEAK_NCCL)
endfunction()

if(NORMTWEAK_HAS_CUDA)
  # The wheels have most of CUDA's headers; which part is left out changes from version to version. A toolkit has all,
  # and triton, which comes with torch, has some of them. So all are offered, and a trial tells whether it suffices.
  file(GLOB cuda_includes "${torch_root}/../nvidia/*/include" /usr/local/cuda/include /usr/local/cuda/include/cccl
    "${torch_root}/../triton/backends/nvidia/include")
  _normtweak_try_nccl(${cuda_includes})
  if(NORMTWEAK_NCCL)
    list(APPEND NORMTWEAK_C10D_DEFINITIONS USE_C10D_NCCL)
    list(APPEND NORMTWEAK_C10D_INCLUDES ${cuda_includes})
  endif()
endif()
list(REMOVE_DUPLICATES NORMTWEAK_C10D_INCLUDES)
list(JOIN NORMTWEAK_C10D_DEFINITIONS " " found)
message(STATUS "Several processes: ${found}")
