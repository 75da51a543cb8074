#include "normtweak/text/added_tokens.h"

#include <algorithm>
#include <limits>

#include "normtweak/text/characters.h"

namespace normtweak::text {
namespace {

// The `tokenizers` package refuses a token without one of its flags, too.
bool read_flag(const JsonPart& part) {
  if (part.is_null()) part.fail("is missing");
  return part.flag(false);
}

AddedToken read_token(const JsonPart& part) {
  const auto id = part["id"];
  const bool is_id = id.is_null() || (id.integer() >= 0 && id.integer() <= std::numeric_limits<std::uint32_t>::max());
  if (!is_id) id.fail("{} is not an id", id.integer());
  AddedToken token;
  token.content = part["content"].text();
  token.special = read_flag(part["special"]);
  token.single_word = read_flag(part["single_word"]);
  token.lstrip = read_flag(part["lstrip"]);
  token.rstrip = read_flag(part["rstrip"]);
  token.normalized = read_flag(part["normalized"]);
  return token;
}

bool stands_alone(std::string_view text, Span match) {
  return !ends_with_word(text.substr(0, match.begin)) && !starts_with_word(text.substr(match.end));
}

}  // namespace

AddedTokens::AddedTokens(const JsonPart& part, const Vocabulary& vocabulary, const Normalizer& normalizer) {
  for (const auto& element : part.elements()) {
    const auto token = read_token(element);
    if (token.content.empty()) continue;
    const auto id = assign_id(token.content, vocabulary);
    by_content_[token.content] = id;
    by_id_[id] = token;
    if (token.special) special_.insert(token.content);
  }
  for (auto& [id, token] : by_id_) {
    std::string storage;
    if (token.normalized) token.content = std::string(normalizer.normalize(token.content, storage));
    tries_.at(token.normalized ? 1 : 0).insert(token.content, id);
  }
}

std::int64_t AddedTokens::assign_id(const std::string& content, const Vocabulary& vocabulary) const {
  if (const auto row = by_content_.find(content); row != by_content_.end()) return row->second;
  if (const auto id = vocabulary.id_of(content)) return *id;
  // The number of tokens, not the largest id, as in the `tokenizers` package.
  const auto largest = by_id_.empty() ? -1 : by_id_.rbegin()->first;
  return std::max(largest + 1, vocabulary.count());
}

std::vector<Piece> AddedTokens::split(std::string_view text, bool normalized) const {
  std::vector<Piece> pieces;
  std::size_t done = 0;
  for (const auto& match : tries_.at(normalized ? 1 : 0).find_all(text)) {
    const auto& token = by_id_.at(match.value);
    auto span = match.span;
    if (token.single_word && !stands_alone(text, span)) continue;
    // The white space may already belong to the previous token.
    if (token.lstrip) span.begin = std::max(span.begin - trailing_white_space(text.substr(0, span.begin)), done);
    if (token.rstrip) span.end += leading_white_space(text.substr(span.end));
    if (done < span.begin) pieces.push_back({{done, span.begin}});
    pieces.push_back({span, match.value});
    done = span.end;
  }
  if (done < text.size()) pieces.push_back({{done, text.size()}});
  return pieces;
}

}  // namespace normtweak::text
