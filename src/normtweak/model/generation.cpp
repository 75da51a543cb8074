#include "normtweak/model/generation.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Generator.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/div.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/searchsorted.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "normtweak/base/batch_size.h"
#include "normtweak/base/device/generator.h"
#include "normtweak/base/device/packed_weights.h"
#include "normtweak/base/error.h"
#include "normtweak/base/strings/wording.h"
#include "normtweak/model/activations.h"
#include "normtweak/model/finite_outputs.h"
#include "normtweak/model/forward_pass.h"
#include "normtweak/model/fused_linears.h"
#include "normtweak/model/head.h"

namespace normtweak::model {
namespace {

constexpr double kImpossible = -std::numeric_limits<double>::infinity();
// What the cache, and what a step needs besides, may take. On a GPU a share of the workspace.
constexpr double kShareGpu = 0.9;
// On a CPU, whose workspace is all that is free, it follows from the model, so that the text does not depend on what
// else runs there: a quarter of its weights, which every step reads, or this if that is more.
constexpr std::int64_t kLeastCpu = std::int64_t{4} << 30;

// Steps between two looks at whether logits are finite, each of which waits for the device: it then idles until the
// host has launched the next kernels.
constexpr std::int64_t kStepsUnseen = 64;

std::int64_t batch_bytes(const Decoder& decoder) {
  if (!decoder.device.is_cpu()) return static_cast<std::int64_t>(static_cast<double>(decoder.workspace) * kShareGpu);
  return std::min(std::max(kLeastCpu, blocks_bytes(decoder.config, decoder.type) / 4), decoder.workspace / 2);
}

at::Tensor ids_tensor(const std::vector<std::int64_t>& ids, c10::Device device) {
  return at::tensor(ids, at::kLong).to(device);
}

// The position of each row within its document, and its next token. All rows advance together, on the device.
class DocumentWriter {
 public:
  DocumentWriter(const GenerationOptions& options, std::int64_t rows, c10::Device device, at::Generator generator)
      : options_(options),
        generator_(std::move(generator)),
        first_tokens_(ids_tensor(options.first_tokens, device)),
        prefix_(ids_tensor(options.prefix, device)),
        end_tokens_(ids_tensor(options.end_tokens, device)),
        age_(at::zeros({rows}, at::TensorOptions(at::kLong).device(device))),
        greedy_(draw(options.greedy_from, options.greedy_to + 1)) {}

  // The first id of every row.
  at::Tensor begin() { return scripted(); }

  // logits: f32 [rows, vocabulary], for the previous ids → the next ids [rows].
  at::Tensor next(const at::Tensor& logits, const at::Tensor& previous) {
    const auto in_prefix = age_ < prefix_.numel();  // some models use the same token as BOS and EOS
    age_ = age_ + 1;
    if (!options_.end_tokens.empty()) {
      const auto ended = (previous.unsqueeze(1) == end_tokens_).any(1).logical_and(in_prefix.logical_not());
      age_ = at::where(ended, 0, age_);
      greedy_ = at::where(ended, draw(options_.greedy_from, options_.greedy_to + 1), greedy_);
    }
    const auto start = prefix_.numel() + 1;  // ids of a document that are not sampled
    const auto likeliest = logits.argmax(-1);
    const auto drawn = sample(logits, options_.sampling, generator_);
    const auto chosen = at::where(age_ < greedy_ + start, likeliest, drawn);
    return options_.end_tokens.empty() ? chosen : at::where(age_ < start, scripted(), chosen);
  }

  // The ids that each row would have here if it were in its prefix or at its first token, according to `age_`.
  at::Tensor scripted() {
    const auto any = first_tokens_.index_select(0, draw(0, first_tokens_.numel()));
    if (prefix_.numel() == 0) return any;
    const auto place = age_.clamp_max(prefix_.numel() - 1);
    return at::where(age_ < prefix_.numel(), prefix_.index_select(0, place), any);
  }

  void advance_script() { age_ = age_ + 1; }

 private:
  at::Tensor draw(std::int64_t low, std::int64_t high) {
    return at::randint(low, high, age_.sizes(), generator_, age_.options());
  }

  const GenerationOptions& options_;
  at::Generator generator_;
  at::Tensor first_tokens_, prefix_, end_tokens_;
  at::Tensor age_;     // ids since the start of the document
  at::Tensor greedy_;  // greedy ids after the first one
};

// Where in its row a number drawn for the row falls among the sums of probabilities so far: a place whose probability
// is 0 has no room. One number a row, since a CPU draws one after the other. [rows, 1]
at::Tensor draw_by_sums(const at::Tensor& probabilities, at::Generator generator) {
  const auto sums = probabilities.cumsum(-1, at::kDouble);  // in F32 the rarest of many ids would add nothing
  const auto last = probabilities.size(-1) - 1;
  const auto drawn = at::rand({sums.size(0), 1}, std::move(generator), sums.options()).mul_(sums.narrow(-1, last, 1));
  return at::searchsorted(sums, drawn, /*out_int32=*/false, /*right=*/true).clamp_max_(last);  // for NaN
}

// The exponential race of at::multinomial, which would first look at the probabilities and so wait for the device:
// among events with these rates, each is the first with its probability. Here the inverse times are compared. [rows, 1]
at::Tensor draw_by_race(const at::Tensor& probabilities, at::Generator generator) {
  auto times = at::empty_like(probabilities).exponential_(1, std::move(generator));
  at::div_out(times, probabilities, times);
  return times.argmax(-1, /*keepdim=*/true);
}

// The float weights by which every step multiplies all rows; none of a model whose packed copies would take more than
// half of what a cache may take. Packed products round otherwise, so this follows from the model as well.
std::vector<at::Tensor> weights_to_pack(const Decoder& decoder) {
  if (!decoder.device.is_cpu() || !decoder.blocks.all_on_device()) return {};
  std::vector<at::Tensor> found;
  std::int64_t bytes = 0;
  const auto add = [&](const Linear& linear) {
    const auto* floats = std::get_if<weights::FloatWeight>(&linear.weight);
    if (floats == nullptr || !can_be_packed(floats->values)) return;
    found.push_back(floats->values);
    bytes += static_cast<std::int64_t>(floats->values.nbytes());
  };
  add(decoder.head);
  for (int i = 0; i < decoder.blocks.size(); ++i) {
    for (const auto& part : decoder.blocks.get(i)->linears) {
      if (part.expert < 0) add(part.linear);  // an expert sees a part of the rows
    }
  }
  return bytes <= kLeastCpu / 2 ? found : std::vector<at::Tensor>();
}

std::vector<KeyValueCache> make_cache(const Decoder& decoder, std::int64_t rows, std::int64_t tokens) {
  const auto& config = decoder.config;
  const auto options = at::TensorOptions(decoder.type).device(decoder.device);
  const std::vector<std::int64_t> shape = {rows, config.key_value_heads, tokens, config.head_size};
  std::vector<KeyValueCache> cache;
  for (std::int64_t i = 0; i < config.layers; ++i)
    cache.push_back({at::empty(shape, options), at::empty(shape, options)});
  return cache;
}

// ids: i64 [rows, 1] at position `step` → f32 [rows, vocabulary]
at::Tensor decode_step(const Decoder& decoder, std::vector<KeyValueCache>& cache, const at::Tensor& ids,
                       std::int64_t step) {
  const PassOptions options = {.start = step, .cache = &cache};
  return logits(decoder, last_hidden_state(decoder, ids, options).squeeze(1));
}

// Some rotary scalings turn all positions otherwise once a row exceeds a length: then what was cached is computed
// again. columns: the ids so far, the last one not yet in the cache; the pass of `step` tokens in it has the rotary
// tables of the length to come.
void renew_cache(const Decoder& decoder, std::vector<KeyValueCache>& cache, const std::vector<at::Tensor>& columns,
                 std::int64_t step) {
  const auto& tables = decoder.tables->rotary;
  const bool alike = std::ranges::all_of(tables, [&](const auto& table) { return table.are_alike(step, step + 1); });
  if (!alike) through_blocks(decoder, at::stack(columns, 1), {.cache = &cache});
}

at::Tensor generate_batch(const Decoder& decoder, const GenerationOptions& options, std::int64_t rows,
                          std::uint64_t seed, Stage& stage) {
  DocumentWriter writer(options, rows, decoder.device, make_generator(decoder.device, seed));
  auto cache = make_cache(decoder, rows, options.tokens);
  const auto never = ids_tensor(options.never, decoder.device);
  std::vector<at::Tensor> columns = {writer.begin()};
  const auto script = static_cast<std::int64_t>(options.prefix.size()) + 1;
  auto logit_sum = at::zeros({}, at::TensorOptions(at::kFloat).device(decoder.device));  // not finite if any was not
  for (std::int64_t step = 0; step + 1 < options.tokens; ++step) {
    if (options.stops && options.stops()) return at::zeros({rows, options.tokens}, at::kLong);
    if (step > 0) renew_cache(decoder, cache, columns, step);
    auto next_logits = decode_step(decoder, cache, columns.back().unsqueeze(1), step);
    if (step + 1 < script) {
      writer.advance_script();
      columns.push_back(writer.scripted());
    } else {
      logit_sum.add_(next_logits.sum());
      const bool looks = step % kStepsUnseen == 0 || step + 2 == options.tokens;
      if (looks && !std::isfinite(logit_sum.item<float>())) fail_where_not_finite(decoder, at::stack(columns, 1));
      if (never.numel() > 0) next_logits.index_fill_(1, never, kImpossible);
      columns.push_back(writer.next(next_logits, columns.back()));
    }
    stage.advance(rows);
  }
  stage.advance(rows);
  return at::stack(columns, 1).cpu();
}

void check(const Decoder& decoder, const GenerationOptions& options) {
  if (options.samples < 1 || options.tokens < 1) fail("--samples and --tokens must be at least 1");
  if (options.tokens > decoder.config.context) {
    fail("--tokens {}: the model's context holds {}", options.tokens, counted(decoder.config.context, "token"));
  }
  if (options.first_tokens.empty()) fail("no token can start a text; choose another strategy or other languages");
  if (!(options.sampling.temperature > 0)) fail("--temperature {}: must be positive", options.sampling.temperature);
  if (!(options.sampling.top_p > 0 && options.sampling.top_p <= 1))
    fail("--top-p {}: must be in (0, 1]", options.sampling.top_p);
  if (options.sampling.top_k < 0) fail("--top-k {}: must be 0 (all) or more", options.sampling.top_k);
}

}  // namespace

at::Tensor sample(const at::Tensor& logits, const SamplingOptions& options, at::Generator generator) {
  auto candidates = logits / options.temperature;
  at::Tensor ids;  // ids of the candidates, if not the whole vocabulary
  if (options.top_k > 0 && options.top_k < logits.size(1)) {
    std::tie(candidates, ids) = candidates.topk(options.top_k);
  } else if (options.top_p < 1) {
    std::tie(candidates, ids) = candidates.sort(-1, /*descending=*/true);
  }
  auto probabilities = candidates.softmax(-1);
  if (options.top_p < 1) {
    // A token is kept if the sum before it has not yet reached top_p; the likeliest one always is.
    const auto before = probabilities.cumsum(-1) - probabilities;
    probabilities = at::where(before < options.top_p, probabilities, 0.0);
  }
  const auto draw = probabilities.is_cpu() ? &draw_by_sums : &draw_by_race;
  const auto drawn = draw(probabilities, std::move(generator));
  return (ids.defined() ? ids.gather(1, drawn) : drawn).squeeze(1);
}

std::int64_t rows_in_batch(const Decoder& decoder, const GenerationOptions& options, int processes) {
  if (options.batch > 0) return std::min(options.batch, options.samples);
  const auto row = writing_bytes(decoder.config, decoder.device, decoder.type, options.tokens);
  return even_batch_size(batch_bytes(decoder) / row, (options.samples + processes - 1) / processes);
}

at::Tensor generate(const Decoder& given, const GenerationOptions& options, ProgressSink& progress,
                    const Processes& processes) {
  const c10::NoGradGuard no_gradients;
  check(given, options);
  const auto decoder = given.device.is_cpu() ? given : with_fused_linears(given);
  // The smallest of all processes, since GPUs may have different memory free.
  const auto fitting = at::tensor({rows_in_batch(decoder, options, processes.size())}, at::kLong);
  const auto rows = processes.gather_rows(fitting).min().item<std::int64_t>();
  const PackedWeights packed(weights_to_pack(decoder), rows);
  const auto share = processes.share((options.samples + rows - 1) / rows);  // of the batches
  const auto first = share.begin * rows, last = std::min(options.samples, (share.begin + share.count) * rows);
  std::vector<at::Tensor> batches = {at::empty({0, options.tokens}, at::kLong)};  // this process may have no batch
  {
    Stage stage(progress, "generate", (last - first) * options.tokens, "tokens");
    for (auto begin = first; begin < last; begin += rows) {
      batches.push_back(generate_batch(decoder, options, std::min(rows, last - begin),
                                       options.seed + static_cast<std::uint64_t>(begin), stage));
    }
  }
  return processes.gather_rows(at::cat(batches));
}

}  // namespace normtweak::model
