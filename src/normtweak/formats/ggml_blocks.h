// Tensor types of a GGUF file: plain numbers, or blocks of a few floats and many small integers.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "normtweak/formats/ggml_block_codecs.h"
#include "normtweak/weights/block_type.h"
#include "normtweak/weights/block_weight.h"

namespace normtweak::formats {

// How the weights of a block follow from its floats and integers; see BlockNumbers.
struct BlockLayout {
  BlockUnpacker* unpack;
  std::int64_t sub_size;         // weights that share one of the block's integer scales, or its size if it has none
  std::int64_t scale_at;         // the byte where d (f16) stands; -1: d is the power of two 2^(byte 0 - 128)
  std::int64_t minimum_at = -1;  // the same of m; -1: there is none
  float factor = 1;              // of all weights: a power of two, so that products with it are exact
  bool scale_is_spread = false;  // nibble k of d, the lowest first, is the highest of u16 number k from scale_at on
  BlockPacker* pack = nullptr;   // the inverse of `unpack`; null: no weight is quantized to this type
  const weights::BlockType* integers = nullptr;  // what the codes may be; null as `pack` is
};

struct GgmlType {
  std::uint32_t id;  // as in the file
  std::string_view name;
  std::int64_t block_size;   // weights per block; a row is a whole number of blocks
  std::int64_t block_bytes;  // bytes of a block
  // dtype that read() returns; nullopt if the type is known only by name.
  std::optional<at::ScalarType> read_as;
  std::optional<BlockLayout> layout = {};  // of block types that are read

  bool has_sub_blocks() const { return layout && layout->sub_size < block_size; }
  bool has_floats() const { return layout && layout->scale_at >= 0; }  // that may be tuned
};

// All ggml types, including unsupported ones, so that errors can name them.
std::span<const GgmlType> ggml_types();
const GgmlType* find_ggml_type(std::uint32_t id);  // null: unknown

// Each throws Error if the size of `bytes` does not match the shape.
// f32 of `shape`, from blocks in row-major order.
at::Tensor dequantize_blocks(const GgmlType& type, std::span<const std::byte> bytes, at::IntArrayRef shape);

// The same blocks with their codes kept, of a type that has floats: a matrix of `rows` rows.
weights::BlockWeight unpack_blocks(const GgmlType& type, std::span<const std::byte> bytes, std::int64_t rows);

// The same without data (tensors of the meta device).
weights::BlockWeight outline_blocks(const GgmlType& type, std::int64_t rows, std::int64_t columns);

}  // namespace normtweak::formats
