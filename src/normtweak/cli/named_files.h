// Files and folders named by options: an output must not be an input or another output.
#pragma once
#include <CLI/CLI.hpp>
#include <filesystem>
#include <string>
#include <vector>

namespace normtweak::cli {

struct NamedFile {
  std::string option;          // for messages
  std::filesystem::path path;  // empty: the option was not given
};

// Throws UsageError if an output is an input file or belongs to an input model, if two outputs are the same file, or if
// one lies inside another that is a folder. Paths are compared by the files they refer to.
void check_apart(const std::vector<NamedFile>& outputs, const std::vector<NamedFile>& inputs);

// Restores what killed runs set aside (base/files/restore_along_path.h) wherever an option's value leads to it, before
// any other check can fail, and tells so on stderr unless --quiet. Values that are no paths lead nowhere. Models are
// left to open_checkpoint(), which notes it with the model.
void restore_named(const CLI::App& command);

}  // namespace normtweak::cli
