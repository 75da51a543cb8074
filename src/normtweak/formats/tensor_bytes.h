// A stretch of a file seen as a tensor; sizes computed so that no shape in a file can overflow them.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace normtweak::formats {

// a * b, or nothing if that does not fit.
std::optional<std::uint64_t> checked_product(std::uint64_t a, std::uint64_t b);

// Elements of a tensor of this shape, or nothing if a dimension is negative or the product passes 2^62.
std::optional<std::uint64_t> element_count(at::IntArrayRef shape);

// The tensor that `bytes` are: it aliases them where they are aligned for the type, and is a copy where not.
// Throws Error if `bytes` are not exactly as many as shape and type need.
at::Tensor tensor_over(std::span<const std::byte> bytes, at::ScalarType type, at::IntArrayRef shape);

}  // namespace normtweak::formats
