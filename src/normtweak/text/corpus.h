// Text files to evaluate on.
#pragma once
#include <filesystem>
#include <string>
#include <string_view>

namespace normtweak::text {

struct Corpus {
  std::string text;
  std::string name;  // of the file, without its folders, for reports
};

// A data set with one row a line, as the GPTQ protocol joins it: a row that holds more than white space keeps its
// newline, any other row becomes empty, and blank lines ("\n\n") stand between rows. A last line counts with and
// without its newline.
std::string join_rows(std::string_view file_content);

Corpus read_text(const std::filesystem::path& path);  // the file as it is; throws Error if it is empty
Corpus read_rows(const std::filesystem::path& path);  // its rows joined; throws Error if no row holds text

}  // namespace normtweak::text
