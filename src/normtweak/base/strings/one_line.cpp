#include "normtweak/base/strings/one_line.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <numeric>
#include <vector>

#include "normtweak/base/strings/utf8.h"

namespace normtweak {
namespace {

constexpr std::string_view kGap = "…";
// What is left of a word when others or the line have to be shortened too; a path needs more, for its file's name.
constexpr std::size_t kShortestValue = 60, kShortestPath = 120;

// Whether a terminal, or a program that splits text into lines, could act on it.
bool is_control(char32_t point) {
  return point < 0x20 || (point >= 0x7F && point < 0xA0) || (point >= 0x2028 && point <= 0x202E) ||
         (point >= 0x2066 && point <= 0x2069);
}

std::string spelled_out(std::string_view text) {
  std::string line;
  line.reserve(text.size());
  const auto to = std::back_inserter(line);
  for (std::size_t at = 0; at < text.size();) {
    const auto point = code_point_at(text, at);
    const auto bytes = text.substr(at, point.length);
    at += point.length;
    if (!point.valid) {
      for (const char byte : bytes) fmt::format_to(to, "\\x{:02x}", static_cast<unsigned char>(byte));
    } else if (!is_control(point.value)) {
      line += bytes;
    } else if (point.value == '\n') {
      line += "\\n";
    } else if (point.value == '\t') {
      line += "\\t";
    } else if (point.value < 0x80) {
      fmt::format_to(to, "\\x{:02x}", static_cast<unsigned>(point.value));
    } else {
      fmt::format_to(to, "\\u{:04x}", static_cast<unsigned>(point.value));
    }
  }
  return line;
}

bool continues_sequence(char byte) { return (static_cast<unsigned char>(byte) & 0xC0U) == 0x80; }

// The first `head` and last `tail` bytes, or fewer if these would cut a UTF-8 sequence.
std::string ends_of(std::string_view text, std::size_t head, std::size_t tail) {
  while (head > 0 && continues_sequence(text[head])) --head;
  auto begin = text.size() - tail;
  while (begin < text.size() && continues_sequence(text[begin])) ++begin;
  return fmt::format("{}{}{}", text.substr(0, head), kGap, text.substr(begin));
}

bool is_path(std::string_view word) { return word.find('/') != std::string_view::npos; }

// The line's words, each of which may be cut to a number of bytes.
class Words {
 public:
  explicit Words(std::string_view line) {
    for (std::size_t begin = 0; begin <= line.size();) {
      const auto end = std::min(line.find(' ', begin), line.size());
      words_.push_back({line.substr(begin, end - begin), end - begin});
      begin = end + 1;
    }
  }

  // Cuts the longest words of one kind to a common number of bytes, at least `shortest`, for the line to have `most`.
  void shorten(bool paths, std::size_t shortest, std::size_t most) {
    const auto fits = [&](std::size_t cap) {
      auto size = words_.size() - 1;  // spaces
      for (const auto& word : words_) size += is_path(word.text) == paths ? std::min(word.size, cap) : word.size;
      return size <= most;
    };
    auto low = shortest, high = std::max(shortest, most);  // `low` fits, or nothing does
    while (low < high) {
      const auto middle = std::midpoint(low, high + 1);
      fits(middle) ? low = middle : high = middle - 1;
    }
    for (auto& word : words_) {
      if (is_path(word.text) == paths) word.size = std::min(word.size, low);
    }
  }

  std::string line() const {
    std::string line;
    for (const auto& word : words_) {
      if (!line.empty() || &word != &words_.front()) line += ' ';
      line += without_middle(word.text, word.size);
    }
    return line;
  }

 private:
  struct Word {
    std::string_view text;
    std::size_t size;
  };
  std::vector<Word> words_;
};

}  // namespace

std::string without_middle(std::string_view text, std::size_t most) {
  if (text.size() <= most) return std::string(text);
  const auto kept = most - std::min(most, kGap.size());
  const auto head = kept / 3;  // the end of a path tells more than its beginning
  return ends_of(text, head, kept - head);
}

std::string one_line(std::string_view text, std::size_t most) {
  auto line = spelled_out(text);
  if (line.size() <= most) return line;
  Words words(line);
  words.shorten(/*paths=*/false, kShortestValue, most);
  words.shorten(/*paths=*/true, kShortestPath, most);
  auto shorter = words.line();
  if (shorter.size() <= most) return shorter;
  const auto tail = most * 2 / 5;
  return ends_of(shorter, most - tail - kGap.size(), tail);
}

}  // namespace normtweak
