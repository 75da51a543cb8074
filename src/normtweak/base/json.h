// JSON by nlohmann-json, with errors that name the file.
#pragma once
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>

namespace normtweak {

using Json = nlohmann::ordered_json;  // keeps the order of keys, so that a file copied is a file unchanged

// Throws Error naming `origin` (a path, or words for it) and the place of the mistake.
Json parse_json(std::string_view text, std::string_view origin);
Json read_json(const std::filesystem::path& path);

}  // namespace normtweak
