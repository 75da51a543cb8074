#include "normtweak/text/ranked_tokenizer.h"

#include <algorithm>
#include <iterator>
#include <unordered_set>
#include <utility>

#include "normtweak/base/error.h"
#include "normtweak/text/byte_level.h"
#include "normtweak/text/derived_merges.h"
#include "normtweak/text/tokenizer_parts.h"

namespace normtweak::text {

Json ranked_tokenizer_json(const std::vector<std::string>& ranked, const RankedRules& rules, std::string_view origin) {
  std::vector<std::string> spelled;
  spelled.reserve(ranked.size());
  for (const auto& token : ranked) spelled.push_back(to_byte_level(token));
  const auto merges = merges_as_json(spelled, derive_merges(spelled, {}, MergeOrder::rank, origin));

  std::unordered_set<std::string_view> special(rules.special.begin(), rules.special.end());
  for (const auto& token : rules.behind) special.insert(token.content);
  for (const auto& token : spelled) {
    if (special.contains(token)) fail("{}: the token {} is a special one as well; is the file damaged?", origin, token);
  }
  std::vector<std::string> tokens(rules.special.begin(), rules.special.end());
  std::ranges::move(spelled, std::back_inserter(tokens));

  Json document = {{"normalizer", rules.nfc ? Json{{"type", "NFC"}} : Json()}, {"post_processor", nullptr}};
  document["pre_tokenizer"] = sequence("pretokenizers", {isolated_split(rules.pattern), byte_level(false, false)});
  document["decoder"] = {{"type", "ByteLevel"}};
  document["model"] = character_bpe("", false);
  document["model"].update({{"fuse_unk", false}, {"ignore_merges", true}});
  document["model"]["vocab"] = vocabulary_as_json(tokens);
  document["model"]["merges"] = merges;
  return document;
}

}  // namespace normtweak::text
