// What a tweak changed in a file, as a file of its own: far smaller than the model, and applied to the same base.
//
// A safetensors file with the tensors `pieces` i64 [patches, 4] (offset, stride, width in bytes, number of pieces; see
// BytePatch) and `bytes` u8, the bytes of all patches one after the other. Its metadata: "format" "normtweak-patch",
// "version" "1", and of the base and of the result the size in bytes and the hash XXH3 of 128 bits, in hexadecimal:
// "base_bytes", "base_xxh3", "result_xxh3".
#pragma once
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "normtweak/formats/byte_patch.h"

namespace normtweak::formats {

// Hashes the base and the result, so it reads the base.
void save_patch(const std::filesystem::path& path, std::span<const std::byte> base,
                const std::vector<BytePatch>& patches);

struct PatchFile {
  std::vector<BytePatch> patches;
  std::uint64_t base_bytes = 0;
  std::string base_hash, result_hash;
};

// Throws Error naming the file and what is wrong with it: not a patch, of a later version, or patches that lie outside
// the base or overlap themselves.
PatchFile load_patch(const std::filesystem::path& path);

// Throws Error unless `base`, called `name`, is the file that the patch was made for, and gives the result that it had.
void check_base(const PatchFile& patch, std::span<const std::byte> base, const std::filesystem::path& name,
                const std::filesystem::path& patch_name);

}  // namespace normtweak::formats
