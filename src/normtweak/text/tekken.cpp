#include "normtweak/text/tekken.h"

#include <algorithm>
#include <cstdint>

#include "normtweak/text/base64.h"
#include "normtweak/text/json_part.h"
#include "normtweak/text/tiktoken_vocabulary.h"
#include "normtweak/text/token_index.h"

namespace normtweak::text {
namespace {

constexpr std::int64_t kMostSpecial = 65'536;  // a thousand are usual

void check_rank(const JsonPart& element, std::size_t due) {
  const auto rank = element["rank"];
  if (rank.integer() != static_cast<std::int64_t>(due)) rank.fail("{} where {} is due", rank.integer(), due);
}

std::vector<std::string> read_special(const JsonPart& document) {
  const auto list = document["special_tokens"];
  if (list.is_null()) {
    list.fail(
        "is missing, as in early files; save a tokenizer.json (AutoTokenizer's save_pretrained, with mistral-common)");
  }
  std::vector<std::string> tokens;
  for (const auto& element : list.elements()) {
    check_rank(element, tokens.size());
    tokens.push_back(element["token_str"].text());
  }
  const auto count = document["config"]["default_num_special_tokens"];
  const auto wanted = count.is_null() ? static_cast<std::int64_t>(tokens.size()) : count.integer();
  if (wanted > kMostSpecial) count.fail("{} are too many; is the file damaged?", wanted);
  if (wanted < static_cast<std::int64_t>(tokens.size())) count.fail("{} for {} tokens", wanted, tokens.size());
  for (auto id = tokens.size(); id < static_cast<std::size_t>(wanted); ++id) {
    tokens.push_back(fmt::format("<SPECIAL_{}>", id));
  }
  return tokens;
}

std::size_t count_ranked(const JsonPart& document, std::size_t special) {
  const auto there = document["vocab"].elements().size();
  const auto size = document["config"]["default_vocab_size"];
  if (size.is_null()) return there;
  const auto ranked = size.integer() - static_cast<std::int64_t>(special);
  if (ranked < 0) size.fail("{} for {} special tokens", size.integer(), special);
  return std::min(there, static_cast<std::size_t>(ranked));
}

std::vector<std::string> read_ranked(const JsonPart& document, std::size_t count) {
  std::vector<std::string> tokens;
  tokens.reserve(count);
  TokenIndex seen(count);
  const auto text_of = [&](std::int32_t id) -> std::string_view { return tokens[static_cast<std::size_t>(id)]; };
  for (const auto& element : document["vocab"].elements()) {
    if (tokens.size() == count) break;
    check_rank(element, tokens.size());
    const auto spelled = element["token_bytes"];
    auto token = from_base64(spelled.text());
    if (!token || token->empty()) spelled.fail("is not a token in base64");
    tokens.push_back(std::move(*token));
    const auto before = seen.put(tokens.back(), static_cast<std::int32_t>(tokens.size() - 1), text_of);
    if (before) spelled.fail("is the token of rank {} again", *before);
  }
  return tokens;
}

}  // namespace

Tekken read_tekken(std::string_view content, std::string_view origin) {
  const auto document = parse_json(content, origin);
  const JsonPart part(document, origin);
  part.object();
  Tekken tekken;
  tekken.pattern = part["config"]["pattern"].text();
  tekken.special = read_special(part);
  tekken.ranked = read_ranked(part, count_ranked(part, tekken.special.size()));
  check_ranked_tokens(tekken.ranked, origin);
  return tekken;
}

}  // namespace normtweak::text
