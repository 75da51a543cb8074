// Whether there is a file or folder of some name.
#pragma once
#include <filesystem>

namespace normtweak {

// Whether there is one, with links followed; false too for what no file can be called, such as a name that is too long.
// Throws Error for a link whose target is missing, naming the target: the user believes that the file is there, and
// "no such file" would send them looking in the wrong place. Throws Error as well if the system does not tell.
bool path_exists(const std::filesystem::path& path);

// Throws the same Error if `path` is a link whose target is missing, for use after an attempt to open it.
void refuse_dangling_link(const std::filesystem::path& path);

}  // namespace normtweak
