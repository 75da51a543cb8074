// A range of file bytes viewed as a tensor, with overflow-safe size arithmetic for shapes from untrusted files.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace normtweak::formats {

// a * b, or nullopt on overflow.
std::optional<std::uint64_t> checked_product(std::uint64_t a, std::uint64_t b);

// Number of elements of this shape, or nullopt if a dimension is negative or the product exceeds 2^62.
std::optional<std::uint64_t> element_count(at::IntArrayRef shape);

// `bytes` as a tensor: aliases them if they are aligned for the dtype, copies otherwise. Throws Error if the size of
// `bytes` is not exactly what shape and dtype need.
at::Tensor tensor_over(std::span<const std::byte> bytes, at::ScalarType type, at::IntArrayRef shape);

}  // namespace normtweak::formats
