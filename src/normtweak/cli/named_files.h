// Files and folders that options name: an output must be none of the inputs, nor another output.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

namespace normtweak::cli {

struct NamedFile {
  std::string option;          // for messages
  std::filesystem::path path;  // empty: the option was not given
};

// Throws UsageError if an output is a file that is read or that belongs to a model that is read, if two outputs are
// one file, or if one lies in another that is a folder. Files are the same by whatever name.
void check_apart(const std::vector<NamedFile>& outputs, const std::vector<NamedFile>& inputs);

}  // namespace normtweak::cli
