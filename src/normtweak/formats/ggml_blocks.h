// The types of tensors in a GGUF file: plain numbers, or blocks of a few scales and many small integers.
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
  std::int64_t block_size;   // weights in a block; a row is a whole number of blocks
  std::int64_t block_bytes;  // bytes of a block
  // What read() returns; nothing where the type is known only by name.
  std::optional<at::ScalarType> read_as;
  // Block types: writes block_size * `blocks` values. Plain types: null.
  void (*dequantize)(const std::byte* source, std::int64_t blocks, float* values);
};

// All types of ggml, also those that cannot be read, so that an error can name them.
std::span<const GgmlType> ggml_types();
const GgmlType* find_ggml_type(std::uint32_t id);  // null: unknown

// f32 of `shape`, from blocks that lie row after row. Throws Error if `bytes` are not as many as the shape needs.
at::Tensor dequantize_blocks(const GgmlType& type, std::span<const std::byte> bytes, at::IntArrayRef shape);

}  // namespace normtweak::formats
