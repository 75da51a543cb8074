#include "normtweak/text/tokenizer_classes.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "normtweak/base/error.h"
#include "normtweak/text/metaspace.h"
#include "normtweak/text/tokenizer_parts.h"

namespace normtweak::text {
namespace {

constexpr std::string_view kEnd = "<|endoftext|>";
constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr std::string_view kQwen35 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// Source: transformers 5.23, models/*/tokenization_*.py.
constexpr std::array<RebuildingClass, 11> kRebuilding = {
    {{.name = "GPT2Tokenizer", .tokens = {kEnd, kEnd, kEnd}},
     {.name = "CodeGenTokenizer", .tokens = {kEnd, kEnd, kEnd}},
     {.name = "GPTNeoXTokenizer",
      .tokens = {kEnd, kEnd, kEnd, "", "<|padding|>"},
      .nfc = true,
      .around = Around::nothing},
     {.name = "Qwen2Tokenizer",
      .tokens = {"", kEnd, kEnd, "", kEnd},
      .nfc = true,
      .regex = kQwen2,
      .flags = Flags::reset},
     {.name = "Qwen3_5Tokenizer", .tokens = {"", kEnd, kEnd, "", kEnd}, .nfc = true, .regex = kQwen35},
     {.name = "RobertaTokenizer",
      .tokens = {"<s>", "</s>", "<unk>", "</s>", "<pad>", "<s>", "<mask>"},
      .around = Around::cls_and_sep},
     {.name = "CohereTokenizer",
      .tokens = {"<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>", "<UNK>", "<SEP>", "<PAD>", "<CLS>", "<MASK_TOKEN>"},
      .nfc = true,
      .digits = true,
      .flags = Flags::of_role},
     {.name = "BlenderbotTokenizer",
      .tokens = {"<s>", "</s>", "<unk>", "</s>", "<pad>", "<s>", "<mask>"},
      .prefix_space = true,
      .mask_takes_space = true},
     {.name = "DebertaTokenizer",
      .tokens = {"[CLS]", "[SEP]", "[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"},
      .around = Around::cls_and_sep},
     {.name = "LlamaTokenizer", .form = Form::llama, .tokens = {"<s>", "</s>", "<unk>"}, .prefix_space = true},
     {.name = "GemmaTokenizer",
      .form = Form::gemma,
      .tokens = {"<bos>", "<eos>", "<unk>", "", "<pad>", "", "<mask>"}}}};

// The classes that transformers has for model types (TOKENIZER_MAPPING_NAMES), but for those that have none. Where
// files name another, that is taken if it is a specialized one, but the general class if the model type's is.
struct ModelClass {
  std::string_view model_type;
  std::string_view name;   // kGeneralClass for the general one
  bool is_always = false;  // whatever files say (MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS)
};

constexpr std::string_view kGeneralClass = "TokenizersBackend";

constexpr std::array<ModelClass, 36> kModelClasses = {{{"cohere", "CohereTokenizer"},
                                                       {"cohere2", "CohereTokenizer"},
                                                       {"gemma", "GemmaTokenizer"},
                                                       {"gemma2", "GemmaTokenizer"},
                                                       {"gemma3", "GemmaTokenizer"},
                                                       {"gemma3_text", "GemmaTokenizer"},
                                                       {"glm", kGeneralClass},
                                                       {"glm4", kGeneralClass},
                                                       {"gpt2", "GPT2Tokenizer"},
                                                       {"gpt_bigcode", kGeneralClass},
                                                       {"gpt_neo", "GPT2Tokenizer"},
                                                       {"gpt_neox", "GPTNeoXTokenizer"},
                                                       {"gptj", "GPT2Tokenizer"},
                                                       {"granite", kGeneralClass},
                                                       {"llava", kGeneralClass, true},
                                                       {"llava_next", kGeneralClass, true},
                                                       {"mistral", kGeneralClass},
                                                       {"mistral3", kGeneralClass},
                                                       {"mixtral", kGeneralClass},
                                                       {"mpt", "GPTNeoXTokenizer"},
                                                       {"olmo", "GPTNeoXTokenizer"},
                                                       {"olmo2", kGeneralClass},
                                                       {"olmoe", "GPTNeoXTokenizer"},
                                                       {"opt", "GPT2Tokenizer"},
                                                       {"phi", "GPT2Tokenizer"},
                                                       {"phi3", kGeneralClass, true},
                                                       {"qwen2", "Qwen2Tokenizer", true},
                                                       {"qwen2_5_vl", "Qwen2Tokenizer"},
                                                       {"qwen2_moe", "Qwen2Tokenizer"},
                                                       {"qwen2_vl", "Qwen2Tokenizer"},
                                                       {"qwen3", "Qwen2Tokenizer"},
                                                       {"qwen3_moe", "Qwen2Tokenizer"},
                                                       {"qwen3_vl", "Qwen2Tokenizer"},
                                                       {"smolvlm", kGeneralClass, true},
                                                       {"stablelm", kGeneralClass},
                                                       {"starcoder2", "GPT2Tokenizer"}}};

// Other names of one of them.
constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kAliases = {
    {{"BartTokenizer", "RobertaTokenizer"},
     {"LEDTokenizer", "RobertaTokenizer"},
     {"MvpTokenizer", "RobertaTokenizer"}}};

// Of other kinds of tokenizers, or with rules of their own; without "Tokenizer" at the end.
constexpr std::string_view kRefused =
    " Albert Barthez Bartpho BertGeneration BertJapanese Bert Bertweet BigBird BioGpt BlenderbotSmall ByT5 CLIP"
    " CTRL Camembert Canine Clvp CodeLlama ConvBert CpmAnt Cpm DPRContextEncoder DPRQuestionEncoder DPRReader"
    " DebertaV2 Dia DistilBert Esm Esmc FNet FSMT FastSpeech2Conformer Flaubert Funnel GPTNeoXJapanese GPTSw3"
    " Herbert Lasr LayoutLMv2 LayoutLMv3 LayoutXLM Luke Lxmert M2M100 MBart50 MBart MLuke MPNet Marian"
    " MarkupLM Mgpstr MobileBert MyT5 Nllb Nougat OpenAIGPT PLBart Pegasus Perceiver Phobert Pop2Piano ProphetNet"
    " Rag Reformer RemBert RoCBert RoFormer SeamlessM4T Siglip2 Siglip Speech2Text SpeechT5 Splinter SqueezeBert"
    " T5 Tapas Tipsv2 Udop VideoPrism Vits Wav2Vec2CTC Wav2Vec2PhonemeCTC Whisper XGLM XLMRoberta XLM XLNet ";

// Names of the general class.
constexpr std::array<std::string_view, 6> kGeneral = {
    "", kGeneralClass, "ParakeetTokenizer", "PreTrainedTokenizer", "BloomTokenizer", "PythonBackend"};

std::string_view without_fast(std::string_view name) {
  if (name.ends_with("Fast")) name.remove_suffix(4);
  return name;
}

const RebuildingClass* find(std::string_view name) {
  using Alias = std::pair<std::string_view, std::string_view>;
  const auto* const alias = std::ranges::find(kAliases, without_fast(name), &Alias::first);
  const auto plain = alias == kAliases.end() ? without_fast(name) : alias->second;
  const auto* const row = std::ranges::find(kRebuilding, plain, &RebuildingClass::name);
  return row == kRebuilding.end() ? nullptr : row;
}

bool is_refused(std::string_view name) {
  constexpr std::string_view kEnding = "Tokenizer";
  const auto plain = without_fast(name);
  if (!plain.ends_with(kEnding)) return false;
  const auto stem = plain.substr(0, plain.size() - kEnding.size());
  return kRefused.find(fmt::format(" {} ", stem)) != std::string_view::npos;
}

ChosenClass of_name(std::string_view name) {
  ChosenClass chosen = {.row = find(name), .is_refused = is_refused(name)};
  const bool is_general = std::ranges::find(kGeneral, without_fast(name)) != kGeneral.end();
  chosen.is_known = chosen.row != nullptr || chosen.is_refused || is_general;
  return chosen;
}

Json byte_level_pre_tokenizer(const RebuildingClass& row, bool add_prefix_space) {
  auto bytes = byte_level(add_prefix_space, row.regex.empty());
  if (row.regex.empty() && !row.digits) return bytes;
  Json first = {{"type", "Digits"}, {"individual_digits", true}};
  if (!row.digits) first = isolated_split(row.regex);
  return sequence("pretokenizers", {std::move(first), std::move(bytes)});
}

void rebuild_bytes(Json& document, const RebuildingClass& row, bool prefix_space) {
  document["normalizer"] = row.nfc ? Json{{"type", "NFC"}} : Json();
  document["pre_tokenizer"] = byte_level_pre_tokenizer(row, prefix_space);
  document["decoder"] = {{"type", "ByteLevel"}};
}

void rebuild_llama(Json& document, bool prefix_space, bool is_legacy) {
  document["normalizer"] = nullptr;
  document["pre_tokenizer"] = metaspace(!prefix_space ? "never" : is_legacy ? "always" : "first", false);
  document["decoder"] = fallback_decoder(prefix_space);
  document["model"].update(character_bpe("", true));
}

void rebuild_gemma(Json& document, std::string_view unknown) {
  document["normalizer"] = replace_string(" ", kMetaspace);
  document["pre_tokenizer"] = {
      {"type", "Split"}, {"pattern", {{"String", " "}}}, {"behavior", "MergedWithPrevious"}, {"invert", false}};
  document["decoder"] = fallback_decoder(false);
  document["model"].update(character_bpe(unknown, true));
}

}  // namespace

ChosenClass choose_class(const ClassFacts& facts) {
  const auto* const own = std::ranges::find(kModelClasses, facts.model_type, &ModelClass::model_type);
  const auto plain = without_fast(facts.name);
  const bool is_always = own != kModelClasses.end() && own->is_always;
  if (plain == "LlamaTokenizer" && facts.mentions_byte_level && !is_always) return {};
  if (own == kModelClasses.end() || own->name == plain) return of_name(facts.name);
  if (facts.name.empty() || own->name == kGeneralClass || is_always) return of_name(own->name);
  return of_name(facts.name);
}

void rebuild(Json& document, const RebuildingClass& row, const JsonPart& config, const std::string& unknown,
             std::string_view origin) {
  auto& model = document["model"];
  if (const auto type = model.value("type", Json("BPE")); type != "BPE") {
    fail("{}: model: type {}, but tokenizer_class {} is one of BPE", origin, show(type), row.name);
  }
  for (const auto* const key : {"unk_token", "dropout", "fuse_unk", "ignore_merges", "byte_fallback",
                                "continuing_subword_prefix", "end_of_word_suffix"}) {
    model.erase(key);
  }
  const bool prefix_space = config["add_prefix_space"].flag(row.prefix_space);
  switch (row.form) {
    case Form::bytes:
      rebuild_bytes(document, row, prefix_space);
      break;
    case Form::llama:
      rebuild_llama(document, prefix_space, config["legacy"].flag(false));
      break;
    case Form::gemma:
      rebuild_gemma(document, unknown);
      break;
  }
  if (row.around != Around::file) document["post_processor"] = nullptr;
}

}  // namespace normtweak::text
