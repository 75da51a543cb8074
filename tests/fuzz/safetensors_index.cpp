// model.safetensors.index.json, beside two files that hold what a sound one names.
#include <ATen/ops/zeros.h>

#include "contract.h"
#include "normtweak/formats/model_weights.h"
#include "normtweak/formats/safetensors.h"
#include "sources.h"

namespace normtweak::fuzz {
namespace {

const Folder& folder() {
  static const Folder instance([](const std::filesystem::path& path) {
    const auto numbers = at::zeros({2, 3});
    formats::write_safetensors(path / "one.safetensors", formats::to_write({{"a", numbers}, {"b", numbers}}));
    formats::write_safetensors(path / "two.safetensors", formats::to_write({{"c", numbers}}));
  });
  return instance;
}

void read(std::string_view bytes) {
  folder().write("model.safetensors.index.json", bytes);
  read_all(*formats::open_weights(folder().path()));
}

}  // namespace
}  // namespace normtweak::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return normtweak::fuzz::check(data, size, &normtweak::fuzz::read);
}
