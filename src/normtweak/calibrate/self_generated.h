// Calibration text: written by the model itself, drawn at random, or cut from a file.
#pragma once
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/base/processes/processes.h"
#include "normtweak/base/progress.h"
#include "normtweak/calibrate/token_batch.h"
#include "normtweak/model/checkpoint.h"
#include "normtweak/model/decoder.h"
#include "normtweak/model/generation.h"

namespace normtweak::calibrate {

struct TextOptions {
  std::string strategy;                         // a row of strategies(); empty: `language`, or `llm-qat` if the
                                                // tokenizer has no word of the languages
  std::vector<std::string> languages = {"en"};  // `language`: the first token is a word of one of these
  std::int64_t samples = 256;                   // rows
  std::int64_t tokens = 0;                      // a row; 0: see tokens_in_row()
  std::int64_t batch = 0;                       // rows per batch; 0: as many as memory and an even share allow
  model::SamplingOptions sampling;
  std::uint64_t seed = 0;
  std::function<bool()> stops = {};  // asked while a model writes; once true, the rest is left out (generation.h)
};

struct Strategy {
  std::string_view name, description;
};
std::vector<Strategy> strategies();

// Whether the strategy needs the model's blocks: ids drawn at random do not.
bool runs_model(const TextOptions& options);

// The number in `options`; if that is 0, 512, or the model's context if that is shorter.
std::int64_t tokens_in_row(const TextOptions& options, const model::ModelConfig& config);

// Throws Error if the strategy starts a text with tokens of the tokenizer (BOS) that the model's embedding lacks.
void check_can_write(const model::Checkpoint& checkpoint, const TextOptions& options);

// Text by `strategy`. The checkpoint's tokenizer supplies special tokens, BOS and languages. Without a usable tokenizer
// there is no BOS, special tokens are those named by the config (and by the tokenizer's file, as far as it can be
// read), and `language` is refused. Processes share the generation, and all get the whole text.
TokenBatch make_text(const model::Checkpoint& checkpoint, const model::Decoder& decoder, const TextOptions& options,
                     ProgressSink& progress, const Processes& processes = {});

// Options that go on where make_text() with these options ended: as many rows of as many tokens, from another seed.
// part: 1, 2, … Throws Error if the batch's provenance does not tell how it was made, or if no model wrote it.
TextOptions options_to_go_on(const TokenBatch& batch, std::int64_t part);

// Real text: `samples` rows of `tokens` tokens, cut from `ids` at even intervals.
// Throws Error naming `origin` if the text is shorter than that.
TokenBatch cut_text(const std::vector<std::int64_t>& ids, std::int64_t samples, std::int64_t tokens,
                    std::string_view origin);

}  // namespace normtweak::calibrate
