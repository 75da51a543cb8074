#include "normtweak/text/unigram.h"

#include <algorithm>
#include <ranges>
#include <utility>

#include "normtweak/text/utf8.h"

namespace normtweak::text {
namespace {

constexpr double kUnknownPenalty = 10;  // below the lowest score, as in SentencePiece

std::vector<double> read_scores(const JsonPart& vocab) {
  std::vector<double> scores;
  for (const auto& row : vocab.elements()) {
    const auto score = row.elements()[1];  // the vocabulary knows that there are two
    if (!score.is_number()) row.fail("the score {} is not a number", score.shown());
    scores.push_back(score.number());
  }
  return scores;
}

std::vector<TokenAutomaton::Entry> tokens_of(const Vocabulary& vocabulary) {
  std::vector<TokenAutomaton::Entry> tokens;
  tokens.reserve(static_cast<std::size_t>(vocabulary.count()));
  vocabulary.for_each([&](std::string_view token, std::int64_t id) { tokens.emplace_back(token, id); });
  return tokens;
}

}  // namespace

// The best way to a place in the word: its sum of scores, and the token that ends there.
struct Unigram::Step {
  double score = 0;
  std::uint32_t size = 0;  // of the token in bytes; 0: no way yet
  std::int32_t id = 0;

  void offer(double other, std::size_t bytes, std::int64_t token) {
    if (size > 0 && other <= score) return;
    *this = {.score = other, .size = static_cast<std::uint32_t>(bytes), .id = static_cast<std::int32_t>(token)};
  }
};

Unigram::Unigram(const JsonPart& model, const Vocabulary& vocabulary, Spelling /*spelling*/)
    : vocabulary_(vocabulary), tokens_(tokens_of(vocabulary)), scores_(read_scores(model["vocab"])) {
  unknown_score_ = std::ranges::min(scores_) - kUnknownPenalty;
  if (const auto unknown = model["unk_id"]; !unknown.is_null()) {
    unknown_id_ = unknown.integer();
    const auto count = static_cast<std::int64_t>(scores_.size());
    if (*unknown_id_ < 0 || *unknown_id_ >= count) unknown.fail("{} is not an id; there are {}", *unknown_id_, count);
  }
  if (model["byte_fallback"].flag(false)) fallback_.emplace(vocabulary);
}

std::int64_t Unigram::unknown_id() const {
  if (!unknown_id_) fail("model.unk_id: is missing, and the text has a character that is no token");
  return *unknown_id_;
}

void Unigram::find_best_paths(std::string_view word, std::vector<Step>& steps) const {
  steps.assign(word.size() + 1, {});
  TokenAutomaton::Cursor cursor(tokens_);
  for (std::size_t at = 0; at < word.size();) {
    const auto length = code_point_at(word, at).length, end = at + length;
    const TokenAutomaton::Key* token = nullptr;  // those that end with this character, from long to short
    for (std::size_t i = at; i < end; ++i) token = cursor.read(word[i]);
    bool is_token = false;
    for (; token != nullptr; token = tokens_.shorter(*token)) {
      const auto score = scores_[static_cast<std::size_t>(token->value)];
      steps[end].offer(steps[end - token->size].score + score, token->size, token->value);
      is_token = is_token || token->size == length;
    }
    if (!is_token) steps[end].offer(steps[at].score + unknown_score_, length, unknown_id());
    at = end;
  }
}

void Unigram::encode_word(std::string_view word, std::vector<std::int64_t>& ids) const {
  std::vector<Step> steps;
  find_best_paths(word, steps);
  std::vector<std::string_view> pieces;  // from the last to the first
  bool in_unknown = false;
  for (auto end = word.size(); end > 0;) {
    const auto& step = steps[end];
    const auto piece = word.substr(end - step.size, step.size);
    const bool is_unknown = unknown_id_ && step.id == *unknown_id_;
    if (is_unknown && in_unknown) {  // a run of unknown characters is one
      pieces.back() = {piece.data(), piece.size() + pieces.back().size()};
    } else {
      pieces.push_back(piece);
    }
    in_unknown = is_unknown;
    end -= step.size;
  }
  ids.clear();
  for (const auto piece : std::views::reverse(pieces)) append(piece, ids);
}

void Unigram::append(std::string_view piece, std::vector<std::int64_t>& ids) const {
  if (const auto id = vocabulary_.id_of(piece)) {
    ids.push_back(*id);
  } else if (!fallback_ || !fallback_->append("", piece, "", ids)) {
    ids.push_back(unknown_id());
  }
}

}  // namespace normtweak::text
