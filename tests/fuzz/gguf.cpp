// A GGUF file as a container: metadata of every type, tensors with blocks of every type.
#include "normtweak/formats/gguf.h"

#include "contract.h"
#include "sources.h"

namespace normtweak::fuzz {
namespace {

void read(std::string_view bytes) {
  const formats::GgufFile file(std::as_bytes(std::span(bytes)), "memory");
  read_all(file);
  const auto all = file.metadata_with_arrays("");
  require(all.size() == file.metadata().size(), "arrays that were left in the file can be read");
}

}  // namespace
}  // namespace normtweak::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return normtweak::fuzz::check(data, size, &normtweak::fuzz::read);
}
