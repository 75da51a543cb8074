// The last step of writing a folder atomically: renaming it to its final name.
#pragma once
#include <filesystem>
#include <functional>

namespace normtweak {

// Renames like ::renameat2 with these flags. Returns 0 or the errno.
using Rename =
    std::function<int(const std::filesystem::path& from, const std::filesystem::path& to, unsigned int flags)>;
int rename_path(const std::filesystem::path& from, const std::filesystem::path& to, unsigned int flags);

// Renames the folder `finished` to `target`, in the same parent. An older `target` is then at `finished`, for the
// caller to remove. This is one system call. On file systems that cannot exchange two names (NFS, 9p, some FUSE),
// replacing a folder takes three renames, and between them the older one is at replaced_name(target). Throws Error on
// failure; both folders are then where they were, or the message says where the older one is.
void atomic_replace(const std::filesystem::path& finished, const std::filesystem::path& target,
                    const Rename& rename = rename_path);

}  // namespace normtweak
