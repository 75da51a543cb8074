// Folders that a killed run had set aside, found again by whatever path leads to them.
#pragma once
#include <filesystem>
#include <optional>
#include <string>

namespace normtweak {

// restore_replaced() (base/files/stale_outputs.h) for each folder that is missing on the way along `path`: the path
// itself, a folder in it, or where a link in it leads. Returns the hidden name that the last of them had, or nullopt.
// Throws Error as that does.
std::optional<std::filesystem::path> restore_along_path(const std::filesystem::path& path);

// The same for a path that the user names: what to say of it, or nothing.
std::optional<std::string> restore_and_tell(const std::filesystem::path& path);

}  // namespace normtweak
