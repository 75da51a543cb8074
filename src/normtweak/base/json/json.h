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

// A tree takes up to 100 bytes for each key and value. A tokenizer.json with 262,000 tokens and 515,000 merges has 1.8
// million values.
inline constexpr std::size_t kMostJsonValues = 3'000'000;

// What Python's json reads, with the same values:
// - of equal keys in one object the last counts, in the place of the first;
// - NaN, Infinity and -Infinity are numbers, and decimal numbers beyond the largest double infinities;
// - nothing follows the document, and no byte order mark precedes it.
// Unlike Python, it refuses what no Json can hold: half a surrogate pair ("\ud800") in text, which is no UTF-8 then,
// and whole numbers beyond 1.8e308; those beyond 64 bits become doubles.
//
// Throws Error naming `origin` (a path or a description) and the position of the syntax error, or what the text is if
// it is no JSON at all (file_kind.h), or if arrays and objects nest deeper than kDeepestJson, or if there are more
// values than kMostJsonValues.
Json parse_json(std::string_view text, std::string_view origin);
Json read_json(const std::filesystem::path& path);

// `value` as JSON, for messages: long ones without their middle. Strings need not be UTF-8; those of GGUF may not be.
std::string show(const Json& value);

}  // namespace normtweak
