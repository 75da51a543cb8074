#include "normtweak/calibrate/self_generated.h"

#include <ATen/ops/randint.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <numeric>
#include <optional>

#include "normtweak/base/device/generator.h"
#include "normtweak/base/error.h"
#include "normtweak/base/json/json.h"
#include "normtweak/base/strings/wording.h"
#include "normtweak/calibrate/languages.h"
#include "normtweak/model/token_ids.h"

namespace normtweak::calibrate {
namespace {

// What the strategies need to know about the vocabulary.
struct Vocabulary {
  std::int64_t size;  // rows of the embedding
  std::optional<text::Tokenizer> tokenizer;
  std::string tokenizer_problem;         // why it cannot be used, if the model has one
  std::vector<std::int64_t> end_tokens;  // each ends a text
  std::vector<std::int64_t> special;     // all known ids that represent no text
};

// Null if `text` is not JSON; that has been reported before.
Json json_in(const std::string& text) {
  try {
    return parse_json(text, "tokenizer.json");
  } catch (const Error&) {
    return {};
  }
}

// The special tokens named by a tokenizer.json, even one of an unsupported kind.
std::vector<std::int64_t> special_tokens_named_in(const std::string& tokenizer_file) {
  std::vector<std::int64_t> ids;
  const auto document = json_in(tokenizer_file);
  if (!document.is_object() || !document.contains("added_tokens")) return ids;
  for (const auto& token : document.at("added_tokens")) {
    if (!token.is_object() || !token.contains("id") || !token.at("id").is_number_integer()) continue;
    if (token.value("special", Json()) == Json(true)) ids.push_back(token.at("id").get<std::int64_t>());
  }
  return ids;
}

Vocabulary read_vocabulary(const model::Checkpoint& checkpoint) {
  Vocabulary vocabulary = {.size = checkpoint.numbers.vocabulary,
                           .tokenizer = std::nullopt,
                           .tokenizer_problem = checkpoint.tokenizer_problem,
                           .end_tokens = end_of_text_ids(checkpoint),
                           .special = {}};
  const bool has_tokenizer = checkpoint.tokenizer != nullptr || !checkpoint.tokenizer_refusal.empty();
  if (has_tokenizer) {
    try {
      vocabulary.tokenizer = load_tokenizer(checkpoint);
    } catch (const Error& error) {
      vocabulary.tokenizer_problem = error.what();
      const auto file = checkpoint.side_files.find("tokenizer.json");
      if (file != checkpoint.side_files.end()) vocabulary.special = special_tokens_named_in(file->second);
    }
  }
  if (vocabulary.tokenizer) {
    vocabulary.special = special_tokens(*vocabulary.tokenizer);
  } else {
    const auto markers = marker_ids(checkpoint);
    vocabulary.special.insert(vocabulary.special.end(), markers.begin(), markers.end());
  }
  std::erase_if(vocabulary.special, [&](std::int64_t id) { return id < 0 || id >= vocabulary.size; });
  return vocabulary;
}

bool contains(const std::vector<std::int64_t>& ids, std::int64_t id) { return std::ranges::find(ids, id) != ids.end(); }

std::vector<std::int64_t> all_tokens(const Vocabulary& vocabulary) {
  if (vocabulary.tokenizer) {
    auto ids = ordinary_tokens(*vocabulary.tokenizer);
    std::erase_if(ids, [&](std::int64_t id) { return id >= vocabulary.size; });
    return ids;
  }
  std::vector<std::int64_t> ids(static_cast<std::size_t>(vocabulary.size));
  std::iota(ids.begin(), ids.end(), 0);
  std::erase_if(ids, [&](std::int64_t id) { return contains(vocabulary.special, id); });
  return ids;
}

TokenBatch write_text(const Vocabulary& vocabulary, std::vector<std::int64_t> first_tokens,
                      const model::Decoder& decoder, const TextOptions& options, ProgressSink& progress,
                      const Processes& processes) {
  model::GenerationOptions generation;
  generation.samples = options.samples;
  generation.tokens = options.tokens;
  generation.batch = options.batch;
  generation.sampling = options.sampling;
  generation.seed = options.seed;
  generation.stops = options.stops;
  generation.first_tokens = std::move(first_tokens);
  generation.end_tokens = vocabulary.end_tokens;
  generation.never = vocabulary.special;
  std::erase_if(generation.never, [&](std::int64_t id) { return contains(generation.end_tokens, id); });
  if (vocabulary.tokenizer) {
    generation.prefix = vocabulary.tokenizer->prefix();
    // Ids that the embedding has but the tokenizer lacks.
    for (auto id = vocabulary.tokenizer->size(); id < vocabulary.size; ++id) generation.never.push_back(id);
  }
  return {.ids = generate(decoder, generation, progress, processes), .mask = {}, .provenance = {}};
}

// Tokens that are whole words of the languages; none without a tokenizer.
std::vector<std::int64_t> words_of_languages(const Vocabulary& vocabulary, const TextOptions& options) {
  if (!vocabulary.tokenizer) return {};
  auto words = tokens_of_languages(*vocabulary.tokenizer, options.languages);
  std::erase_if(words, [&](std::int64_t id) { return id >= vocabulary.size; });
  return words;
}

TokenBatch by_language(const Vocabulary& vocabulary, const model::Decoder& decoder, const TextOptions& options,
                       ProgressSink& progress, const Processes& processes) {
  if (!vocabulary.tokenizer) {
    fail("{}strategy language needs the tokenizer{}; use --strategy llm-qat",
         vocabulary.tokenizer_problem.empty() ? "" : vocabulary.tokenizer_problem + "; ",
         vocabulary.tokenizer_problem.empty() ? ", and the model has none" : "");
  }
  auto first_tokens = words_of_languages(vocabulary, options);
  if (first_tokens.empty()) {
    fail("--languages {}: the tokenizer has no whole word of these; add a language or use --strategy llm-qat",
         fmt::join(options.languages, ","));
  }
  return write_text(vocabulary, std::move(first_tokens), decoder, options, progress, processes);
}

TokenBatch by_any_token(const Vocabulary& vocabulary, const model::Decoder& decoder, const TextOptions& options,
                        ProgressSink& progress, const Processes& processes) {
  return write_text(vocabulary, all_tokens(vocabulary), decoder, options, progress, processes);
}

TokenBatch at_random(const Vocabulary& vocabulary, const model::Decoder&, const TextOptions& options, ProgressSink&,
                     const Processes&) {
  const auto ids = at::tensor(all_tokens(vocabulary), at::kLong);
  const auto draws = at::randint(0, ids.numel(), {options.samples, options.tokens},
                                 make_generator(at::kCPU, options.seed), ids.options());
  return {.ids = ids.index_select(0, draws.flatten()).view(draws.sizes()), .mask = {}, .provenance = {}};
}

// The default strategy. A model without words of the languages can still generate text.
std::string standard_strategy(const Vocabulary& vocabulary, const TextOptions& options, ProgressSink& progress) {
  if (!words_of_languages(vocabulary, options).empty()) return "language";
  if (vocabulary.tokenizer) {
    progress.note(fmt::format("the tokenizer has no whole word of {}; the text is made by strategy llm-qat",
                              fmt::join(options.languages, ",")));
  }
  return "llm-qat";
}

struct StrategyRow {
  Strategy strategy;
  TokenBatch (*make)(const Vocabulary&, const model::Decoder&, const TextOptions&, ProgressSink&, const Processes&);
};
constexpr std::array<StrategyRow, 3> kStrategies = {{
    {{"language", "the first token is a word of one of --languages, then as llm-qat"}, &by_language},
    {{"llm-qat", "any first token, 3 to 5 greedy tokens, then sampling (arXiv 2305.17888)"}, &by_any_token},
    {{"random-tokens", "ids drawn evenly from the vocabulary: a baseline, not text"}, &at_random},
}};

const StrategyRow& find_strategy(std::string_view name) {
  std::vector<std::string_view> known;
  for (const auto& row : kStrategies) {
    if (row.strategy.name == name) return row;
    known.push_back(row.strategy.name);
  }
  fail("--strategy {}: not known; known are {}", name, fmt::join(known, ", "));
}

// Of a text's provenance, which may come from a file.
template <class Number>
Number number_in(const std::map<std::string, std::string>& provenance, const std::string& key) {
  const auto found = provenance.find(key);
  const auto text = found == provenance.end() ? std::string() : found->second;
  Number number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size())
    fail("its metadata has no number '{}', only '{}'", key, text);
  return number;
}

}  // namespace

std::vector<Strategy> strategies() {
  std::vector<Strategy> all;
  all.reserve(kStrategies.size());
  for (const auto& row : kStrategies) all.push_back(row.strategy);
  return all;
}

std::int64_t tokens_in_row(const TextOptions& options, const model::ModelConfig& config) {
  constexpr std::int64_t kStandard = 512;
  return options.tokens > 0 ? options.tokens : std::min(kStandard, config.context);
}

bool runs_model(const TextOptions& options) { return options.strategy != "random-tokens"; }

void check_can_write(const model::Checkpoint& checkpoint, const TextOptions& options) {
  if (!runs_model(options)) return;  // not a text, and has no start
  const auto vocabulary = read_vocabulary(checkpoint);
  if (vocabulary.tokenizer) vocabulary.tokenizer->prefix();
}

TokenBatch make_text(const model::Checkpoint& checkpoint, const model::Decoder& decoder, const TextOptions& options,
                     ProgressSink& progress, const Processes& processes) {
  const auto vocabulary = read_vocabulary(checkpoint);
  auto wanted = options;
  wanted.tokens = tokens_in_row(options, decoder.config);
  if (wanted.strategy.empty()) wanted.strategy = standard_strategy(vocabulary, options, progress);
  const auto& row = find_strategy(wanted.strategy);
  if (!vocabulary.tokenizer_problem.empty() && wanted.strategy != "language") {
    progress.note(fmt::format("{}; the text is made without it, with no BOS in front", vocabulary.tokenizer_problem));
  }
  auto batch = row.make(vocabulary, decoder, wanted, progress, processes);
  batch.provenance = {{"strategy", wanted.strategy},
                      {"model", checkpoint.path},
                      {"seed", std::to_string(options.seed)},
                      {"temperature", fmt::format("{}", options.sampling.temperature)},
                      {"top_k", std::to_string(options.sampling.top_k)},
                      {"top_p", fmt::format("{}", options.sampling.top_p)}};
  if (wanted.strategy == "language")
    batch.provenance["languages"] = fmt::format("{}", fmt::join(options.languages, ","));
  return batch;
}

TextOptions options_to_go_on(const TokenBatch& batch, std::int64_t part) {
  constexpr std::uint64_t kApart = 0x9e3779b97f4a7c15;  // odd, so that no two parts have one seed
  const auto& made = batch.provenance;
  const auto strategy = made.find("strategy");
  const bool known = strategy != made.end() && std::ranges::any_of(kStrategies, [&](const auto& row) {
                       return row.strategy.name == strategy->second;
                     });
  if (!known) fail("its metadata names no strategy by which a model writes more");
  TextOptions options;
  options.strategy = strategy->second;
  options.samples = batch.samples();
  options.tokens = batch.tokens();
  if (const auto found = made.find("languages"); found != made.end())
    options.languages = parse_languages(found->second);
  options.sampling = {.temperature = number_in<double>(made, "temperature"),
                      .top_k = number_in<std::int64_t>(made, "top_k"),
                      .top_p = number_in<double>(made, "top_p")};
  options.seed = number_in<std::uint64_t>(made, "seed") + kApart * static_cast<std::uint64_t>(part);
  return options;
}

TokenBatch cut_text(const std::vector<std::int64_t>& ids, std::int64_t samples, std::int64_t tokens,
                    std::string_view origin) {
  const auto found = static_cast<std::int64_t>(ids.size());
  if (samples < 1 || tokens < 1) fail("--samples and --tokens must be at least 1");
  if (found < samples * tokens) {
    fail("{}: {}, and {} of {} need {}; give more text or ask for less", origin, counted(found, "token"),
         counted(samples, "row"), tokens, samples * tokens);
  }
  const auto all = at::tensor(ids, at::kLong);
  std::vector<at::Tensor> cut;
  for (std::int64_t row = 0; row < samples; ++row) cut.push_back(all.narrow(0, row * (found / samples), tokens));
  return {.ids = at::stack(cut),
          .mask = {},
          .provenance = {{"strategy", "text"}, {"file", std::filesystem::absolute(origin).string()}}};
}

}  // namespace normtweak::calibrate
