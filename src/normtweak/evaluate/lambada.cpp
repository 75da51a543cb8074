#include "normtweak/evaluate/lambada.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

#include "normtweak/base/error.h"
#include "normtweak/base/files/file_kind.h"
#include "normtweak/base/json/json.h"
#include "normtweak/base/strings/wording.h"
#include "normtweak/evaluate/logits.h"
#include "normtweak/model/forward_pass.h"
#include "normtweak/model/head.h"
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

LambadaExample example_of_line(std::string_view line, const text::Tokenizer& tokenizer, std::int64_t context_limit,
                               const std::string& origin) {
  const auto row = parse_json(line, origin);
  if (!row.is_object() || !row.contains("text") || !row["text"].is_string()) {
    fail("{}: an object with the text under the key \"text\" is needed in each line", origin);
  }
  return lambada_example(row["text"].get_ref<const std::string&>(), tokenizer, context_limit, origin);
}

// Longest first, so that running out of memory shows at once.
std::vector<std::size_t> longest_first(const std::vector<LambadaExample>& examples) {
  std::vector<std::size_t> order(examples.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](auto a, auto b) { return examples[a].ids.size() > examples[b].ids.size(); });
  return order;
}

// A batch of texts, and the positions of their last words.
struct Pass {
  at::Tensor ids;      // i64 [texts, tokens], padded on the right with 0
  at::Tensor places;   // i64 [all words' tokens]: index in the flattened `ids` of the predicting hidden state
  at::Tensor targets;  // i64 [all words' tokens]
};

Pass make_pass(const std::vector<LambadaExample>& examples, std::span<const std::size_t> chosen, c10::Device device) {
  std::int64_t longest = 0;
  for (const auto i : chosen) longest = std::max(longest, static_cast<std::int64_t>(examples[i].ids.size()) - 1);
  const auto ids = at::zeros({static_cast<std::int64_t>(chosen.size()), longest}, at::kLong);
  std::vector<std::int64_t> places, targets;
  auto* row = ids.mutable_data_ptr<std::int64_t>();
  std::int64_t start = 0;
  for (const auto i : chosen) {
    const auto& all = examples[i].ids;
    std::copy(all.begin(), all.end() - 1, row + start);  // the last token is predicted and predicts nothing
    const auto inputs = static_cast<std::int64_t>(all.size()) - 1;
    for (auto at = inputs - examples[i].word_tokens; at < inputs; ++at) {
      places.push_back(start + at);
      targets.push_back(all[static_cast<std::size_t>(at) + 1]);
    }
    start += longest;
  }
  return {ids.to(device), at::tensor(places, at::kLong).to(device), at::tensor(targets, at::kLong).to(device)};
}

// f32 [2, tokens] on the CPU: log probability of each target, and 1 if no token is likelier.
at::Tensor judge_tokens(const model::Decoder& model, const Pass& pass) {
  const auto hidden = last_hidden_state(model, pass.ids).flatten(0, 1).index_select(0, pass.places);
  const auto table = at::empty({2, hidden.size(0)}, hidden.options().dtype(at::kFloat));
  for_chunks(model, hidden.size(0), [&](std::int64_t begin, std::int64_t count) {
    const auto targets = pass.targets.narrow(0, begin, count);
    auto all = logits(model, hidden.narrow(0, begin, count));
    const auto part = table.narrow(1, begin, count);
    part[1].copy_(all.argmax(-1).eq(targets));
    log_softmax_in_place(all);
    part[0].copy_(at_ids(all, targets));
  });
  return table.cpu();
}

}  // namespace

LambadaExample lambada_example(std::string_view text, const text::Tokenizer& tokenizer, std::int64_t context_limit,
                               std::string_view origin) {
  const auto space = text.rfind(' ');
  auto context = text.substr(0, space == std::string_view::npos ? 0 : space);
  context.remove_suffix(text::trailing_white_space(context));
  if (context.empty()) fail("{}: a last word and something before it are needed, separated by a space", origin);
  if (space + 1 == text.size()) fail("{}: the text ends in a space, so that it has no last word", origin);
  LambadaExample example = {.ids = encode_beginning(tokenizer, text, origin), .word_tokens = 0};
  const auto before = encode_beginning(tokenizer, context, origin).size();
  if (before == 0 || before >= example.ids.size()) fail("{}: the last word has no tokens of its own", origin);
  example.word_tokens = static_cast<std::int64_t>(example.ids.size() - before);
  if (example.word_tokens > context_limit) {
    fail("{}: the last word has {}, and the model's context holds {}", origin, counted(example.word_tokens, "token"),
         context_limit);
  }
  const auto excess = static_cast<std::int64_t>(example.ids.size()) - (context_limit + 1);
  if (excess > 0) example.ids.erase(example.ids.begin(), example.ids.begin() + excess);
  return example;
}

std::vector<LambadaExample> read_lambada(const std::filesystem::path& path, const text::Tokenizer& tokenizer,
                                         std::int64_t context_limit, std::int64_t max_examples) {
  const auto content = read_text_file(path);
  std::vector<LambadaExample> examples;
  std::int64_t number = 0;
  for (std::string_view rest = content; !rest.empty();) {
    if (max_examples > 0 && std::ssize(examples) == max_examples) break;
    const auto line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    ++number;
    if (text::is_blank(line)) continue;
    examples.push_back(example_of_line(line, tokenizer, context_limit, fmt::format("{}:{}", path.string(), number)));
  }
  if (examples.empty()) fail("{}: holds no rows; JSON lines with the key \"text\" are needed", path.string());
  return examples;
}

double LambadaScores::perplexity() const { return std::exp(negative_log_likelihood.mean()); }

LambadaScores score_lambada(const model::Decoder& model, const std::vector<LambadaExample>& examples,
                            const LambadaOptions& options, ProgressSink& progress) {
  const c10::NoGradGuard no_gradients;
  Stage stage(progress, options.stage, std::ssize(examples), "texts");
  const auto order = longest_first(examples);
  struct Outcome {
    double likelihood = 0;
    bool correct = true;
  };
  std::vector<Outcome> outcomes(examples.size());
  for (std::size_t begin = 0, count = 0; begin < order.size(); begin += count) {
    const auto longest = static_cast<std::int64_t>(examples[order[begin]].ids.size()) - 1;
    count = static_cast<std::size_t>(options.batch_rows > 0 ? options.batch_rows : rows_in_pass(model, longest));
    const auto chosen = std::span(order).subspan(begin, std::min(count, order.size() - begin));
    const auto pass = make_pass(examples, chosen, model.device);
    const auto table = judge_tokens(model, pass);
    check_finite(table[0].sum().item<double>(), model, "", pass.ids);
    const auto figures = table.accessor<float, 2>();
    std::int64_t token = 0;
    for (const auto i : chosen) {
      for (const auto end = token + examples[i].word_tokens; token < end; ++token) {
        outcomes[i].likelihood += figures[0][token];
        outcomes[i].correct = outcomes[i].correct && figures[1][token] != 0;
      }
    }
    stage.advance(std::ssize(chosen));
  }
  LambadaScores scores;  // summed in file order, independent of batching
  for (const auto& outcome : outcomes) {
    scores.correct.add(outcome.correct ? 1 : 0);
    scores.negative_log_likelihood.add(-outcome.likelihood);
  }
  return scores;
}

}  // namespace normtweak::evaluate
