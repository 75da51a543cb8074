// Encodes the lines of a text with a tokenizer.json, a vocabulary of tiktoken or the tokenizer of a GGUF file, on one
// thread. bench/compare_tokenizers.py compares it with the `tokenizers` and `tiktoken` packages.
//
//     bench_tokenizer TOKENIZER.json|tokenizer.model|MODEL.gguf TEXT [lines|whole] [ids]
//
// Prints one line of JSON: the seconds to load and to encode, and the ids if asked for.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "normtweak/base/error.h"
#include "normtweak/base/files/file.h"
#include "normtweak/formats/gguf.h"
#include "normtweak/text/gguf_tokenizer.h"
#include "normtweak/text/tokenizer_folder.h"

namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < text.size();) {
    const auto end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

std::string read_tokenizer(const std::string& path) {
  if (!path.ends_with(".gguf")) return normtweak::read_file(path);
  const normtweak::formats::GgufFile file(path);
  return normtweak::text::tokenizer_json_from_gguf(file.metadata_with_arrays("tokenizer.ggml."), path).dump();
}

int run(const std::vector<std::string>& arguments) {
  const auto start = std::chrono::steady_clock::now();
  const auto file = read_tokenizer(arguments.at(1));
  const auto name = std::filesystem::path(arguments.at(1)).filename().string();
  normtweak::text::TokenizerFolder folder;
  if (normtweak::text::is_vocabulary_file(name)) {
    folder.vocabulary = {.name = name, .content = file};
  } else {
    folder.tokenizer = file;
  }
  folder.origin = arguments.at(1);
  const auto tokenizer = normtweak::text::load_tokenizer(folder).tokenizer;
  const auto loading = seconds_since(start);
  const auto text = normtweak::read_file(arguments.at(2));
  const bool is_whole = arguments.size() > 3 && arguments[3] == "whole";
  const auto parts = is_whole ? std::vector<std::string>{text} : lines_of(text);
  std::vector<std::vector<std::int64_t>> ids;
  const auto before = std::chrono::steady_clock::now();
  for (const auto& part : parts) ids.push_back(tokenizer.encode(part, true));
  const auto encoding = seconds_since(before);
  std::size_t count = 0;
  for (const auto& row : ids) count += row.size();
  normtweak::Json figures = {{"load_seconds", loading}, {"encode_seconds", encoding}, {"tokens", count}};
  if (arguments.size() > 4) {
    figures["ids"] = ids;
    for (const auto& row : ids) {
      const auto decoded = tokenizer.decode(row, true);
      figures["texts"].push_back(decoded);
    }
  }
  std::puts(figures.dump(-1, ' ', true, normtweak::Json::error_handler_t::replace).c_str());
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 3) return 2;
  try {
    return run({arguments, arguments + count});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
