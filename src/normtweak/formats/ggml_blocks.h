// Tensor types of a GGUF file: plain numbers, or blocks of a few scales and many small integers.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace normtweak::formats {

struct GgmlType {
  std::uint32_t id;  // as in the file
  std::string_view name;
  std::int64_t block_size;   // weights per block; a row is a whole number of blocks
  std::int64_t block_bytes;  // bytes of a block
  // dtype that read() returns; nullopt if the type is known only by name.
  std::optional<at::ScalarType> read_as;
  // Block types: writes block_size * `blocks` values. Plain types: null.
  void (*dequantize)(const std::byte* source, std::int64_t blocks, float* values);
};

// All ggml types, including unsupported ones, so that errors can name them.
std::span<const GgmlType> ggml_types();
const GgmlType* find_ggml_type(std::uint32_t id);  // null: unknown

// f32 of `shape`, from blocks in row-major order. Throws Error if the size of `bytes` does not match the shape.
at::Tensor dequantize_blocks(const GgmlType& type, std::span<const std::byte> bytes, at::IntArrayRef shape);

}  // namespace normtweak::formats
