// safetensors: the container of Hugging Face checkpoints, one file or several with an index.
//
//     offset  bytes  meaning
//     0       8      N, u64 little-endian
//     8       N      JSON: {"__metadata__": {text: text}, name: {"dtype", "shape", "data_offsets": [begin, end]}, ...}
//     8 + N   rest   the data of all tensors, row-major, without holes or overlaps, in any order
//
// Traps: `data_offsets` count from 8 + N, not from the start of the file. N need not be a multiple of 8, so data may be
// unaligned for its dtype. JSON keys need not be in the order of the data. A name that occurs twice is refused, even
// where both describe the same data.
#pragma once
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>

#include "normtweak/base/files/file.h"
#include "normtweak/formats/name_index.h"
#include "normtweak/formats/safetensors_header.h"
#include "normtweak/formats/tensor_source.h"

namespace normtweak::formats {

class SafetensorsFile : public TensorSource {
 public:
  // Both throw Error naming the file and the defect. A tensor of an unsupported dtype is an error only when info() or
  // read() asks for it.
  explicit SafetensorsFile(const std::filesystem::path& path);
  SafetensorsFile(std::span<const std::byte> bytes, std::string origin);  // `bytes` must outlive this and its tensors

  const std::vector<std::string>& names() const override { return header_.names; }  // in the order of the data
  bool contains(const std::string& name) const override { return index_.find(names(), name).has_value(); }
  TensorInfo info(const std::string& name) const override;
  at::Tensor read(const std::string& name) const override;
  bool is_patchable() const override { return true; }
  using TensorSource::patch;
  std::vector<BytePatch> patch(const std::string& name, const at::Tensor& values) const override;
  std::string file_of(const std::string&) const override { return origin_; }

  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }

 private:
  void parse();
  const SafetensorsHeader::Tensor& entry(const std::string& name) const;
  at::ScalarType type_of(const std::string& name, const SafetensorsHeader::Tensor& entry) const;

  std::optional<MappedFile> file_;
  std::string origin_;
  std::span<const std::byte> bytes_, data_;
  SafetensorsHeader header_;
  NameIndex index_;
};

// A tensor that is created only when it is written, so that a model larger than memory can be saved.
struct TensorToWrite {
  std::string name;
  at::ScalarType type = at::kFloat;
  std::vector<std::int64_t> shape;
  std::function<at::Tensor()> load;  // returns a tensor of this type and shape, on any device
  // Instead of `load`: returns tensor[row], so that a tensor larger than memory can be written. Called once for each
  // row, in order.
  std::function<at::Tensor(std::int64_t row)> load_row = {};
};

std::vector<TensorToWrite> to_write(const NamedTensors& tensors);

using Metadata = std::map<std::string, std::string>;
inline constexpr std::uint64_t kMaxShardBytes = 5'000'000'000;
inline const Metadata kModelMetadata = {{"format", "pt"}};  // without it transformers refuses a model's file

// `write`: how a file is written. Throws Error naming the tensor if a name occurs twice, if the dtype cannot be stored,
// or if load() returns a dtype or shape other than declared.
void write_safetensors(const std::filesystem::path& path, const std::vector<TensorToWrite>& tensors,
                       const Metadata& metadata = {}, WriteFile* write = write_file_atomically);

// model.safetensors; or, when that would hold more than `max_shard_bytes` of tensors, model-00001-of-0000N.safetensors
// ... and model.safetensors.index.json. A tensor is never split. `directory` must not contain another checkpoint yet.
// Returns the names of the files.
std::vector<std::string> write_sharded_safetensors(const std::filesystem::path& directory,
                                                   const std::vector<TensorToWrite>& tensors,
                                                   const Metadata& metadata = kModelMetadata,
                                                   std::uint64_t max_shard_bytes = kMaxShardBytes,
                                                   WriteFile* write = write_file_atomically);

}  // namespace normtweak::formats
