// Whether an output can be written, asked before the work is done of which it is the result. Some reasons only show
// when it is written, such as a full disk.
#pragma once
#include <cstdint>
#include <filesystem>

namespace normtweak {

// Throw Error saying why a file, or a folder, cannot be put there: no name, in the way is a thing of the other kind, or
// the nearest folder above that exists is none or may not be written. A folder must not be a mount point or the root,
// which cannot be replaced at once.
void check_file_target(const std::filesystem::path& target);
void check_folder_target(const std::filesystem::path& target);

// Whether `path` is the folder or anything below it. Both in full and past links, as place_of() has them.
bool lies_in(const std::filesystem::path& folder, const std::filesystem::path& path);

// Throws Error if the disk that `target` will lie on has less room than `bytes`, once what killed runs to the same
// target left there is removed.
void check_room(const std::filesystem::path& target, std::int64_t bytes);

}  // namespace normtweak
