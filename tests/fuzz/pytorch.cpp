// A file of torch.save: a zip archive, or pickles and storages.
#include "contract.h"
#include "normtweak/formats/pytorch_source.h"
#include "sources.h"

namespace normtweak::fuzz {
namespace {

void read(std::string_view bytes) { read_all(formats::PytorchFile(std::as_bytes(std::span(bytes)), "memory")); }

}  // namespace
}  // namespace normtweak::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return normtweak::fuzz::check(data, size, &normtweak::fuzz::read);
}
