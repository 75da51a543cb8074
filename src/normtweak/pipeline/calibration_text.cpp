#include "normtweak/pipeline/calibration_text.h"

#include <ATen/ops/tensor.h>

#include <algorithm>

#include "normtweak/base/error.h"
#include "normtweak/base/strings/wording.h"
#include "normtweak/calibrate/seen_rows.h"
#include "normtweak/text/corpus.h"

namespace normtweak::pipeline {
namespace {

calibrate::TokenBatch cut_real_text(const TextSource& source, const model::Checkpoint& checkpoint) {
  const auto tokenizer = load_tokenizer(checkpoint, "let the model write instead, with --strategy llm-qat");
  const auto corpus = text::read_text(source.real_text);
  const auto name = source.real_text.string();
  return calibrate::cut_text(tokenizer.encode(corpus.text, true, name), source.self.samples,
                             calibrate::tokens_in_row(source.self, checkpoint.numbers), name);
}

// The ids of all examples, one after the other.
at::Tensor ids_of(const std::vector<evaluate::Continuation>& examples) {
  std::vector<std::int64_t> ids;
  for (const auto& example : examples) ids.insert(ids.end(), example.ids.begin(), example.ids.end());
  return at::tensor(ids, at::kLong);
}

// The text of a file of ids or of a text file; nullopt if none is named.
std::optional<calibrate::TokenBatch> given_text(const TextSource& source, const model::Checkpoint& checkpoint) {
  if (!source.ids.empty()) {
    const auto& numbers = checkpoint.numbers;
    auto text = calibrate::load_token_batch(source.ids, numbers.vocabulary);
    if (text.tokens() > numbers.context) {
      fail("{}: rows of {}, and the model's context holds {}", source.ids.string(), counted(text.tokens(), "token"),
           numbers.context);
    }
    return text;
  }
  if (source.real_text.empty()) return std::nullopt;
  return cut_real_text(source, checkpoint);
}

}  // namespace

RunCalibration known_text(const TextSource& source, const model::Checkpoint& checkpoint) {
  RunCalibration text = {.given = given_text(source, checkpoint), .size = {}};
  if (text.given) {
    text.size = {text.given->samples(), text.given->tokens()};
  } else {
    calibrate::check_can_write(checkpoint, source.self);
    text.size = {source.self.samples, calibrate::tokens_in_row(source.self, checkpoint.numbers)};
  }
  return text;
}

RunCalibration read_calibration(const TextSource& source, const model::Checkpoint& checkpoint,
                                const Processes& processes) {
  auto text = known_text(source, checkpoint);
  const auto [rows, tokens] = text.size;
  const auto from = !source.ids.empty() ? source.ids.string() + ": " : "";
  const auto more = source.ids.empty() ? "use more --samples" : "give a file with more";
  if (rows < tweak::kLeastRows) {
    fail("{}{} of calibration text: at least {} are needed, since some are kept aside to judge the result; {}", from,
         counted(rows, "row"), tweak::kLeastRows, more);
  }
  if (tokens < 2) {
    fail("{}rows of 1 token: at least 2 are needed, since what follows a token is predicted; {}", from,
         source.ids.empty() ? "use more --tokens" : "give a file with longer ones");
  }
  if (const auto train = tweak::text_shares(rows).train; train < processes.size()) {
    fail("{}{} processes cannot share the {} left of {} to quantize and tweak; {}, or fewer processes", from,
         processes.size(), counted(train, "row"), rows, more);
  }
  return text;
}

void check_fresh_text(const RunCalibration& calibration, const TextSource& source, const TweakOptions& tweak) {
  if (!tweak.fresh_text || !calibration.given || tweak.method != TweakMethod::end_to_end) return;
  if (!source.real_text.empty()) {
    fail_usage("--fresh-text: the model writes none with --text; leave that out, and it writes the first text as well");
  }
  try {
    calibrate::options_to_go_on(*calibration.given, 1);
  } catch (const Error& error) {
    fail("--fresh-text: {}: {}; take a file of `normtweak generate`, or none", source.ids.string(), error.what());
  }
}

at::Tensor ExternalTokens::Text::ids() const {
  const auto* documents = std::get_if<evaluate::DocumentText>(&content);
  return documents != nullptr ? at::tensor(documents->ids, at::kLong) : std::get<evaluate::Windows>(content).rows.ids;
}

std::int64_t ExternalTokens::Text::longest_row() const {
  const auto* documents = std::get_if<evaluate::DocumentText>(&content);
  return documents != nullptr ? documents->longest_window() : std::get<evaluate::Windows>(content).rows.tokens();
}

ExternalTokens read_external(const External& external, const model::Checkpoint& checkpoint, ProgressSink& progress) {
  ExternalTokens tokens;
  if (external.texts.empty() && !external.lambada) return tokens;
  const auto tokenizer = load_tokenizer(checkpoint, "leave out --eval-text, --eval-rows and --eval-lambada");
  const auto context = checkpoint.numbers.context;
  const evaluate::TaskInput input = {.tokenized_by = checkpoint, .tokenizer = tokenizer, .context_limit = context};
  for (const auto& text : external.texts) {
    ExternalTokens::Text read = {.name = text.path.filename().string(), .protocol = text.protocol, .content = {}};
    if (evaluate::find_protocol(text.protocol).documents) {
      read.content = evaluate::read_documents(text, input, progress);
    } else {
      read.content = read_windows(text, tokenizer, context, progress);
    }
    tokens.texts.push_back(std::move(read));
  }
  if (external.lambada) {
    const auto& [path, max_examples] = *external.lambada;
    tokens.lambada_name = path.filename().string();
    tokens.lambada = evaluate::read_lambada(path, tokenizer, context, max_examples);
  }
  return tokens;
}

void note_texts_seen(const ExternalTokens& external, const calibrate::TokenBatch& calibration, ProgressSink& progress) {
  const auto note = [&](const std::string& name, const at::Tensor& ids) {
    const auto seen = calibrate::rows_seen_in(ids, calibration);
    if (seen == 0) return;
    progress.note(fmt::format(
        "{}: holds {} of the {} of the calibration text; figures on a text seen in training flatter the result", name,
        seen, counted(calibration.samples(), "row")));
  };
  for (const auto& text : external.texts) note(text.name, text.ids());
  if (!external.lambada.empty()) note(external.lambada_name, ids_of(external.lambada));
}

}  // namespace normtweak::pipeline
