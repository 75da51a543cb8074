// Weights that torch.save wrote (pytorch_model.bin, .pt, .pth): a state dict, from names to tensors. Its pickle is read
// as data and never executed; layouts are drawn in pytorch_container.h, pickle.h and zip_entries.h.
#pragma once
#include <filesystem>
#include <optional>
#include <span>

#include "normtweak/base/files/file.h"
#include "normtweak/formats/name_index.h"
#include "normtweak/formats/pytorch_objects.h"
#include "normtweak/formats/tensor_source.h"

namespace normtweak::formats {

class PytorchFile : public TensorSource {
 public:
  // Both throw Error naming the file and the defect: what read_pytorch_container() refuses, what is no state dict, a
  // name that occurs twice, a tensor that reaches beyond its storage. A tensor that is of an unsupported type, sparse,
  // without data or expanded to many times its storage is an error only when info() or read() asks for it.
  explicit PytorchFile(const std::filesystem::path& path);
  PytorchFile(std::span<const std::byte> bytes, std::string origin);  // `bytes` must outlive this and its tensors

  const std::vector<std::string>& names() const override { return names_; }  // in the order of the dict
  bool contains(const std::string& name) const override { return index_.find(names_, name).has_value(); }
  TensorInfo info(const std::string& name) const override;
  // Row-major, whatever the strides in the file. Copies if these differ, if the data is unaligned, or big-endian.
  at::Tensor read(const std::string& name) const override;
  std::string file_of(const std::string&) const override { return origin_; }

  // Names in the state dict that stand for no tensor, and are not among names().
  const std::vector<std::string>& not_tensors() const { return not_tensors_; }

 private:
  struct Tensor {
    std::span<const std::byte> storage;
    std::string_view problem;
    at::ScalarType type = at::kFloat;
    std::int64_t offset = 0;
    std::uint64_t elements = 0;      // of the tensor
    std::uint64_t reach = 0;         // elements of the storage from the first to the last that it has
    std::uint64_t first_extent = 0;  // its part of `extents_`: sizes, then strides
    std::uint32_t rank = 0;
  };

  void parse();
  void collect(const PickleValue& state_dict, PytorchObjects& objects, PickleMemory& memory);
  void add(std::string name, const PytorchTensor& tensor, std::span<const std::byte> storage);
  void measure(const std::string& name, Tensor& tensor) const;
  void count_bytes(const Tensor& tensor);
  bool repeats_too_much(const Tensor& tensor) const;
  const Tensor& entry(const std::string& name) const;  // throws Error for those that cannot be read

  at::IntArrayRef sizes(const Tensor& tensor) const { return {extents_.data() + tensor.first_extent, tensor.rank}; }
  at::IntArrayRef strides(const Tensor& tensor) const {
    return {extents_.data() + tensor.first_extent + tensor.rank, tensor.rank};
  }

  std::optional<MappedFile> file_;
  std::string origin_;
  std::span<const std::byte> bytes_;
  bool is_big_endian_ = false;
  std::vector<std::string> names_, not_tensors_;
  std::vector<Tensor> tensors_;  // in the order of names_
  std::vector<std::int64_t> extents_;
  std::uint64_t tensor_bytes_ = 0;  // of all, counting storages as often as they are used
  NameIndex index_;
};

}  // namespace normtweak::formats
