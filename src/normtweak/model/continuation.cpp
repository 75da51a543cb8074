#include "normtweak/model/continuation.h"

#include <algorithm>

#include "normtweak/base/error.h"
#include "normtweak/base/strings/wording.h"
#include "normtweak/model/token_ids.h"
#include "normtweak/text/tokenizer.h"
#include "normtweak/text/utf8.h"

namespace normtweak::model {

std::string continuation(const Checkpoint& checkpoint, const Decoder& decoder, std::string_view prompt,
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
  const auto bytes = tokenizer.decode_after(own, {written.begin(), end}, /*skip_special_tokens=*/true);
  std::string storage;
  return std::string(text::valid_utf8(bytes, storage));
}

}  // namespace normtweak::model
