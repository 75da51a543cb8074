// A safetensors file; or its header alone, where the input begins as JSON, so that changes to its length stay sound.
#include "normtweak/formats/safetensors.h"

#include "contract.h"
#include "sources.h"

namespace normtweak::fuzz {
namespace {

constexpr std::size_t kDataBytes = 64;  // behind a header that stands alone

std::string with_frame(std::string_view header) {
  const std::uint64_t length = header.size();
  std::string file(reinterpret_cast<const char*>(&length), sizeof length);
  return file.append(header).append(kDataBytes, '\1');
}

void read(std::string_view bytes) {
  const auto framed = bytes.starts_with("{\"") ? with_frame(bytes) : std::string(bytes);
  read_all(formats::SafetensorsFile(std::as_bytes(std::span(framed)), "memory"));
}

}  // namespace
}  // namespace normtweak::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return normtweak::fuzz::check(data, size, &normtweak::fuzz::read);
}
