// How much memory there is, and how much of a GPU's the program may take.
#pragma once
#include <c10/core/Device.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace normtweak {

// "16GiB", "16G", "16GB", "800MiB", "800M" and so on; a bare number counts bytes. GiB, MiB, KiB, G, M, K are powers of
// 1024; GB, MB, KB powers of 1000. Throws Error if it is no positive size.
std::int64_t parse_bytes(std::string_view size);

std::string bytes_text(std::int64_t bytes);  // "1.5 GiB", "300 MiB"

// Bytes that the device has left: a GPU's free memory; of a CPU, all that the machine has, or that the control groups
// of this process (of a container, say) let it have.
std::int64_t available_memory(c10::Device device);

// Bytes of host memory that can still be taken without pushing anything out that is in use, nor out of the control
// groups.
std::int64_t available_host_memory();

// Makes a GPU's allocator fail rather than take more than `bytes`; does nothing on a CPU. CUDA's own context comes on
// top. To be called before anything is allocated there.
void limit_device_memory(c10::Device device, std::int64_t bytes);

// Has malloc keep what is freed, up to 256 MiB, for the tensors to come. Otherwise each of more than 32 MiB is new
// pages from the system, which has to clear them: a quarter of the time of a step on the CPU. To be called before
// threads are.
void keep_freed_memory();

}  // namespace normtweak
