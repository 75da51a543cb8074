#include "normtweak/text/gguf_merges.h"

#include <algorithm>
#include <unordered_map>

#include "normtweak/text/derived_merges.h"
#include "normtweak/text/gguf_vocabulary.h"
#include "normtweak/text/metaspace.h"

namespace normtweak::text {
namespace {

// Left and right half.
std::pair<std::string, std::string> halves_of(const JsonPart& merge) {
  if (merge.is_array()) {
    std::vector<std::string> halves;
    for (const auto& half : merge.elements()) halves.push_back(half.text());
    if (halves.size() != 2) merge.fail("two tokens expected, found {}", halves.size());
    return {halves[0], halves[1]};
  }
  const auto& text = merge.text();
  const auto space = text.find(' ');
  if (space == std::string::npos) merge.fail("two tokens with a space between them expected");
  return {text.substr(0, space), text.substr(space + 1)};
}

bool is_mark_for_space(const JsonPart& step) {
  return step["pattern"]["String"].is_string() && step["pattern"]["String"].text() == " ";
}

// The steps of a normalizer or a pre-tokenizer. Returns whether they put a space in front of a text.
bool puts_space(const JsonPart& part) {
  if (part.is_null()) return false;
  const auto& type = part["type"].text();
  if (type == "Sequence") {
    bool puts = false;
    for (const auto* const members : {"normalizers", "pretokenizers"}) {
      for (const auto& step : part[members].elements()) puts = puts_space(step) || puts;
    }
    return puts;
  }
  if (type == "Prepend" && part["prepend"].text() == kMetaspace) return true;
  if (type == "Replace" && is_mark_for_space(part) && part["content"].text() == kMetaspace) return false;
  if (type == "Split" && is_mark_for_space(part)) return false;  // no space is left by then
  if (type == "Metaspace") {
    const Metaspace metaspace(part);
    if (metaspace.replacement == kMetaspace && !metaspace.split) return metaspace.scheme != PrependScheme::never;
  }
  part.fail("llama.cpp has no such step for SentencePiece's kind of BPE");
}

// A token's place in the order of merges.
using Ranks = std::unordered_map<std::string, std::int64_t>;

// The merges of a token must follow each other.
Ranks ranks_of(const JsonPart& merges, std::size_t& count, const std::unordered_map<std::string, bool>& is_normal) {
  Ranks ranks;
  std::string last;
  count = 0;
  for (const auto& merge : merges.elements()) {
    const auto [left, right] = halves_of(merge);
    auto result = left + right;
    const auto found = is_normal.find(result);
    if (found != is_normal.end() && found->second) ++count;
    if (result == last) continue;
    if (!ranks.emplace(result, static_cast<std::int64_t>(ranks.size())).second) {
      merge.fail("the merges that make {} are not one after the other, as llama.cpp would have it", show(result));
    }
    last = std::move(result);
  }
  return ranks;
}

}  // namespace

std::vector<std::string> written_merges(const JsonPart& merges) {
  std::vector<std::string> written;
  for (const auto& merge : merges.elements()) {
    auto [left, right] = halves_of(merge);
    if ((left + right).find(' ') != std::string::npos) merge.fail("a byte-level token cannot hold a space");
    written.push_back(left + ' ' + right);
  }
  return written;
}

std::vector<float> scores_of_merges(const JsonPart& merges, const std::vector<std::string>& tokens,
                                    const std::vector<std::int32_t>& types) {
  std::unordered_map<std::string, bool> is_normal;
  for (std::size_t id = 0; id < tokens.size(); ++id) is_normal[tokens[id]] = types[id] == kGgufNormal;
  std::size_t count = 0;
  const auto ranks = ranks_of(merges, count, is_normal);
  std::vector<float> scores(tokens.size(), 0);
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    const auto found = ranks.find(tokens[id]);
    if (found != ranks.end()) scores[id] = -static_cast<float>(found->second + 1);
  }
  const auto possible = derive_merges(tokens, {}, MergeOrder::id, merges.origin());
  const auto expected = std::ranges::count_if(possible, [&](const DerivedMerge& merge) {
    const auto found =
        is_normal.find(tokens[static_cast<std::size_t>(merge.left)] + tokens[static_cast<std::size_t>(merge.right)]);
    return found != is_normal.end() && found->second;
  });
  if (expected == static_cast<std::ptrdiff_t>(count)) return scores;
  merges.fail(
      "{} make normal tokens, and the vocabulary allows {}; llama.cpp would take all of them, and give other ids",
      count, expected);
}

bool has_space_prefix(const JsonPart& document) {
  const bool by_normalizer = puts_space(document["normalizer"]);
  return puts_space(document["pre_tokenizer"]) || by_normalizer;
}

}  // namespace normtweak::text
