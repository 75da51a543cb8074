// What `normtweak tweak --patch` writes, applied to a base of the size that it names.
#include <sstream>

#include "contract.h"
#include "normtweak/formats/patch_file.h"
#include "sources.h"

namespace normtweak::fuzz {
namespace {

constexpr std::uint64_t kLargestBase = std::uint64_t{1} << 20;

void read(std::string_view bytes) {
  const MemoryFile file(bytes);
  for (const auto& patch : formats::load_patch(file.path())) {
    for (const auto& change : patch.patches) require(change.end() <= patch.base_bytes, "a change lies in the base");
    if (patch.base_bytes > kLargestBase) continue;
    const std::vector<std::byte> base(patch.base_bytes);
    std::ostringstream stream;
    formats::write_patched(base, patch.patches, stream);
    require(stream.str().size() == base.size(), "the result has the size of the base");
  }
}

}  // namespace
}  // namespace normtweak::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return normtweak::fuzz::check(data, size, &normtweak::fuzz::read);
}
