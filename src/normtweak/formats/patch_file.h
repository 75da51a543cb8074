// What a tweak changed in the files of a model, as a file of its own: far smaller than the model, and applied to the
// same base.
//
// A safetensors file. For each file of the model, N = 0, 1, ...: the tensors `pieces.N` i64 [patches, 4] (offset,
// stride, width in bytes, number of pieces; see BytePatch) and `bytes.N` u8, the bytes of all its patches one after the
// other. Metadata: "format" "normtweak-patch", "version" "2", "files" how many there are, and of each "name.N", its
// size in bytes "base_bytes.N", and the hashes XXH3 of 128 bits, in hexadecimal, of the base "base_xxh3.N", of the
// result "result_xxh3.N", and of the bytes of the base that the patches replace, in their order, "replaced_xxh3.N".
// Earlier files lack the last: they are applied, and tell another base only when all of it was read.
#pragma once
#include <filesystem>
#include <optional>
#include <ostream>
#include <span>
#include <string>
#include <vector>

#include "normtweak/formats/byte_patch.h"

namespace normtweak::formats {

// One file of a model, and what changes in it.
struct FileChanges {
  std::string name;  // without folders
  std::span<const std::byte> base;
  std::vector<BytePatch> patches;
};

// Hashes bases and results, so it reads the bases.
void save_patch(const std::filesystem::path& path, const std::vector<FileChanges>& files);

struct PatchedFile {
  std::string name;
  std::vector<BytePatch> patches;
  std::uint64_t base_bytes = 0;
  std::string base_hash, result_hash;
  std::optional<std::string> replaced_hash;  // nullopt in a file of an earlier version
};

// At least one file. Throws Error naming `path` and what is wrong with it: not a patch, of another version, names of
// files that reach into folders, or patches that lie outside the base or overlap themselves.
std::vector<PatchedFile> load_patch(const std::filesystem::path& path);

// Throws Error unless `base`, called `name`, may be the file that the patch was made for: it has the size, and where
// it is to be changed the bytes. Reads no others, so that most other files are refused before they are copied.
void check_base(const PatchedFile& patch, std::span<const std::byte> base, const std::filesystem::path& name,
                const std::filesystem::path& patch_name);

// Writes `base`, called `name`, with the patch, and hashes both on the way, so that it costs little more than a copy.
// Throws Error once all is written if `base` is not the file that the patch was made for, or if what was written is not
// the result: the caller must not keep it then.
void write_result(const PatchedFile& patch, std::span<const std::byte> base, const std::filesystem::path& name,
                  std::ostream& stream, const std::filesystem::path& patch_name);

}  // namespace normtweak::formats
