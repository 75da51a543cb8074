// JSON through nlohmann-json, with errors that name the file.
#pragma once
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace normtweak {

using Json = nlohmann::ordered_json;  // keeps the order of keys, so that copied files stay unchanged

// JSON files of models nest at most ten deep. Printing, copying and most readers are recursive.
inline constexpr std::size_t kDeepestJson = 100;

// Throws Error naming `origin` (a path or a description) and the position of the syntax error, or if arrays and objects
// nest deeper than kDeepestJson.
Json parse_json(std::string_view text, std::string_view origin);
Json read_json(const std::filesystem::path& path);

// `value` as JSON, for messages: long ones without their middle. Strings need not be UTF-8; those of GGUF may not be.
std::string show(const Json& value);

}  // namespace normtweak
