// Choice of device and compute dtype, the dtype of matrix products.
#pragma once
#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <optional>
#include <string>
#include <string_view>

namespace normtweak {

// "cpu", "cuda" or "cuda:1"; the device need not exist. Throws Error for any other name.
c10::Device parse_device(std::string_view name);

// "cpu", "cuda", "cuda:1", or "" for a GPU if there is one. Throws Error if the device does not exist. process: this
// process's local rank, if there are several on this machine. It then gets the GPU of that number, which becomes this
// thread's current device; naming a GPU is an error.
c10::Device choose_device(std::string_view name, std::optional<int> process = std::nullopt);

// True if bf16 products are several times faster than F32 ones: CUDA, CPUs with AMX, AMD CPUs with AVX512-BF16. Intel
// CPUs with AVX512-BF16 but no AMX do not qualify (measurements: docs/architecture.md).
bool has_fast_bf16(c10::Device device);

bool has_amx_bf16();  // whether this CPU has tiles of bf16 numbers, and the system lets them be used

bool is_amd_cpu();

// "f32", "bf16" or "f16" (also float32, bfloat16, float16). Throws Error otherwise.
at::ScalarType parse_float_type(std::string_view name);
std::string_view float_type_name(at::ScalarType type);  // as in config.json; also "float64"

// Peak memory of this process: resident set size on a CPU, memory allocated on the device on a GPU.
std::int64_t peak_memory_bytes(c10::Device device);

}  // namespace normtweak
