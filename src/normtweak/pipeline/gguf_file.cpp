#include "normtweak/pipeline/gguf_file.h"

#include <utility>

#include "normtweak/model/gguf_keys.h"
#include "normtweak/pipeline/gguf_file_keys.h"

namespace normtweak::pipeline {

GgufContents::GgufContents(const model::Checkpoint& original, std::vector<GgufTensor> tensors, std::uint32_t file_type)
    : tensors_(std::move(tensors)), keys_(gguf_file_keys(original, tensors_, file_type)) {}

std::vector<formats::GgufTensorToWrite> GgufContents::described() const {
  std::vector<formats::GgufTensorToWrite> all;
  for (const auto& tensor : tensors_) all.push_back({tensor.name, tensor.type, tensor.shape, {}});
  return all;
}

std::int64_t GgufContents::bytes() const { return static_cast<std::int64_t>(gguf_file_bytes(keys_, described())); }

void GgufContents::write(const GgufValues& values, const std::filesystem::path& output, WriteFile* write_file) const {
  auto all = described();
  for (std::size_t i = 0; i < all.size(); ++i) {
    all[i].write = [&values, &tensor = tensors_[i]](const formats::GgufSink& sink) {
      if (tensor.values.defined()) return sink(stored_bytes(tensor.values, *tensor.type, tensor.name));
      for (const auto& part : tensor.parts) values.write(part, *tensor.type, sink);
    };
  }
  write_gguf(output, keys_, all, write_file);
}

}  // namespace normtweak::pipeline
