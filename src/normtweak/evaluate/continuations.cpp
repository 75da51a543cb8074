#include "normtweak/evaluate/continuations.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <numeric>
#include <span>

#include "normtweak/base/error.h"
#include "normtweak/base/strings/wording.h"
#include "normtweak/evaluate/logits.h"
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

// What a model reads: all but the last token, which predicts nothing.
std::span<const std::int64_t> inputs_of(const Continuation& text) {
  return std::span(text.ids).first(text.ids.size() - 1);
}

// Texts that are read off one row, the longest of them first.
using Group = std::vector<std::size_t>;

// In alphabetical order, texts that begin with others follow them.
std::vector<Group> share_rows(const std::vector<Continuation>& texts) {
  std::vector<std::size_t> order(texts.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](auto a, auto b) {
    return std::ranges::lexicographical_compare(inputs_of(texts[a]), inputs_of(texts[b]));
  });
  std::vector<Group> groups;
  for (auto next = order.rbegin(); next != order.rend(); ++next) {
    const auto inputs = inputs_of(texts[*next]);
    const auto begins_last = [&] {
      const auto last = inputs_of(texts[groups.back().back()]);
      return inputs.size() <= last.size() && std::ranges::equal(inputs, last.first(inputs.size()));
    };
    if (groups.empty() || !begins_last()) groups.emplace_back();
    groups.back().push_back(*next);
  }
  std::ranges::stable_sort(groups, [&](const Group& a, const Group& b) {
    return texts[a.front()].ids.size() > texts[b.front()].ids.size();
  });
  return groups;
}

Pass make_pass(const std::vector<Continuation>& texts, std::span<const Group> groups, c10::Device device) {
  const auto longest = static_cast<std::int64_t>(inputs_of(texts[groups.front().front()]).size());
  const auto ids = at::zeros({std::ssize(groups), longest}, at::kLong);
  std::vector<std::int64_t> places, next;
  auto* row = ids.mutable_data_ptr<std::int64_t>();
  std::int64_t start = 0;
  for (const auto& group : groups) {
    const auto inputs = inputs_of(texts[group.front()]);
    std::ranges::copy(inputs, row + start);
    for (const auto i : group) {
      const auto& text = texts[i];
      const auto count = std::ssize(text.ids) - 1;
      for (auto at = count - text.predicted; at < count; ++at) {
        places.push_back(start + at);
        next.push_back(text.ids[static_cast<std::size_t>(at) + 1]);
      }
    }
    start += longest;
  }
  return {ids.to(device), at::tensor(places, at::kLong).to(device), at::tensor(next, at::kLong).to(device)};
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

std::vector<std::vector<ContinuationScore>> score_continuations(const model::Decoder& model,
                                                                const std::vector<Continuation>& continuations,
                                                                const ContinuationOptions& options,
                                                                ProgressSink& progress) {
  const c10::NoGradGuard no_gradients;
  Stage stage(progress, options.stage, std::ssize(continuations), "texts");
  const auto groups = share_rows(continuations);
  const auto models = options.reference != nullptr ? 2U : 1U;
  std::vector scores(models, std::vector<ContinuationScore>(continuations.size()));
  for (std::size_t begin = 0, count = 0; begin < groups.size(); begin += count) {
    const auto longest = static_cast<std::int64_t>(inputs_of(continuations[groups[begin].front()]).size());
    count = static_cast<std::size_t>(options.batch_rows > 0 ? options.batch_rows : rows_in_pass(model, longest));
    const auto chosen = std::span(groups).subspan(begin, std::min(count, groups.size() - begin));
    const auto pass = make_pass(continuations, chosen, model.device);
    const auto figures = token_figures({&model}, pass, {.reference = options.reference, .greedy = options.greedy});
    std::int64_t token = 0, texts = 0;
    for (const auto& group : chosen) {
      for (const auto i : group) {
        const auto tokens = continuations[i].predicted;
        for (std::size_t m = 0; m < models; ++m) {
          scores[m][i] = score_of(figures[m], token, tokens, m == 0 && options.reference != nullptr);
        }
        token += tokens;
      }
      texts += std::ssize(group);
    }
    stage.advance(texts);
  }
  return scores;
}

}  // namespace normtweak::evaluate
