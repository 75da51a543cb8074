// Checks, before the work starts, that an output can be written. Some failures, such as a full disk, only show on
// writing.
#pragma once
#include <cstdint>
#include <filesystem>

namespace normtweak {

// Throw Error saying why a file, or a folder, cannot be written there: the path has no file name, something of the
// other kind is in the way, or the nearest existing ancestor is not a folder or not writable. A folder must not be a
// mount point or the root, since those cannot be replaced atomically. An older folder that a killed run set aside,
// there or on the way, is restored first (base/files/restore_along_path.h).
void check_file_target(const std::filesystem::path& target);
void check_folder_target(const std::filesystem::path& target);

// Whether `path` is the folder or inside it. Both as returned by resolve_output().
bool lies_in(const std::filesystem::path& folder, const std::filesystem::path& path);

// Whether both are, or would be created, on one disk. true if that is not known.
bool on_one_disk(const std::filesystem::path& target, const std::filesystem::path& other);

// Throws Error if the disk of `target` has less than `bytes` free, after removing what killed runs with the same target
// left there.
void check_room(const std::filesystem::path& target, std::int64_t bytes);

}  // namespace normtweak
