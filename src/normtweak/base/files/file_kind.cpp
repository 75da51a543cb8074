#include "normtweak/base/files/file_kind.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cctype>
#include <cstdint>
#include <cstring>

#include "normtweak/base/error.h"
#include "normtweak/base/files/file.h"

namespace normtweak {
namespace {
using namespace std::string_view_literals;

constexpr std::string_view kNameFolder = "name the folder that holds it and config.json";
constexpr std::string_view kUnpack = "unpack it and name what it holds";
constexpr std::string_view kConvert =
    "load it in Python and save it with save_pretrained(...), which writes safetensors";

struct Kind {
  std::string_view magic;  // the first bytes
  std::string_view what;
  std::string_view advice;
  bool is_pytorch = false;
};

constexpr std::array<Kind, 21> kKinds = {{
    {"version https://git-lfs.github.com/spec/", "a git-lfs pointer, not the file itself",
     "fetch it with `git lfs pull` or `hf download`"},
    {"GGUF\3\0"sv, "a GGUF file", "give it a name that ends in .gguf"},
    {"GGUF\2\0"sv, "a GGUF file", "give it a name that ends in .gguf"},
    {"lmgg", "a model of llama.cpp older than GGUF", "convert it with llama.cpp"},
    {"tjgg", "a model of llama.cpp older than GGUF", "convert it with llama.cpp"},
    {"fmgg", "a model of llama.cpp older than GGUF", "convert it with llama.cpp"},
    {"PK\x03\x04", "a zip archive, as PyTorch writes (.bin, .pt)", kConvert, true},
    {"PK\x05\x06", "an empty zip archive", "fetch the file again"},
    {"\x80\x02", "a Python pickle, as PyTorch writes (.bin, .pt)", kConvert, true},
    {"\x80\x03", "a Python pickle", kConvert, true},
    {"\x80\x04", "a Python pickle", kConvert, true},
    {"\x80\x05", "a Python pickle", kConvert, true},
    {"\x93NUMPY", "a NumPy array", "save it as safetensors"},
    {"\x89HDF\r\n\x1a\n", "an HDF5 file", kConvert},
    {"\x1f\x8b", "compressed with gzip", kUnpack},
    {"BZh91AY&SY", "compressed with bzip2", kUnpack},
    {"\xfd\x37zXZ\0"sv, "compressed with xz", kUnpack},
    {"\x28\xb5\x2f\xfd", "compressed with zstd", kUnpack},
    {"7z\xbc\xaf\x27\x1c", "a 7z archive", kUnpack},
    {"\xff\xfe", "text in UTF-16", "save it as UTF-8"},
    {"\xfe\xff", "text in UTF-16", "save it as UTF-8"},
}};

bool is_white(char letter) { return letter == ' ' || letter == '\t' || letter == '\n' || letter == '\r'; }

std::string_view without_white_space(std::string_view bytes) {
  const auto* begin = std::ranges::find_if_not(bytes, is_white);
  return bytes.substr(static_cast<std::size_t>(begin - bytes.begin()));
}

bool begins_with(std::string_view bytes, std::string_view in_small_letters) {
  const auto small = [](char letter) { return static_cast<char>(std::tolower(static_cast<unsigned char>(letter))); };
  return std::ranges::equal(bytes.substr(0, in_small_letters.size()), in_small_letters, {}, small);
}

// A header's length, of less than four bytes, then the brace of its JSON.
bool is_safetensors(std::string_view bytes) {
  std::uint64_t length = 0;
  if (bytes.size() < sizeof length + 2 || bytes[sizeof length] != '{') return false;
  std::memcpy(&length, bytes.data(), sizeof length);
  return length >> 32 == 0;
}

// Whether the beginning is UTF-8 without control characters; a character may be cut at its end.
bool is_text(std::string_view bytes) {
  constexpr std::size_t kEnough = 512;
  int awaited = 0;  // bytes of the character that has begun
  for (const char letter : bytes.substr(0, kEnough)) {
    const auto byte = static_cast<unsigned char>(letter);
    const bool continues = (byte & 0xC0U) == 0x80U;
    if (continues != (awaited > 0)) return false;
    if (continues) {
      --awaited;
    } else if (byte >= 0x80) {
      awaited = std::countl_one(byte) - 1;
      if (awaited > 3) return false;
    } else if (byte < 0x20 && !is_white(letter)) {
      return false;
    }
  }
  return true;
}

// Room that a download reserved and never filled.
bool is_zero(std::string_view bytes) {
  constexpr std::size_t kEnough = 512;
  return !bytes.empty() && bytes.substr(0, kEnough).find_first_not_of('\0') == std::string_view::npos;
}

std::string sentence(std::string_view what, std::string_view advice) { return fmt::format("is {}; {}", what, advice); }

}  // namespace

std::string mistaken_for(std::string_view bytes, Expected expected) {
  if (bytes.empty()) return sentence("empty", "the download is probably incomplete");
  if (is_zero(bytes)) return sentence("filled with zero bytes", "the download is probably incomplete");
  if (is_safetensors(bytes)) {  // first: a length may begin with the bytes of another kind
    if (expected == Expected::safetensors) return {};
    return sentence("a safetensors file", expected == Expected::text ? "a text is needed; token ids go to --calibration"
                                          : expected == Expected::model ? kNameFolder
                                                                        : "give it a name that ends in .safetensors");
  }
  for (const auto& kind : kKinds) {
    if (!bytes.starts_with(kind.magic)) continue;
    return sentence(kind.what, kind.is_pytorch && expected == Expected::model ? kNameFolder : kind.advice);
  }
  if (expected == Expected::text) return {};
  const auto begin = without_white_space(bytes);
  if (begins_with(begin, "<!doctype") || begins_with(begin, "<html")) {
    return sentence("an HTML page", "the address was probably that of a page or of a login; fetch the file itself");
  }
  if (begin.starts_with('<')) return sentence("XML", "probably a server's error message; fetch the file again");
  if (expected == Expected::json) return {};
  if (begin.starts_with('{') || begin.starts_with('[')) {
    return sentence("JSON, not weights", expected == Expected::model
                                             ? "name the folder that holds the model"
                                             : "if it is a server's error message, fetch the file again");
  }
  return std::string(is_text(bytes) ? kIsText : "");
}

void refuse_mistaken(std::string_view bytes, Expected expected, std::string_view origin) {
  const auto mistake = mistaken_for(bytes, expected);
  if (mistake.empty()) return;
  const auto* advice = expected == Expected::model ? "name a folder or a .gguf file" : "fetch the file again";
  fail("{}: {}{}", origin, mistake, mistake == kIsText ? fmt::format(", not weights; {}", advice) : "");
}

bool has_ending(const std::filesystem::path& path, std::string_view ending) {
  const auto& name = path.native();
  return name.size() >= ending.size() &&
         begins_with(std::string_view(name).substr(name.size() - ending.size()), ending);
}

std::string read_text_file(const std::filesystem::path& path) {
  auto text = read_file(path);
  if (text.empty()) return text;  // what that means, the reader says
  if (const auto mistake = mistaken_for(text, Expected::text); !mistake.empty()) fail("{}: {}", path.string(), mistake);
  return text;
}

}  // namespace normtweak
