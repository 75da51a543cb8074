// The tensors of one linear in a file, with errors that name file and tensor.
#pragma once
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "normtweak/base/error.h"
#include "normtweak/formats/linears/quantized_linears.h"

namespace normtweak::formats {

class ModuleTensors {
 public:
  // Both must outlive this.
  ModuleTensors(const TensorSource& file, const std::string& module) : file_(file), module_(module) {}

  std::string name(std::string_view part) const { return fmt::format("{}.{}", module_, part); }
  // "FILE: tensor NAME", for messages.
  std::string described_part(std::string_view part) const { return described(file_, name(part)); }
  bool has(std::string_view part) const { return file_.contains(name(part)); }

  // Throw Error if there is no such tensor, or if its dtype, dimensions or shape are others; a size of -1 matches any.
  TensorInfo info(std::string_view part) const;
  TensorInfo info(std::string_view part, at::ScalarType type, at::IntArrayRef shape) const;
  at::Tensor read(std::string_view part, at::ScalarType type, at::IntArrayRef shape) const;

  // Of F16, BF16 or F32: the stored dtype; and the values as f32, a copy. Throw Error if they have another dtype, or
  // are not finite.
  at::ScalarType float_type(std::string_view part, at::IntArrayRef shape) const;
  at::Tensor floats(std::string_view part, at::IntArrayRef shape) const;

  // "FILE: tensor NAME: ..."
  template <class... Arguments>
  [[noreturn]] void refuse(std::string_view part, fmt::format_string<Arguments...> text,
                           Arguments&&... arguments) const {
    fail("{}: {}", described(file_, name(part)), fmt::format(text, std::forward<Arguments>(arguments)...));
  }

 private:
  const TensorSource& file_;
  const std::string& module_;
};

// All modules with a tensor of the first of these parts, each with those of the others that it has.
std::vector<StoredLinear> linears_with(const TensorSource& file, std::span<const std::string_view> parts);

// Throws Error if group size does not divide the columns, or if `groups` is not what follows. 0: the whole row.
int checked_group_size(const ModuleTensors& tensors, std::string_view part, int group_size, std::int64_t columns,
                       std::int64_t groups);

// What is known of affine codes before they are read.
struct AffineOutline {
  std::int64_t rows = 0, columns = 0;
  int bits = 4, group_size = 0;
  bool symmetric = false, ordered = false;
  at::ScalarType scale_type = at::kHalf;
};

// A tensor of the meta device: its shape and dtype, for sizes, and for who reads to replace.
at::Tensor later(std::initializer_list<std::int64_t> shape, at::ScalarType type);

// The weight with these settings; its tensors are of the meta device, and for who reads to replace.
weights::AffineWeight affine_outline(const AffineOutline& outline);

// The permutation that sorts columns by group, from the group of each: i64 [columns]; undefined if they are sorted.
// Throws Error if a group is none of those that follow from the group size, or has another number of columns.
at::Tensor order_of_groups(const ModuleTensors& tensors, std::string_view part, const AffineOutline& outline);

}  // namespace normtweak::formats
