#include "normtweak/formats/gguf.h"

#include <algorithm>
#include <bit>

#include "normtweak/base/about.h"
#include "normtweak/base/device/finite.h"
#include "normtweak/base/error.h"
#include "normtweak/base/files/file_kind.h"
#include "normtweak/base/files/out_of_memory.h"
#include "normtweak/base/files/path_exists.h"
#include "normtweak/formats/byte_cursor.h"
#include "normtweak/formats/ggml_block_floats.h"
#include "normtweak/formats/gguf_layout.h"
#include "normtweak/formats/tensor_bytes.h"

namespace normtweak::formats {
namespace {

constexpr std::uint64_t kSmallestTensor = 8 + 4 + 4 + 8;  // length of the name, dimensions, type, offset
constexpr std::uint64_t kMostTensors = 1'000'000;         // real files have fewer than 2,000; experts are stacked

std::vector<std::int64_t> read_shape(ByteCursor& cursor, std::string_view where) {
  const auto dimensions = cursor.number<std::uint32_t>(where);
  if (dimensions > kMostGgufDimensions) {
    fail("{}: {} dimensions, ggml has at most {}; the file is damaged", where, dimensions, kMostGgufDimensions);
  }
  std::vector<std::int64_t> shape(dimensions);
  for (auto extent = shape.rbegin(); extent != shape.rend(); ++extent) {
    const auto value = cursor.number<std::uint64_t>(where);
    if (value >> 62 != 0) fail("{}: an extent of {} is larger than any memory", where, value);
    *extent = static_cast<std::int64_t>(value);
  }
  if (!element_count(shape)) fail("{}: shape {} is larger than any memory", where, c10::str(at::IntArrayRef(shape)));
  return shape;
}

}  // namespace

GgufFile::GgufFile(const std::filesystem::path& path) : GgufFile(path, Data::whole) {
  if (const auto split = read_gguf_split(metadata_, origin_)) add_other_parts(path, *split);
}

GgufFile::GgufFile(const std::filesystem::path& path, Data data)
    : file_(path), origin_(path.string()), bytes_(file_->bytes()), data_(data) {
  within_memory(origin_, [&] { parse(); });
}

GgufFile::GgufFile(std::span<const std::byte> bytes, std::string origin)
    : GgufFile(bytes, std::move(origin), Data::whole) {
  if (const auto split = read_gguf_split(metadata_, origin_)) {
    fail("{}: is one of {} files of one model, which are opened by their path", origin_, split->count);
  }
}

GgufFile::GgufFile(std::span<const std::byte> bytes, std::string origin, Data data)
    : origin_(std::move(origin)), bytes_(bytes), data_(data) {
  parse();
}

GgufFile GgufFile::beginning(std::span<const std::byte> bytes, std::string origin) {
  return {bytes, std::move(origin), Data::beginning};
}

void GgufFile::parse() {
  const std::string_view all(reinterpret_cast<const char*>(bytes_.data()), bytes_.size());
  if (all.empty()) refuse_mistaken(all, Expected::gguf, origin_);
  ByteCursor cursor(bytes_, origin_);
  const auto magic = cursor.take(4, "the magic number");
  if (std::string_view(reinterpret_cast<const char*>(magic.data()), 4) != "GGUF") {
    refuse_mistaken(all, Expected::gguf, origin_);
    fail("{}: does not begin with `GGUF`; not a GGUF file", origin_);
  }
  version_ = cursor.number<std::uint32_t>("the version");
  if (version_ != 2 && version_ != 3) {
    const bool swapped = (version_ & 0xFFFFU) == 0;
    fail("{}: GGUF version {}{}; versions 2 and 3 in little-endian order are read, convert it with llama.cpp", origin_,
         swapped ? version_ >> 24 : version_, swapped ? " in big-endian order" : "");
  }
  const auto tensors = cursor.number<std::uint64_t>("the number of tensors");
  const auto keys = cursor.number<std::uint64_t>("the number of keys");
  parse_metadata(cursor, keys);
  parse_tensors(cursor, tensors);
  place_tensors(cursor.position());
}

// The tensors of the other files, which have to be those that the first one announces.
void GgufFile::add_other_parts(const std::filesystem::path& path, const GgufSplit& split) {
  if (split.number != 0) {
    fail("{}: is file {} of {} of one model; give the first, NAME-00001-of-{:05}.gguf", origin_, split.number + 1,
         split.count, split.count);
  }
  const auto paths = gguf_parts(path, split.count);
  for (std::size_t i = 1; i < paths.size(); ++i) {
    if (!path_exists(paths[i])) {
      fail("{}: is missing; {} is the first of {} files of one model", paths[i].string(), origin_, split.count);
    }
    others_.push_back(std::unique_ptr<const GgufFile>(new GgufFile(paths[i], Data::part)));
    const auto& other = *others_.back();
    const auto own = read_gguf_split(other.metadata_, other.origin_);
    if (!own || own->number != i || own->count != split.count || own->tensors != split.tensors) {
      fail("{}: is not file {} of the {} that {} begins; are they of one download?", other.origin_, i + 1, split.count,
           origin_);
    }
    for (const auto& name : other.names_) {
      auto entry = other.entries_.at(name);
      entry.file = i;
      if (!entries_.emplace(name, std::move(entry)).second) {
        fail("{}: tensor {}: is in an earlier file as well", other.origin_, name);
      }
      names_.push_back(name);
    }
  }
  if (names_.size() == split.tensors) return;
  fail("{}: {} tensors are in its {} files, and {} are announced", origin_, names_.size(), split.count, split.tensors);
}

std::string GgufFile::file_of(const std::string& name) const {
  const auto found = entries_.find(name);
  return found == entries_.end() ? origin_ : part(found->second).origin_;
}

std::vector<std::string> GgufFile::files() const {
  std::vector<std::string> all = {origin_};
  for (const auto& other : others_) all.push_back(other->origin_);
  return all;
}

void GgufFile::parse_tensors(ByteCursor& cursor, std::uint64_t count) {
  cursor.count(count, kSmallestTensor, "tensors");
  if (count > kMostTensors) fail("{}: {} tensors are announced, at most {} are read", origin_, count, kMostTensors);
  for (std::uint64_t i = 0; i < count; ++i) {
    auto name = cursor.name("the name of a tensor");
    const auto where = fmt::format("{}: tensor {}", origin_, name);
    Entry entry;
    entry.shape = read_shape(cursor, where);
    entry.type = cursor.number<std::uint32_t>(where);
    entry.offset = cursor.number<std::uint64_t>(where);
    if (!entries_.emplace(name, std::move(entry)).second) fail("{}: occurs twice; the file is damaged", where);
    names_.push_back(std::move(name));
  }
}

std::uint64_t GgufFile::alignment() const {
  const auto found = metadata_.find(std::string(kGgufAlignment));
  if (found == metadata_.end()) return kGgufDefaultAlignment;
  const auto value = found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
  if (!std::has_single_bit(value)) {
    fail("{}: general.alignment must be a power of two, found {}", origin_, show(*found));
  }
  return value;
}

// Assigns each tensor its bytes, once the end of the header, and so the start of the data, is known.
void GgufFile::place_tensors(std::size_t header_end) {
  const auto step = alignment();
  const auto data_begin = gguf_aligned(header_end, step);
  const auto data = bytes_.subspan(std::min(data_begin, bytes_.size()));
  std::vector<const Entry*> order;
  for (auto& [name, entry] : entries_) {
    const auto where = fmt::format("{}: tensor {}", origin_, name);
    if ((entry.offset & (step - 1)) != 0) fail("{}: offset {} is not a multiple of {}", where, entry.offset, step);
    const auto* type = find_ggml_type(entry.type);
    const auto size = type != nullptr ? gguf_stored_size(*type, entry.shape, where) : 0;
    const bool is_there = entry.offset <= data.size() && size <= data.size() - entry.offset;
    if (!is_there && data_ == Data::beginning) continue;
    if (!is_there) {
      fail("{}: needs {} bytes at byte {} of the data, the file has {}; the download is probably incomplete", where,
           size, entry.offset, data.size());
    }
    entry.bytes = data.subspan(entry.offset, size);
    if (size > 0) order.push_back(&entry);
  }
  std::ranges::sort(order, {}, &Entry::offset);
  for (std::size_t i = 1; i < order.size(); ++i) {
    if (order[i - 1]->offset + order[i - 1]->bytes.size() > order[i]->offset) {
      fail("{}: two tensors overlap at byte {} of the data; the file is damaged", origin_, order[i]->offset);
    }
  }
}

const GgufFile::Entry& GgufFile::entry(const std::string& name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) fail("{}: has no tensor {} among its {}", origin_, name, names_.size());
  return found->second;
}

const GgmlType& GgufFile::stored_type(const std::string& name) const {
  const auto id = entry(name).type;
  const auto* type = find_ggml_type(id);
  if (type == nullptr || !type->read_as) {
    fail("{}: tensor {}: type {}{} cannot be read; requantize it to Q8_0 with llama.cpp", file_of(name), name, id,
         type != nullptr ? fmt::format(" ({})", type->name) : "");
  }
  return *type;
}

const GgmlType& GgufFile::tensor_type(const std::string& name) const {
  const auto id = entry(name).type;
  const auto* type = find_ggml_type(id);
  if (type == nullptr) fail("{}: tensor {}: type {} is unknown", file_of(name), name, id);
  return *type;
}

TensorInfo GgufFile::info(const std::string& name) const {
  const auto& type = stored_type(name);
  const auto& found = entry(name);
  return {*type.read_as, found.shape, type.name, static_cast<std::int64_t>(found.bytes.size())};
}

at::Tensor GgufFile::read(const std::string& name) const {
  const auto& type = stored_type(name);
  const auto& found = entry(name);
  if (type.layout) return dequantize_blocks(type, found.bytes, found.shape);
  return tensor_over(found.bytes, *type.read_as, found.shape);
}

namespace {

// Of all matrices together.
std::int64_t rows_of(at::IntArrayRef shape) {
  return shape.size() < 2 ? 1 : c10::multiply_integers(shape.slice(0, shape.size() - 1));
}

}  // namespace

std::uint64_t GgufFile::offset_of(const Entry& entry, std::int64_t row) const {
  const auto start = static_cast<std::uint64_t>(entry.bytes.data() - part(entry).bytes_.data());
  const auto rows = static_cast<std::uint64_t>(std::max<std::int64_t>(1, rows_of(entry.shape)));
  return start + entry.bytes.size() / rows * static_cast<std::uint64_t>(row);
}

std::optional<weights::Weight> GgufFile::read_weight(const std::string& name) const {
  return read_rows(name, 0, rows_of(entry(name).shape));
}

std::optional<weights::Weight> GgufFile::outline(const std::string& name) const {
  const auto& type = stored_type(name);
  const auto& shape = entry(name).shape;
  if (!type.has_floats() || shape.size() < 2) return std::nullopt;
  return outline_blocks(type, rows_of(shape), shape.back());
}

std::optional<weights::Weight> GgufFile::read_rows(const std::string& name, std::int64_t first,
                                                   std::int64_t count) const {
  const auto& type = stored_type(name);
  const auto& found = entry(name);
  if (!type.has_floats() || found.shape.size() < 2 || found.bytes.empty() || count == 0) return std::nullopt;
  const auto row_bytes = found.bytes.size() / static_cast<std::size_t>(rows_of(found.shape));
  const auto begin = row_bytes * static_cast<std::size_t>(first), size = row_bytes * static_cast<std::size_t>(count);
  return unpack_blocks(type, found.bytes.subspan(begin, size), count);
}

std::vector<BytePatch> GgufFile::patch(const std::string& name, const at::Tensor& values) const {
  return patch_rows(name, 0, values);
}

std::vector<BytePatch> GgufFile::patch(const std::string& name, const weights::Weight& weight) const {
  return patch_rows(name, 0, weight);
}

std::vector<BytePatch> GgufFile::patch_rows(const std::string& name, std::int64_t first,
                                            const at::Tensor& values) const {
  const auto& type = stored_type(name);
  if (type.layout)
    fail("{}: tensor {}: of type {}, of which only the scales can change", file_of(name), name, type.name);
  const auto stored = values.detach().cpu().to(*type.read_as).contiguous();
  if (!all_finite(stored)) {
    fail("{}: tensor {}: a value does not fit into {}; its float type is too narrow", file_of(name), name, type.name);
  }
  const auto* data = static_cast<const std::byte*>(stored.const_data_ptr());
  const auto size = static_cast<std::uint64_t>(stored.nbytes());
  return {{.offset = offset_of(entry(name), first), .stride = size, .width = size, .bytes = {data, data + size}}};
}

std::vector<BytePatch> GgufFile::patch_rows(const std::string& name, std::int64_t first,
                                            const weights::Weight& weight) const {
  const auto& blocks = std::get<weights::BlockWeight>(weight);
  return about(described(*this, name),
               [&] { return patch_blocks(blocks, stored_type(name), bytes_, offset_of(entry(name), first)); });
}

}  // namespace normtweak::formats
