#include "normtweak/text/corpus.h"

#include "normtweak/base/error.h"
#include "normtweak/base/files/file_kind.h"
#include "normtweak/text/characters.h"

namespace normtweak::text {

std::string join_rows(std::string_view file_content) {
  std::string text;
  text.reserve(3 * file_content.size() / 2);
  for (std::size_t at = 0; at < file_content.size();) {
    const auto newline = file_content.find('\n', at);
    const auto row = file_content.substr(at, newline - at);  // to the end if there is no newline
    if (at > 0) text += "\n\n";
    if (!is_blank(row)) {
      text += row;
      text += '\n';
    }
    at += row.size() + 1;
  }
  return text;
}

Corpus read_text(const std::filesystem::path& path) {
  Corpus corpus = {read_text_file(path), path.filename().string()};
  if (corpus.text.empty()) fail("{}: is empty; a file with text is needed", path.string());
  return corpus;
}

Corpus read_rows(const std::filesystem::path& path) {
  const auto content = read_text_file(path);
  if (is_blank(content)) fail("{}: holds no text; a file with one row a line is needed", path.string());
  return {join_rows(content), path.filename().string()};
}

}  // namespace normtweak::text
