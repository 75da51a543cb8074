// What a model writes after a prompt.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/base/progress.h"
#include "normtweak/model/checkpoint.h"
#include "normtweak/model/decoder.h"
#include "normtweak/model/generation.h"

namespace normtweak::model {

struct ContinuationOptions {
  std::int64_t tokens = 48;  // at most this many after the prompt
  bool greedy = true;        // the likeliest token at every step; otherwise drawn as `sampling` says
  SamplingOptions sampling;
  std::uint64_t seed = 0;
};

// Texts are valid UTF-8: a character of which a part is missing is U+FFFD.
struct Continuation {
  std::vector<std::int64_t> prompt;   // ids, with the special tokens that the tokenizer adds in front of a text
  std::vector<std::int64_t> written;  // ids, up to the first token that ends a document
  std::string text;                   // of what is written
  std::vector<std::string> pieces;    // what each token adds to it; a character counts for the token that completes it
};

// Throws Error if the checkpoint has no usable tokenizer, if the prompt has no token or if prompt and continuation
// exceed the model's context.
Continuation continuation(const Checkpoint& checkpoint, const Decoder& decoder, std::string_view prompt,
                          const ContinuationOptions& options, ProgressSink& progress);

// KL(reference || model) in nats before each token that is written, as in evaluate/scores.h. Both have one vocabulary.
// Throws Error if logits are not finite.
std::vector<double> divergences(const Decoder& reference, const Decoder& decoder, const Continuation& continuation);

}  // namespace normtweak::model
