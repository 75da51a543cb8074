// Calibration text: written by the model itself, drawn at random, or cut from a file.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/base/processes.h"
#include "normtweak/base/progress.h"
#include "normtweak/calibrate/token_batch.h"
#include "normtweak/model/checkpoint.h"
#include "normtweak/model/decoder.h"
#include "normtweak/model/generation.h"

namespace normtweak::calibrate {

struct TextOptions {
  std::string strategy = "language";            // a row of strategies()
  std::vector<std::string> languages = {"en"};  // `language`: the first token is a word of one of these
  std::int64_t samples = 256;                   // rows
  std::int64_t tokens = 512;                    // a row; 0: the model's context
  std::int64_t batch = 0;                       // rows decoded together; 0: as many as memory and an even share allow
  model::SamplingOptions sampling;
  std::uint64_t seed = 0;
};

struct Strategy {
  std::string_view name, description;
};
std::vector<Strategy> strategies();

// Text by `strategy`. The checkpoint's tokenizer tells special tokens, what begins a text, and languages. Without one
// that can be used, nothing begins a text, special are the tokens that the config names (and the tokenizer's file, as
// far as it can be read), and `language` is refused. The processes share the writing, and all get the text.
TokenBatch make_text(const model::Checkpoint& checkpoint, const model::Decoder& decoder, const TextOptions& options,
                     ProgressSink& progress, const Processes& processes = {});

// Rows of real text: `ids` cut into rows of `tokens`, `samples` of them drawn evenly over the text.
// Throws Error naming `origin` if the text is shorter than that.
TokenBatch cut_text(const std::vector<std::int64_t>& ids, std::int64_t samples, std::int64_t tokens,
                    std::string_view origin);

}  // namespace normtweak::calibrate
