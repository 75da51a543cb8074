#include "normtweak/text/pre_tokenizer.h"

#include <algorithm>
#include <array>
#include <utility>

#include "normtweak/text/byte_level.h"
#include "normtweak/text/pattern.h"

namespace normtweak::text {
namespace {

// OpenAI's regex for GPT-2, which ByteLevel applies with use_regex.
constexpr std::string_view kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kDigit = R"(\p{N})";
constexpr std::string_view kPunctuation = R"([\p{P}!-/:-@\[-`{-~])";  // Unicode punctuation and ASCII symbols

constexpr std::array<std::pair<std::string_view, SplitBehavior>, 5> kBehaviors = {{
    {"Isolated", SplitBehavior::isolated},
    {"Removed", SplitBehavior::removed},
    {"Contiguous", SplitBehavior::contiguous},
    {"MergedWithPrevious", SplitBehavior::merged_with_previous},
    {"MergedWithNext", SplitBehavior::merged_with_next},
}};

SplitBehavior read_behavior(const JsonPart& part, SplitBehavior otherwise) {
  if (part.is_null()) return otherwise;
  for (const auto& [name, behavior] : kBehaviors) {
    if (part.text() == name) return behavior;
  }
  part.fail("the behavior {} is not supported", part.text());
}

}  // namespace

PreTokenizer::PreTokenizer(const JsonPart& part) {
  if (!part.is_null()) add(part);
  if (!is_byte_level_) part.fail("holds no ByteLevel; only byte-level BPE is supported");
}

void PreTokenizer::add(const JsonPart& part) {
  const auto& type = part["type"].text();
  if (type == "Sequence") {
    for (const auto& member : part["pretokenizers"].elements()) add(member);
  } else if (type == "Split") {
    steps_.emplace_back(SplitRule{read_pattern(part["pattern"]),
                                  read_behavior(part["behavior"], SplitBehavior::isolated),
                                  part["invert"].flag(false)});
  } else if (type == "Digits") {
    const bool each = part["individual_digits"].flag(false);
    steps_.emplace_back(SplitRule{Regex(kDigit), each ? SplitBehavior::isolated : SplitBehavior::contiguous});
  } else if (type == "Punctuation") {
    steps_.emplace_back(SplitRule{Regex(kPunctuation), read_behavior(part["behavior"], SplitBehavior::isolated)});
  } else if (type == "ByteLevel") {
    add_byte_level(part);
  } else {
    part.fail("the pre-tokenizer {} is not supported; Sequence, Split, Digits, Punctuation and ByteLevel are", type);
  }
}

void PreTokenizer::add_byte_level(const JsonPart& part) {
  if (is_byte_level_) part.fail("ByteLevel stands twice; the second would spell the first one's characters again");
  is_byte_level_ = true;
  if (part["add_prefix_space"].flag(true)) steps_.emplace_back(PrefixSpace{});
  if (part["use_regex"].flag(true)) steps_.emplace_back(SplitRule{Regex(kGpt2)});
  steps_.emplace_back(SpellBytes{});
}

void PreTokenizer::split(std::string_view text, Words& words) const {
  if (text.empty()) return;
  const auto first = words.views.size();
  words.views.push_back(text);
  // Spelling bytes only matters to later steps; as the last step it would be undone at once.
  const bool spells_last = std::holds_alternative<SpellBytes>(steps_.back());
  const auto count = steps_.size() - (spells_last ? 1 : 0);
  for (std::size_t i = 0; i < count; ++i) apply(steps_[i], words, first);
  if (spells_last) return;
  // Everything is in the byte-level alphabet, since SpellBytes ran before.
  for (auto view = words.views.begin() + static_cast<std::ptrdiff_t>(first); view != words.views.end(); ++view) {
    *view = words.storage.emplace_back(from_byte_level(*view).value_or(""));
  }
}

void PreTokenizer::apply(const Step& step, Words& words, std::size_t first) {
  const auto begin = words.views.begin() + static_cast<std::ptrdiff_t>(first);
  if (const auto* rule = std::get_if<SplitRule>(&step)) {
    const std::vector<std::string_view> pieces(begin, words.views.end());
    words.views.erase(begin, words.views.end());
    for (const auto piece : pieces) text::split(piece, *rule, words.views);
  } else if (std::holds_alternative<PrefixSpace>(step)) {
    std::for_each(begin, words.views.end(), [&](std::string_view& view) {
      if (!view.starts_with(' ')) view = words.storage.emplace_back(fmt::format(" {}", view));
    });
  } else {
    std::for_each(begin, words.views.end(),
                  [&](std::string_view& view) { view = words.storage.emplace_back(to_byte_level(view)); });
  }
}

}  // namespace normtweak::text
