// How much memory is available, and how much of a GPU's memory the program may use.
#pragma once
#include <c10/core/Device.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace normtweak {

// "16GiB", "16G", "16GB", "800MiB", "800M" and so on; a bare number counts bytes. GiB, MiB, KiB, G, M, K are powers of
// 1024; GB, MB, KB powers of 1000. Throws Error if it is no positive size.
std::int64_t parse_bytes(std::string_view size);

std::string bytes_text(std::int64_t bytes);  // "1.5 GiB", "300 MiB", "12 KiB", "7 bytes"

// Bytes available on the device: the free memory of a GPU; on a CPU, all memory of the machine, or the limit of this
// process's control groups (those of a container, say) if that is lower.
std::int64_t available_memory(c10::Device device);

// Bytes of host memory that can be allocated without swapping, within the limits of the control groups.
std::int64_t available_host_memory();

// Makes the GPU allocator fail instead of exceeding `bytes`; does nothing on a CPU. CUDA's own context is not counted.
// Call it before anything is allocated on the GPU.
void limit_device_memory(c10::Device device, std::int64_t bytes);

// Gives the memory that the GPU allocator keeps for later tensors back to the GPU; does nothing on a CPU.
void release_cached_memory(c10::Device device);

// Makes malloc keep what is freed for later tensors, but for tensors of more than 128 MiB (32 MiB before glibc 2.35).
// Otherwise large tensors, and the activations of each step, get fresh pages, which the system has to zero. Call it
// before any thread starts.
void keep_freed_memory();

// Gives what malloc keeps back to the system: between stages, whose tensors have other sizes.
void return_freed_memory();

}  // namespace normtweak
