#include "normtweak/text/tokenizer_classes.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace normtweak::text {
namespace {

constexpr std::string_view kEnd = "<|endoftext|>";
constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr std::string_view kQwen35 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// Source: transformers 5.23, models/*/tokenization_*.py.
constexpr std::array<RebuildingClass, 9> kRebuilding = {
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
      .around = Around::cls_and_sep}}};

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
    " Gemma Herbert Lasr LayoutLMv2 LayoutLMv3 LayoutXLM Luke Lxmert M2M100 MBart50 MBart MLuke MPNet Marian"
    " MarkupLM Mgpstr MobileBert MyT5 Nllb Nougat OpenAIGPT PLBart Pegasus Perceiver Phobert Pop2Piano ProphetNet"
    " Rag Reformer RemBert RoCBert RoFormer SeamlessM4T Siglip2 Siglip Speech2Text SpeechT5 Splinter SqueezeBert"
    " T5 Tapas Tipsv2 Udop VideoPrism Vits Wav2Vec2CTC Wav2Vec2PhonemeCTC Whisper XGLM XLMRoberta XLM XLNet ";

// LlamaTokenizer is the general class where tokenizer.json is byte-level.
constexpr std::array<std::string_view, 7> kGeneral = {"",
                                                      "TokenizersBackend",
                                                      "ParakeetTokenizer",
                                                      "PreTrainedTokenizer",
                                                      "LlamaTokenizer",
                                                      "BloomTokenizer",
                                                      "PythonBackend"};

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

}  // namespace

const RebuildingClass* find_rebuilding_class(std::string_view name, std::string_view model_type) {
  if (!name.empty()) return find(name);
  return model_type == "gpt2" ? find("GPT2Tokenizer") : nullptr;  // Llama's is the general one
}

bool is_refused_class(std::string_view name) {
  constexpr std::string_view kEnding = "Tokenizer";
  const auto plain = without_fast(name);
  if (!plain.ends_with(kEnding)) return false;
  const auto stem = plain.substr(0, plain.size() - kEnding.size());
  return kRefused.find(fmt::format(" {} ", stem)) != std::string_view::npos;
}

bool is_known_class(std::string_view name) {
  return find(name) != nullptr || std::ranges::find(kGeneral, without_fast(name)) != kGeneral.end();
}

Json rebuilt_normalizer(const RebuildingClass& row) { return row.nfc ? Json{{"type", "NFC"}} : Json(); }

Json rebuilt_pre_tokenizer(const RebuildingClass& row, bool add_prefix_space) {
  Json byte_level = {{"type", "ByteLevel"},
                     {"add_prefix_space", add_prefix_space},
                     {"trim_offsets", true},
                     {"use_regex", row.regex.empty()}};
  if (row.regex.empty() && !row.digits) return byte_level;
  Json first = {{"type", "Digits"}, {"individual_digits", true}};
  if (!row.digits) {
    first = {{"type", "Split"}, {"pattern", {{"Regex", row.regex}}}, {"behavior", "Isolated"}, {"invert", false}};
  }
  return {{"type", "Sequence"}, {"pretokenizers", Json::array({std::move(first), std::move(byte_level)})}};
}

}  // namespace normtweak::text
