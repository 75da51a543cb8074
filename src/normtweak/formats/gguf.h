// GGUF: the container of llama.cpp, one file with everything a model needs. Versions 2 and 3, little-endian.
//
//     "GGUF"  version u32  tensors u64  keys u64
//     keys times:     name text, type u32, value          text: length u64, bytes; array: type u32, count u64, values
//     tensors times:  name text, dimensions u32, extent u64 of each, type u32, offset u64
//     zeros up to a multiple of `general.alignment` (32 where that key is absent), then the data of all tensors
//
// Traps: extents are listed innermost first, the reverse of a PyTorch shape. Offsets count from the start of the data,
// not of the file. In files converted from Llama, the rows of q and k are permuted; the model code deals with that, not
// this container.
#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>

#include "normtweak/base/files/file.h"
#include "normtweak/base/json/json.h"
#include "normtweak/formats/ggml_blocks.h"
#include "normtweak/formats/gguf_split.h"
#include "normtweak/formats/tensor_source.h"

namespace normtweak::formats {

class ByteCursor;

inline constexpr std::uint64_t kLongArray = 1024;  // lists with an entry per block are shorter

class GgufFile : public TensorSource {
 public:
  // Both throw Error naming the file and the defect. A tensor of an unsupported type is an error only when info() or
  // read() asks for it. `path` may be the first of several files of one model (gguf_split.h): the tensors of all are in
  // this source.
  explicit GgufFile(const std::filesystem::path& path);
  GgufFile(std::span<const std::byte> bytes, std::string origin);  // `bytes` must outlive this and its tensors

  // Of the beginning of a file: tensors whose data lie beyond it are known by name, type and shape, and their values
  // must not be asked for. `bytes` must outlive this.
  static GgufFile beginning(std::span<const std::byte> bytes, std::string origin);

  const std::vector<std::string>& names() const override { return names_; }
  bool contains(const std::string& name) const override { return entries_.contains(name); }
  // Shapes are row-major, [out, in] for a linear. dtypes: block types are read as f32, plain types as they are.
  TensorInfo info(const std::string& name) const override;
  at::Tensor read(const std::string& name) const override;
  std::string file_of(const std::string& name) const override;
  std::vector<std::string> files() const override;
  std::span<const std::byte> bytes() const { return bytes_; }  // the whole file, or the first of several

  // Codes are kept of types that have floats beside them. A tensor of several matrices is one of all their rows.
  std::optional<weights::Weight> read_weight(const std::string& name) const override;
  std::optional<weights::Weight> outline(const std::string& name) const override;
  // The same of `count` rows from `first` on.
  std::optional<weights::Weight> read_rows(const std::string& name, std::int64_t first, std::int64_t count) const;

  bool is_patchable() const override { return true; }
  std::vector<BytePatch> patch(const std::string& name, const at::Tensor& values) const override;
  std::vector<BytePatch> patch(const std::string& name, const weights::Weight& weight) const override;
  // The same of the rows from `first` on.
  std::vector<BytePatch> patch_rows(const std::string& name, std::int64_t first, const at::Tensor& values) const;
  std::vector<BytePatch> patch_rows(const std::string& name, std::int64_t first, const weights::Weight& weight) const;

  // key -> value; arrays as JSON arrays. Strings are as in the file, and not validated as UTF-8. Null stands for an
  // array of more than kLongArray values, such as those of a vocabulary: these stay in the file.
  const Json& metadata() const { return metadata_; }
  // The same, with the long arrays of the keys that begin with `prefix`. Throws Error naming a key if these have more
  // values than any vocabulary.
  Json metadata_with_arrays(std::string_view prefix) const;
  std::uint32_t version() const { return version_; }

  // What a copy of the file needs: a key's type and value, and a tensor's type and data, as they stand in the file.
  // Throws Error if there is no such key, or no such tensor, or if its type is unknown.
  const std::vector<std::string>& keys() const { return keys_; }  // in the order of the file
  std::span<const std::byte> stored_key(const std::string& key) const;
  const GgmlType& tensor_type(const std::string& name) const;
  std::span<const std::byte> tensor_bytes(const std::string& name) const { return entry(name).bytes; }
  const std::vector<std::int64_t>& tensor_shape(const std::string& name) const { return entry(name).shape; }

 private:
  enum class Data { whole, beginning, part };
  GgufFile(const std::filesystem::path& path, Data data);
  GgufFile(std::span<const std::byte> bytes, std::string origin, Data data);

  struct Entry {
    std::uint32_t type = 0;
    std::vector<std::int64_t> shape;
    std::uint64_t offset = 0;
    std::span<const std::byte> bytes;  // empty where the type is unknown
    std::size_t file = 0;              // which of the model's files it is in
  };

  struct LongArray {
    std::size_t position = 0;  // in the file
    std::uint64_t values = 0;
  };

  void parse();
  void parse_metadata(ByteCursor& cursor, std::uint64_t count);
  Json read_value(ByteCursor& cursor, const std::string& key);
  void add_other_parts(const std::filesystem::path& path, const GgufSplit& split);
  const GgufFile& part(const Entry& entry) const { return entry.file == 0 ? *this : *others_[entry.file - 1]; }
  void parse_tensors(ByteCursor& cursor, std::uint64_t count);
  void place_tensors(std::size_t header_end);
  std::uint64_t alignment() const;
  // Throws Error if there is no tensor of that name or if its type is unsupported.
  const GgmlType& stored_type(const std::string& name) const;
  const Entry& entry(const std::string& name) const;
  std::uint64_t offset_of(const Entry& entry, std::int64_t row) const;  // in the file

  std::optional<MappedFile> file_;
  std::string origin_;
  std::span<const std::byte> bytes_;
  Data data_ = Data::whole;
  std::uint32_t version_ = 0;
  Json metadata_ = Json::object();
  std::vector<std::string> keys_;
  std::unordered_map<std::string, std::span<const std::byte>> stored_keys_;
  std::map<std::string, LongArray> long_arrays_;  // by key
  std::vector<std::string> names_;
  std::unordered_map<std::string, Entry> entries_;
  std::vector<std::unique_ptr<const GgufFile>> others_;  // of a model in several files, those behind the first
};

}  // namespace normtweak::formats
