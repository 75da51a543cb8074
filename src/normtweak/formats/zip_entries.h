// Where the entries of a zip archive lie in the file. torch.save stores them as they are: tensors alias the memory map,
// while libraries for zip hand out copies.
//
//     entry      "PK\3\4", 22 bytes, u16 name length, u16 extra length, name, extra (torch pads with it: data begins
//                at a multiple of 64 bytes), data, sometimes its sizes once more
//     directory  for each entry "PK\1\2", 42 bytes (at 6 flags, 16 stored and 20 original size as u32, 24 name length,
//                26 extra length, 28 comment length as u16, 38 place of the entry as u32, from the end of "PK\1\2"),
//                name, extra, comment
//     end        "PK\6\6" and "PK\6\7" (zip64: counts, sizes and places as u64), then "PK\5\6", 18 bytes, comment
//
// Traps: only the directory is complete, an entry may give its sizes behind the data and zeros in front. A number that
// is all ones has its true value in zip64: those of an entry in the extra field 1, in this order, each only if it is
// needed. The extra lengths of an entry and of its row in the directory differ.
#pragma once
#include <cstddef>
#include <span>
#include <string_view>
#include <unordered_map>

namespace normtweak::formats {

// Whether a file begins as a zip archive that is not empty.
bool begins_as_zip(std::span<const std::byte> bytes);

struct ZipEntry {
  std::span<const std::byte> stored;
  std::string_view problem = {};  // why this is not its content: "is compressed"; usually empty
};

using ZipEntries = std::unordered_map<std::string_view, ZipEntry>;

// By name; all are views of `bytes`. Throws Error naming `origin` and the entry: one that reaches beyond the directory
// or into another entry, or whose name occurs twice; an archive that is cut short, of several files, or not consistent.
ZipEntries read_zip_entries(std::span<const std::byte> bytes, std::string_view origin);

}  // namespace normtweak::formats
