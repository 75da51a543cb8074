// JSON by nlohmann-json, with errors that name the file.
#pragma once
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace normtweak {

using Json = nlohmann::ordered_json;  // keeps the order of keys, so that a file copied is a file unchanged

// Files that models come with nest ten deep at most. Printing, copying and most of what reads JSON are recursive.
inline constexpr std::size_t kDeepestJson = 100;

// Throws Error naming `origin` (a path, or words for it) and the place of the mistake, or if arrays and objects are
// nested deeper than kDeepestJson.
Json parse_json(std::string_view text, std::string_view origin);
Json read_json(const std::filesystem::path& path);

// `value` as JSON, for messages: text in it need not be UTF-8, as that of GGUF files is not always.
std::string show(const Json& value);

}  // namespace normtweak
