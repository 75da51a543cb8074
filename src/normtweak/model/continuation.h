// What a model writes after a prompt, as text.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

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

// The text after `prompt`, up to the first token that ends a document, as valid UTF-8: a character of which a part is
// missing is U+FFFD. The prompt gets the special tokens that the
// tokenizer adds in front of a text. Throws Error if the checkpoint has no usable tokenizer, if the prompt has no token
// or if prompt and continuation exceed the model's context.
std::string continuation(const Checkpoint& checkpoint, const Decoder& decoder, std::string_view prompt,
                         const ContinuationOptions& options, ProgressSink& progress);

}  // namespace normtweak::model
