// Folders that a killed run had set aside, found again by whatever path leads to them.
#pragma once
#include <filesystem>
#include <optional>
#include <string>

namespace normtweak {

// put_back_replaced() (base/leftovers.h) for each folder that is missing on the way along `path`: the path itself, a
// folder in it, or where a link in it leads. Returns the hidden name that the last of them had, or nullopt. Throws
// Error as that does.
std::optional<std::filesystem::path> put_back_on_the_way(const std::filesystem::path& path);

// The same for a path that the user names: what to say of it, or nothing.
std::optional<std::string> put_back_and_tell(const std::filesystem::path& path);

}  // namespace normtweak
