#include "normtweak/text/added_tokens.h"

#include <algorithm>
#include <limits>

#include "normtweak/base/about.h"
#include "normtweak/text/characters.h"

namespace normtweak::text {
namespace {

// The `tokenizers` package refuses a token without one of its flags, too.
bool read_flag(const JsonPart& part) {
  if (part.is_null()) part.fail("is missing");
  return part.flag(false);
}

DeclaredToken read_token(const JsonPart& part) {
  DeclaredToken declared;
  const auto id = part["id"];  // there has to be one, though it decides on nothing
  declared.id = id.integer();
  if (declared.id < 0 || declared.id > std::numeric_limits<std::uint32_t>::max())
    id.fail("{} is not an id", declared.id);
  auto& token = declared.token;
  token.content = part["content"].text();
  token.special = read_flag(part["special"]);
  token.single_word = read_flag(part["single_word"]);
  token.lstrip = read_flag(part["lstrip"]);
  token.rstrip = read_flag(part["rstrip"]);
  token.normalized = read_flag(part["normalized"]);
  return declared;
}

bool stands_alone(std::string_view text, Span match) {
  return !ends_with_word(text.substr(0, match.begin)) && !starts_with_word(text.substr(match.end));
}

// They stay in memory, so that tokens may grow less than texts: byte-level characters have two bytes, and the mark for
// a space has three.
constexpr std::size_t kMostGrowth = 4;

std::string normal_form(std::string_view content, const Normalizer& normalizer, Growth& growth,
                        std::string_view origin) {
  std::string storage;
  bool is_first = true;
  return about(fmt::format("{}: added_tokens: {}", origin, show(content)),
               [&] { return std::string(normalizer.normalize(content, storage, is_first, growth)); });
}

}  // namespace

std::vector<DeclaredToken> take_added_tokens(Json& document, std::string_view origin) {
  std::vector<DeclaredToken> tokens;
  const auto elements = JsonPart(document, origin)["added_tokens"].elements();
  tokens.reserve(elements.size());
  for (std::size_t i = 0; i < elements.size(); ++i) {
    tokens.push_back(read_token(elements[static_cast<std::ptrdiff_t>(i)]));
    document["added_tokens"][i] = nullptr;  // its memory goes to those that follow
  }
  if (document.is_object()) document.erase("added_tokens");
  return tokens;
}

AddedTokens::AddedTokens(std::vector<AddedToken> tokens, const Vocabulary& vocabulary, const Normalizer& normalizer,
                         std::string_view origin)
    : tokens_(std::move(tokens)) {
  std::erase_if(tokens_, [](const AddedToken& token) { return token.content.empty(); });
  number(vocabulary);
  build_tables(normalizer, origin);
}

void AddedTokens::list_contents() {
  by_content_.reserve(tokens_.size());
  for (std::uint32_t place = 0; place < tokens_.size(); ++place) {
    by_content_.push_back({.place = place, .special = tokens_[place].special});
  }
  const auto content = [&](const Known& known) -> std::string_view { return tokens_[known.place].content; };
  std::ranges::sort(by_content_, {}, content);
  std::size_t kept = 0;
  for (const auto& known : by_content_) {
    const bool again = kept > 0 && content(by_content_[kept - 1]) == content(known);
    if (again) {
      by_content_[kept - 1].special |= known.special;
    } else {
      by_content_[kept++] = known;
    }
  }
  by_content_.resize(kept);
}

void AddedTokens::number(const Vocabulary& vocabulary) {
  list_contents();
  by_id_.reserve(tokens_.size());
  for (std::uint32_t place = 0; place < tokens_.size(); ++place) {
    const auto& content = tokens_[place].content;
    auto& known = by_content_[row_of(content).value()];
    // The number of tokens, not the largest id, as in the `tokenizers` package.
    if (known.id < 0) known.id = vocabulary.id_of(content).value_or(std::max(largest_id_ + 1, vocabulary.count()));
    by_id_.emplace_back(known.id, place);
    largest_id_ = std::max(largest_id_, known.id);
  }
  // Of those with one id, the last counts.
  std::ranges::sort(by_id_);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < by_id_.size(); ++i) {
    const bool is_last = i + 1 == by_id_.size() || by_id_[i + 1].first != by_id_[i].first;
    if (is_last) by_id_[kept++] = by_id_[i];
  }
  by_id_.resize(kept);
}

void AddedTokens::build_tables(const Normalizer& normalizer, std::string_view origin) {
  Growth growth(kMostGrowth);
  std::array<std::vector<TokenTable::Entry>, 2> entries;
  for (const auto& [id, place] : by_id_) {
    const auto& token = tokens_[place];
    if (token.normalized) {
      auto normal = normal_form(token.content, normalizer, growth, origin);
      if (normal != token.content) normal_.emplace(place, std::move(normal));
    }
    entries.at(token.normalized ? 1 : 0).emplace_back(matched(place), id);
  }
  about(fmt::format("{}: added_tokens", origin), [&] {
    for (std::size_t i = 0; i < entries.size(); ++i) tables_.at(i) = TokenTable(std::move(entries.at(i)));
  });
}

std::string_view AddedTokens::matched(std::uint32_t place) const {
  const auto normal = normal_.find(place);
  return normal == normal_.end() ? tokens_[place].content : normal->second;
}

std::optional<std::uint32_t> AddedTokens::place_of(std::int64_t id) const {
  const auto row = std::ranges::lower_bound(by_id_, id, {}, &Numbered::first);
  return row == by_id_.end() || row->first != id ? std::nullopt : std::optional(row->second);
}

std::optional<std::string_view> AddedTokens::content(std::int64_t id) const {
  const auto place = place_of(id);
  return place ? std::optional(matched(*place)) : std::nullopt;
}

std::optional<std::size_t> AddedTokens::row_of(std::string_view content) const {
  const auto content_of = [&](const Known& known) -> std::string_view { return tokens_[known.place].content; };
  const auto row = std::ranges::lower_bound(by_content_, content, {}, content_of);
  if (row == by_content_.end() || content_of(*row) != content) return std::nullopt;
  return static_cast<std::size_t>(row - by_content_.begin());
}

std::optional<std::int64_t> AddedTokens::id_of(std::string_view token) const {
  const auto row = row_of(token);
  return row ? std::optional(by_content_[*row].id) : std::nullopt;
}

bool AddedTokens::is_special(std::string_view token) const {
  const auto row = row_of(token);
  return row && by_content_[*row].special;
}

std::vector<Piece> AddedTokens::split(std::string_view text, bool normalized, SpecialSpellings special) const {
  std::vector<Piece> pieces;
  std::size_t done = 0;
  Span white_space;  // the run that was last looked at: tokens may lie close together in a long one
  for (const auto& match : tables_.at(normalized ? 1 : 0).find_all(text)) {
    const auto& token = tokens_[place_of(match.value).value_or(0)];
    if (special == SpecialSpellings::as_text && is_special(token.content)) continue;
    auto span = match.span;
    if (token.single_word && !stands_alone(text, span)) continue;
    // The white space may already belong to the previous token.
    if (token.lstrip && done < span.begin) span.begin -= trailing_white_space(slice(text, {done, span.begin}));
    if (token.lstrip && done > span.begin) span.begin = done;
    if (token.rstrip) {
      const bool is_within = white_space.begin <= span.end && span.end <= white_space.end;
      if (!is_within) white_space = {span.end, span.end + leading_white_space(text.substr(span.end))};
      span.end = white_space.end;
    }
    if (done < span.begin) pieces.push_back({{done, span.begin}});
    pieces.push_back({span, match.value});
    done = span.end;
  }
  if (done < text.size()) pieces.push_back({{done, text.size()}});
  return pieces;
}

}  // namespace normtweak::text
