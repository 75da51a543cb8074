// A GGUF file: the container with the blocks of its tensors, and then the model and the tokenizer in it.
#include "normtweak/formats/gguf.h"

#include "contract.h"
#include "normtweak/model/gguf_checkpoint.h"
#include "sources.h"

namespace normtweak::fuzz {
namespace {

void read(std::string_view bytes) {
  read_all(formats::GgufFile(std::as_bytes(std::span(bytes)), "memory"));
  const MemoryFile file(bytes);
  const auto checkpoint = model::open_gguf_checkpoint(file.path());
  read_all(*checkpoint.tensors);
  model::end_of_text_ids(checkpoint);
  model::load_tokenizer(checkpoint).encode("a b's 12", true);
}

}  // namespace
}  // namespace normtweak::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return normtweak::fuzz::check(data, size, &normtweak::fuzz::read);
}
