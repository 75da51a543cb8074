# What several processes talk through: Gloo between CPUs, NCCL between GPUs. Both are in LibTorch; the headers that
# c10d's own headers include are not. Gloo's come from Debian's libgloo-dev (its library must not be linked), NCCL's and
# CUDA's from the nvidia-* wheels beside torch. Without them the program is built all the same, for one process.
#
# Sets NORMTWEAK_C10D_DEFINITIONS and NORMTWEAK_C10D_INCLUDES for the one file that uses it.

set(NORMTWEAK_C10D_DEFINITIONS "")
set(NORMTWEAK_C10D_INCLUDES "")

find_path(GLOO_INCLUDE gloo/algorithm.h)
if(GLOO_INCLUDE)
  list(APPEND NORMTWEAK_C10D_DEFINITIONS USE_C10D_GLOO)
  list(APPEND NORMTWEAK_C10D_INCLUDES "${GLOO_INCLUDE}")
endif()

if(NORMTWEAK_HAS_CUDA)
  file(GLOB nvidia_includes "${torch_root}/../nvidia/*/include")
  find_path(CUDA_RUNTIME_INCLUDE cuda_runtime_api.h HINTS ${nvidia_includes} PATHS /usr/local/cuda/include)
  find_path(NCCL_INCLUDE nccl.h HINTS ${nvidia_includes})
  # A part of CUDA's headers that its wheel left out from CUDA 13 on. A toolkit has it, and so has triton, which comes
  # with torch.
  find_path(CUDA_CRT_INCLUDE crt/host_config.h
    HINTS ${nvidia_includes} PATHS /usr/local/cuda/include "${torch_root}/../triton/backends/nvidia/include")
  if(CUDA_RUNTIME_INCLUDE AND NCCL_INCLUDE AND CUDA_CRT_INCLUDE)
    list(APPEND NORMTWEAK_C10D_DEFINITIONS USE_C10D_NCCL)
    list(APPEND NORMTWEAK_C10D_INCLUDES
      "${CUDA_RUNTIME_INCLUDE}" "${NCCL_INCLUDE}" ${nvidia_includes} "${CUDA_CRT_INCLUDE}")
  endif()
endif()
list(REMOVE_DUPLICATES NORMTWEAK_C10D_INCLUDES)
list(JOIN NORMTWEAK_C10D_DEFINITIONS " " found)
message(STATUS "Several processes: ${found}")
