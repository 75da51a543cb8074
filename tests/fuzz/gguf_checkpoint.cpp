// The model and the tokenizer in a GGUF file.
#include "normtweak/model/gguf_checkpoint.h"

#include "contract.h"
#include "normtweak/model/token_ids.h"
#include "normtweak/text/tokenizer.h"
#include "sources.h"

namespace normtweak::fuzz {
namespace {

void read(std::string_view bytes) {
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
