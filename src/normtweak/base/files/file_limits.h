// How large a file can sensibly be, by its name: what is larger is another file, or a damaged one, and would only fill
// the memory.
#pragma once
#include <cstdint>
#include <filesystem>

namespace normtweak {

// In bytes. Texts and other files of no known name: half of the memory that is free.
std::uint64_t most_bytes_of(const std::filesystem::path& path);

}  // namespace normtweak
