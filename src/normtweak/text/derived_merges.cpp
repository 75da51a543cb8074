#include "normtweak/text/derived_merges.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "normtweak/base/error.h"
#include "normtweak/text/token_index.h"
#include "normtweak/text/utf8.h"

namespace normtweak::text {
namespace {

constexpr std::size_t kLongest = 1024;  // bytes; runs of spaces take some hundred

struct Candidate {
  DerivedMerge halves;
  std::int32_t id = 0;                        // of the token that they form
  std::uint32_t left_length = 0, length = 0;  // in characters
};

template <class Find>
void add_candidates(Find find, std::string_view token, std::int32_t id, std::vector<Candidate>& candidates) {
  const auto first = candidates.size();
  std::uint32_t length = 0;
  for (std::size_t at = 0; at < token.size();) {
    at += code_point_at(token, at).length;
    ++length;
    if (at == token.size()) break;
    const auto left = find(token.substr(0, at));
    if (!left) continue;
    if (const auto right = find(token.substr(at))) candidates.push_back({{*left, *right}, id, length});
  }
  for (auto i = first; i < candidates.size(); ++i) candidates[i].length = length;
}

}  // namespace

std::vector<DerivedMerge> derive_merges(std::span<const std::string> tokens, std::span<const double> scores,
                                        MergeOrder order, std::string_view origin) {
  const auto text_of = [&](std::int32_t id) -> std::string_view { return tokens[static_cast<std::size_t>(id)]; };
  TokenIndex index(tokens.size());
  for (std::size_t id = 0; id < tokens.size(); ++id) index.put(tokens[id], static_cast<std::int32_t>(id), text_of);
  const auto find = [&](std::string_view token) { return index.find(token, text_of); };
  std::vector<Candidate> candidates;
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    if (tokens[id].size() > kLongest) {
      fail("{}: token {} has {} bytes; {} is the most that merges are derived from", origin, id, tokens[id].size(),
           kLongest);
    }
    const auto first = static_cast<std::ptrdiff_t>(candidates.size());
    add_candidates(find, tokens[id], static_cast<std::int32_t>(id), candidates);
    if (order != MergeOrder::rank) continue;
    std::ranges::sort(candidates.begin() + first, candidates.end(), {},
                      [](const Candidate& row) { return std::pair(row.halves.left, row.halves.right); });
  }
  const auto score = [&](const Candidate& row) { return scores[static_cast<std::size_t>(row.id)]; };
  if (order == MergeOrder::score) {
    std::ranges::sort(candidates, [&](const Candidate& a, const Candidate& b) {
      return std::tuple(score(b), b.left_length, b.length, a.id) < std::tuple(score(a), a.left_length, a.length, b.id);
    });
  }  // else they are in order already
  std::vector<DerivedMerge> merges;
  merges.reserve(candidates.size());
  for (const auto& candidate : candidates) merges.push_back(candidate.halves);
  return merges;
}

Json merges_as_json(std::span<const std::string> tokens, std::span<const DerivedMerge> merges) {
  const auto token = [&](std::int32_t id) -> const std::string& { return tokens[static_cast<std::size_t>(id)]; };
  // A line that begins like the first one of a merges.txt would be skipped.
  const bool needs_pairs = std::ranges::any_of(merges, [&](const DerivedMerge& merge) {
    return token(merge.left).find(' ') != std::string::npos || token(merge.right).find(' ') != std::string::npos ||
           token(merge.left).starts_with("#version");
  });
  Json::array_t rows;
  rows.reserve(merges.size());
  for (const auto& [left, right] : merges) {
    if (needs_pairs) {
      rows.emplace_back(Json::array({token(left), token(right)}));
    } else {
      rows.emplace_back(fmt::format("{} {}", token(left), token(right)));
    }
  }
  return rows;
}

}  // namespace normtweak::text
