// Data is ordered by descending element size, as in the reference writer, and the header is padded with spaces to a
// multiple of 8 bytes, so that all data is aligned for its dtype and usable from a memory map.
#include <algorithm>
#include <ostream>
#include <unordered_set>

#include "normtweak/base/device/host_transfer.h"
#include "normtweak/base/device/type_name.h"
#include "normtweak/base/error.h"
#include "normtweak/base/json/json.h"
#include "normtweak/formats/safetensors.h"
#include "normtweak/formats/safetensors_header_writer.h"
#include "normtweak/formats/safetensors_types.h"
#include "normtweak/formats/tensor_bytes.h"

namespace normtweak::formats {
namespace fs = std::filesystem;
namespace {

constexpr const char *kSingleFile = "model.safetensors", *kIndex = "model.safetensors.index.json";

std::uint64_t bytes_of(const TensorToWrite& tensor) {
  const auto count = element_count(tensor.shape);
  const auto size = count ? checked_product(*count, c10::elementSize(tensor.type)) : std::nullopt;
  if (!size) fail("tensor {}: shape {} cannot be written", tensor.name, c10::str(at::IntArrayRef(tensor.shape)));
  return *size;
}

std::vector<const TensorToWrite*> in_file_order(const std::vector<TensorToWrite>& tensors) {
  std::unordered_set<std::string> names;
  std::vector<const TensorToWrite*> order;
  for (const auto& tensor : tensors) {
    if (tensor.name == "__metadata__" || !names.insert(tensor.name).second) {
      fail("tensor {}: the name is taken; each tensor of a safetensors file needs its own", tensor.name);
    }
    order.push_back(&tensor);
  }
  std::ranges::stable_sort(order, std::ranges::greater{}, [](const auto* t) { return c10::elementSize(t->type); });
  return order;
}

std::string make_header(const std::vector<const TensorToWrite*>& order, const Metadata& metadata) {
  std::vector<HeaderEntry> entries;
  for (const auto* tensor : order) {
    const auto type = safetensors_name(tensor->type);
    if (!type) fail("tensor {}: type {} cannot be stored", tensor->name, type_name(tensor->type));
    entries.push_back({tensor->name, *type, tensor->shape, bytes_of(*tensor)});
  }
  return safetensors_header_bytes(entries, metadata);
}

// shape: of the tensor, or of one of its rows.
void write_part(std::ostream& file, const TensorToWrite& tensor, const at::Tensor& loaded, at::IntArrayRef shape) {
  if (loaded.scalar_type() != tensor.type || loaded.sizes() != shape) {
    fail("tensor {}: {} {} was announced, {} {} came", tensor.name, type_name(tensor.type), c10::str(shape),
         type_name(loaded.scalar_type()), c10::str(loaded.sizes()));
  }
  for_each_piece(loaded, [&](std::span<const std::byte> bytes) {
    file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  });
}

void write_data(std::ostream& file, const TensorToWrite& tensor) {
  const at::IntArrayRef shape(tensor.shape);
  if (!tensor.load_row) return write_part(file, tensor, tensor.load(), shape);
  for (std::int64_t row = 0; row < shape.front() && file; ++row) {
    write_part(file, tensor, tensor.load_row(row), shape.slice(1));
  }
}

using Shard = std::vector<TensorToWrite>;

std::vector<Shard> split(const std::vector<TensorToWrite>& tensors, std::uint64_t max_shard_bytes) {
  std::vector<Shard> shards(1);
  std::uint64_t filled = 0;
  for (const auto& tensor : tensors) {
    const auto size = bytes_of(tensor);
    if (!shards.back().empty() && size > max_shard_bytes - std::min(filled, max_shard_bytes)) {
      shards.emplace_back();
      filled = 0;
    }
    shards.back().push_back(tensor);
    filled += size;
  }
  return shards;
}

}  // namespace

std::vector<TensorToWrite> to_write(const NamedTensors& tensors) {
  std::vector<TensorToWrite> list;
  for (const auto& [name, tensor] : tensors) {
    list.push_back({name, tensor.scalar_type(), tensor.sizes().vec(), [kept = tensor] { return kept; }});
  }
  return list;
}

void write_safetensors(const fs::path& path, const std::vector<TensorToWrite>& tensors, const Metadata& metadata,
                       WriteFile* write) {
  const auto order = in_file_order(tensors);
  const auto header = make_header(order, metadata);
  write(path, [&](std::ostream& file) {
    file << header;
    for (const auto* tensor : order) {
      write_data(file, *tensor);
      if (!file) return;  // disk full: do not create the other tensors; the caller reports it
    }
  });
}

std::vector<std::string> write_sharded_safetensors(const fs::path& directory, const std::vector<TensorToWrite>& tensors,
                                                   const Metadata& metadata, std::uint64_t max_shard_bytes,
                                                   WriteFile* write) {
  in_file_order(tensors);  // a duplicate name in two shards is as wrong as one within a file
  const auto shards = split(tensors, max_shard_bytes);
  if (shards.size() == 1) {
    write_safetensors(directory / kSingleFile, tensors, metadata, write);
    return {kSingleFile};
  }
  std::vector<std::string> names = {kIndex};
  std::map<std::string, std::string> weight_map;
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const auto file_name = fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    write_safetensors(directory / file_name, shards[i], metadata, write);
    for (const auto& tensor : shards[i]) {
      weight_map.emplace(tensor.name, file_name);
      total += bytes_of(tensor);
    }
    names.push_back(file_name);
  }
  const Json index = {{"metadata", {{"total_size", total}}}, {"weight_map", weight_map}};
  write(directory / kIndex, [&](std::ostream& file) { file << index.dump(2) << '\n'; });
  return names;
}

}  // namespace normtweak::formats
