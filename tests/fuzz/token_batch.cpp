// A calibration batch, such as --calibration and --tokens name.
#include "normtweak/calibrate/token_batch.h"

#include "contract.h"
#include "sources.h"

namespace normtweak::fuzz {
namespace {

void read(std::string_view bytes) {
  const MemoryFile file(bytes);
  const auto batch = calibrate::load_token_batch(file.path(), 100);
  require(batch.ids.min().item<std::int64_t>() >= 0 && batch.ids.max().item<std::int64_t>() < 100, "ids are ids");
}

}  // namespace
}  // namespace normtweak::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return normtweak::fuzz::check(data, size, &normtweak::fuzz::read);
}
