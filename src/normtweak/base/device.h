// Choice of device and of the type that matrix products run in.
#pragma once
#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <optional>
#include <string>
#include <string_view>

namespace normtweak {

// "cpu", "cuda" or "cuda:1", there or not. Throws Error for any other name.
c10::Device parse_device(std::string_view name);

// "cpu", "cuda", "cuda:1", or "" for a GPU if there is one. Throws Error if the device is not there.
// process: the number of this process among several on this machine. It gets the GPU of that number, and makes it the
// present one of this thread; naming one is an error then.
c10::Device choose_device(std::string_view name, std::optional<int> process = std::nullopt);

// True where bf16 products are several times faster than F32 ones: CUDA, CPUs with AMX, and AMD's with AVX512-BF16.
// Intel's with AVX512-BF16 and no AMX do not count (docs/architecture.md has what was measured).
bool has_fast_bf16(c10::Device device);

bool is_amd_cpu();

// "f32", "bf16" or "f16" (also float32, bfloat16, float16). Throws Error otherwise.
at::ScalarType parse_float_type(std::string_view name);
std::string_view float_type_name(at::ScalarType type);  // "float32", "bfloat16", "float16": as in config.json

// The largest memory this process has held: resident on the CPU, or allocated on the device where it is a GPU.
std::int64_t peak_memory_bytes(c10::Device device);

}  // namespace normtweak
