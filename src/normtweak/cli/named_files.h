// Files and folders named by options: an output must not be an input or another output.
#pragma once
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

}  // namespace normtweak::cli
