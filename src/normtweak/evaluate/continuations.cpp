#include "normtweak/evaluate/continuations.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <ranges>
#include <span>

#include "normtweak/base/error.h"
#include "normtweak/base/strings/wording.h"
#include "normtweak/evaluate/logits.h"
#include "normtweak/evaluate/text_rows.h"
#include "normtweak/evaluate/token_figures.h"
#include "normtweak/text/characters.h"

namespace normtweak::evaluate {
namespace {

// With the tokens that the tokenizer prepends, but without those that it appends, after which no text continues.
std::vector<std::int64_t> encode_beginning(const text::Tokenizer& tokenizer, std::string_view text,
                                           std::string_view origin) {
  auto ids = tokenizer.prefix();
  const auto rest = tokenizer.encode(text, false, origin);
  ids.insert(ids.end(), rest.begin(), rest.end());
  return ids;
}

ContinuationScore score_of(const TokenFigures& figures, std::int64_t begin, std::int64_t count, bool compared) {
  ContinuationScore score;
  const auto* likelihood = figures.likelihood.const_data_ptr<float>() + begin;
  const auto* greedy = figures.greedy.const_data_ptr<float>() + begin;
  for (std::int64_t at = 0; at < count; ++at) {
    score.log_likelihood += likelihood[at];
    score.greedy = score.greedy && greedy[at] != 0;
  }
  if (!compared) return score;
  score.divergence.add(figures.divergence.narrow(0, begin, count));
  score.agreement.add(figures.agreement.narrow(0, begin, count));
  return score;
}

}  // namespace

Continuation encode_continuation(std::string_view context, std::string_view continuation,
                                 const text::Tokenizer& tokenizer, std::int64_t context_limit, std::string_view origin,
                                 std::string_view what) {
  const auto whole = std::string(context) + std::string(continuation);
  context.remove_suffix(text::trailing_white_space(context));
  if (context.empty()) fail("{}: no text stands before {}", origin, what);
  Continuation text = {.ids = encode_beginning(tokenizer, whole, origin), .predicted = 0};
  const auto before = encode_beginning(tokenizer, context, origin).size();
  if (before == 0 || before >= text.ids.size()) fail("{}: {} has no tokens of its own", origin, what);
  text.predicted = static_cast<std::int64_t>(text.ids.size() - before);
  if (text.predicted > context_limit) {
    fail("{}: {} has {}, and the model's context holds {}", origin, what, counted(text.predicted, "token"),
         context_limit);
  }
  const auto excess = static_cast<std::int64_t>(text.ids.size()) - (context_limit + 1);
  if (excess > 0) text.ids.erase(text.ids.begin(), text.ids.begin() + excess);
  return text;
}

std::vector<std::vector<ContinuationScore>> score_continuations(const std::vector<const model::Decoder*>& models,
                                                                const std::vector<Continuation>& continuations,
                                                                const ContinuationOptions& options,
                                                                ProgressSink& progress) {
  const c10::NoGradGuard no_gradients;
  Stage stage(progress, options.stage, std::ssize(continuations), "texts");
  const bool compared = options.reference != nullptr;
  std::vector scores(models.size() + (compared ? 1 : 0), std::vector<ContinuationScore>(continuations.size()));
  const auto rows = share_rows(continuations);
  for (std::size_t begin = 0, count = 0; begin < rows.size(); begin += count) {
    const auto longest = static_cast<std::int64_t>(rows[begin].tokens);
    const auto fitting = rows_in_pass(*models.front(), longest, /*branched=*/true);
    count = static_cast<std::size_t>(options.batch_rows > 0 ? options.batch_rows : fitting);
    const auto chosen = std::span(rows).subspan(begin, std::min(count, rows.size() - begin));
    const auto pass = make_pass(continuations, chosen, models.front()->device);
    const auto figures = token_figures(models, pass, {.reference = options.reference, .greedy = options.greedy});
    std::int64_t token = 0, texts = 0;
    for (const auto& branch : chosen | std::views::transform(&TextRow::branches) | std::views::join) {
      for (const auto i : branch) {
        const auto tokens = continuations[i].predicted;
        for (std::size_t m = 0; m < scores.size(); ++m) {
          scores[m][i] = score_of(figures[m], token, tokens, compared && m < models.size());
        }
        token += tokens;
      }
      texts += std::ssize(branch);
    }
    stage.advance(texts);
  }
  return scores;
}

std::vector<std::vector<ContinuationScore>> score_continuations(const model::Decoder& model,
                                                                const std::vector<Continuation>& continuations,
                                                                const ContinuationOptions& options,
                                                                ProgressSink& progress) {
  return score_continuations(std::vector{&model}, continuations, options, progress);
}

}  // namespace normtweak::evaluate
