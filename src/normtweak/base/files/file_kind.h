// What a file really is, by its first bytes: for messages about a file that is not what its name promises, as after a
// download that went wrong.
#pragma once
#include <filesystem>
#include <string>
#include <string_view>

namespace normtweak {

enum class Expected { safetensors, pytorch, gguf, model, json, text };

// "is a git-lfs pointer, not the file itself; fetch it with `git lfs pull` or `hf download`": what a file that begins
// with `bytes` is, and what to do. Empty where its kind is unknown, or may be read as `expected`.
std::string mistaken_for(std::string_view bytes, Expected expected);

// Throws Error naming `origin` and what the file is, if that is known: for files that cannot be read as `expected`.
void refuse_mistaken(std::string_view bytes, Expected expected, std::string_view origin);

// Whether the name of a file ends so, in small letters or capitals. `ending`: in small letters.
bool has_ending(const std::filesystem::path& path, std::string_view ending);

inline constexpr std::string_view kIsText = "is a text file";  // what mistaken_for() says of any other text

// The whole text file. Throws Error as read_file() does, and if it is an archive, weights or another kind of file that
// holds no UTF-8 text.
std::string read_text_file(const std::filesystem::path& path);

}  // namespace normtweak
