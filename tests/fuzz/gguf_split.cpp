// A model in two GGUF files: the bytes of the first, and behind them those of the second.
#include "contract.h"
#include "normtweak/formats/gguf.h"
#include "sources.h"

namespace normtweak::fuzz {
namespace {

constexpr std::string_view kFirst = "model-00001-of-00002.gguf", kSecond = "model-00002-of-00002.gguf";

const Folder& folder() {
  static const Folder instance([](const std::filesystem::path&) {});
  return instance;
}

void read(std::string_view bytes) {
  constexpr std::string_view kMagic = "GGUF";
  const auto second = std::min(bytes.find(kMagic, kMagic.size()), bytes.size());
  folder().write(kFirst, bytes.substr(0, second));
  folder().write(kSecond, bytes.substr(second));
  const formats::GgufFile file(folder().path() / kFirst);
  read_all(file);
  for (const auto& name : file.names()) {
    const auto path = std::filesystem::path(file.file_of(name));
    require(path.filename() == kFirst || path.filename() == kSecond, "a tensor is in one of the files");
  }
}

}  // namespace
}  // namespace normtweak::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return normtweak::fuzz::check(data, size, &normtweak::fuzz::read);
}
