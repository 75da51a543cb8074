// config.json, with what it says of quantization, and generation_config.json, in the folder of a checkpoint.
#include <ATen/ops/zeros.h>

#include "contract.h"
#include "normtweak/formats/safetensors.h"
#include "normtweak/model/decoder.h"
#include "normtweak/model/tensor_loader.h"
#include "normtweak/model/token_ids.h"
#include "sources.h"

namespace normtweak::fuzz {
namespace {

const Folder& folder() {
  static const Folder instance([](const std::filesystem::path& path) {
    formats::write_safetensors(path / "model.safetensors", formats::to_write({{"a", at::zeros({2, 3})}}));
  });
  return instance;
}

void read(std::string_view bytes) {
  folder().write("config.json", bytes);
  folder().write("generation_config.json", bytes);
  const auto checkpoint = model::open_checkpoint(folder().path().string());
  model::end_of_text_ids(checkpoint);
  model::linear_shapes(checkpoint, 0);
  const model::TensorLoader loader(checkpoint, at::kCPU, at::kFloat);
}

}  // namespace
}  // namespace normtweak::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return normtweak::fuzz::check(data, size, &normtweak::fuzz::read);
}
