// The last step of writing a folder: giving it its name.
#pragma once
#include <filesystem>
#include <functional>

namespace normtweak {

// Renames as ::renameat2 does with these flags. Returns 0, or what errno was.
using Rename =
    std::function<int(const std::filesystem::path& from, const std::filesystem::path& to, unsigned int flags)>;
int rename_path(const std::filesystem::path& from, const std::filesystem::path& to, unsigned int flags);

// Gives the folder `finished` the name `target`, in the same parent. An older folder of that name is called `finished`
// afterwards, for the caller to remove. That is one system call; on file systems that know no flags for it (NFS, 9p,
// some of FUSE) it takes three to replace a folder, and between them the older one is called replaced_name(target).
// Throws Error if it cannot be done: then both are where they were, or the message says where the older one is.
void put_in_place(const std::filesystem::path& finished, const std::filesystem::path& target,
                  const Rename& rename = rename_path);

}  // namespace normtweak
