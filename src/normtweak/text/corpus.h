// Text files for evaluation.
#pragma once
#include <filesystem>
#include <string>
#include <string_view>

namespace normtweak::text {

struct Corpus {
  std::string text;
  std::string name;  // file name without folders, for reports
};

// A data set with one row per line, joined as in the GPTQ protocol: a row with more than white space keeps its newline,
// any other row becomes empty, and rows are joined by blank lines ("\n\n"). The newline of the last line is optional.
std::string join_rows(std::string_view file_content);

Corpus read_text(const std::filesystem::path& path);  // the file as it is; throws Error if it is empty
Corpus read_rows(const std::filesystem::path& path);  // its rows joined; throws Error if no row holds text

}  // namespace normtweak::text
