#include "normtweak/model/continuation.h"

#include <ATen/ops/log_softmax.h>
#include <ATen/ops/tensor.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "normtweak/base/device/finite.h"
#include "normtweak/base/error.h"
#include "normtweak/base/strings/wording.h"
#include "normtweak/model/finite_outputs.h"
#include "normtweak/model/forward_pass.h"
#include "normtweak/model/head.h"
#include "normtweak/model/token_ids.h"
#include "normtweak/text/tokenizer.h"
#include "normtweak/text/utf8.h"

namespace normtweak::model {
namespace {

// The bytes of whole characters at the beginning of `bytes`.
std::size_t whole_characters(std::string_view bytes) {
  for (std::size_t back = 1; back <= std::min<std::size_t>(3, bytes.size()); ++back) {
    const auto byte = static_cast<unsigned char>(bytes[bytes.size() - back]);
    if ((byte & 0xC0U) == 0x80U) continue;  // goes on with a character
    const std::size_t length = byte >= 0xF0U ? 4 : byte >= 0xE0U ? 3 : byte >= 0xC0U ? 2 : 1;
    return length > back ? bytes.size() - back : bytes.size();
  }
  return bytes.size();
}

std::string valid(std::string_view bytes) {
  std::string storage;
  return std::string(text::valid_utf8(bytes, storage));
}

// own: the prompt's ids without the tokens in front of it.
std::vector<std::string> pieces_of(const text::Tokenizer& tokenizer, const std::vector<std::int64_t>& own,
                                   const std::vector<std::int64_t>& written) {
  std::vector<std::string> pieces;
  std::size_t shown = 0;
  for (std::size_t i = 1; i <= written.size(); ++i) {
    const std::vector<std::int64_t> first(written.begin(), written.begin() + static_cast<std::ptrdiff_t>(i));
    const auto bytes = tokenizer.decode_after(own, first, /*skip_special_tokens=*/true);
    const auto end = i == written.size() ? bytes.size() : whole_characters(bytes);
    pieces.push_back(end > shown ? valid(std::string_view(bytes).substr(shown, end - shown)) : "");
    shown = std::max(shown, end);
  }
  return pieces;
}

// Log probabilities of the next token at the places where `continuation` has one that is written: f32 [written,
// vocabulary].
at::Tensor log_probabilities(const Decoder& decoder, const at::Tensor& ids, const Continuation& continuation) {
  const auto hidden = last_hidden_state(decoder, ids).squeeze(0);
  const auto first = static_cast<std::int64_t>(continuation.prompt.size()) - 1;
  const auto found = logits(decoder, hidden.narrow(0, first, static_cast<std::int64_t>(continuation.written.size())));
  if (!all_finite(found)) fail_where_not_finite(decoder, ids);
  return at::log_softmax(found, -1);
}

}  // namespace

Continuation continuation(const Checkpoint& checkpoint, const Decoder& decoder, std::string_view prompt,
                          const ContinuationOptions& options, ProgressSink& progress) {
  const auto tokenizer = load_tokenizer(checkpoint);
  // Without the special tokens that may follow a text, since this one goes on.
  auto ids = tokenizer.prefix();
  const auto own = tokenizer.encode(prompt, false);
  ids.insert(ids.end(), own.begin(), own.end());
  if (ids.empty()) fail("the prompt has no token; give a word or more");
  const auto given = static_cast<std::int64_t>(ids.size());
  if (given + options.tokens > decoder.config.context) {
    fail("{}: the prompt has {}, and {} more exceed the model's context of {}; ask for fewer tokens", checkpoint.path,
         counted(given, "token"), options.tokens, decoder.config.context);
  }
  GenerationOptions generation;
  generation.samples = generation.batch = 1;
  generation.tokens = given + options.tokens;
  generation.sampling = options.sampling;
  generation.greedy_from = generation.greedy_to = options.greedy ? options.tokens : 0;
  generation.first_tokens = {ids.back()};
  generation.prefix.assign(ids.begin(), ids.end() - 1);
  generation.end_tokens = end_of_text_ids(checkpoint);
  generation.seed = options.seed;
  const auto row = generate(decoder, generation, progress).squeeze(0);
  const auto* first = row.const_data_ptr<std::int64_t>();
  const std::vector<std::int64_t> written(first + given, first + row.numel());
  const auto end = std::ranges::find_first_of(written, generation.end_tokens);
  Continuation found = {.prompt = std::move(ids), .written = {written.begin(), end}, .text = {}, .pieces = {}};
  found.text = valid(tokenizer.decode_after(own, found.written, /*skip_special_tokens=*/true));
  found.pieces = pieces_of(tokenizer, own, found.written);
  return found;
}

std::vector<double> divergences(const Decoder& reference, const Decoder& decoder, const Continuation& continuation) {
  if (continuation.written.empty()) return {};
  const c10::NoGradGuard no_gradients;
  auto row = continuation.prompt;
  row.insert(row.end(), continuation.written.begin(), continuation.written.end());
  const auto ids = at::tensor(row, at::kLong).unsqueeze(0).to(decoder.device);
  const auto theirs = log_probabilities(reference, ids, continuation).to(at::kDouble);
  const auto ours = log_probabilities(decoder, ids, continuation).to(at::kDouble);
  const auto sums = theirs.exp().mul_(theirs.sub(ours)).sum(-1).cpu();
  const auto* first = sums.const_data_ptr<double>();
  return {first, first + sums.numel()};
}

}  // namespace normtweak::model
