#include "normtweak/text/gguf_pre_tokenizers.h"

#include <array>

namespace normtweak::text {
namespace {

using Regexes = std::array<std::string_view, 1>;

constexpr Regexes kDigit = {kEachDigit};
constexpr Regexes kLlama3 = {
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr Regexes kQwen2 = {
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr Regexes kQwen35 = {
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr Regexes kO200k = {
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr Regexes kTekken = {
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr Regexes kBailing = {
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)"};
constexpr Regexes kSeedCoder = {
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr Regexes kBloom = {R"( ?[^(\s|.,!?…。，、।۔،)]+)"};
constexpr std::array<std::string_view, 3> kDeepSeek3 = {
    R"(\p{N}{1,3})", "[一-龥぀-ゟ゠-ヿ]+",
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr std::array<std::string_view, 5> kDeepSeekCoder = {R"([\r\n])", R"(\s?\p{L}+)", R"(\s?\p{P}+)",
                                                            "[一-龥ࠀ-一가-퟿]+", R"(\p{N})"};

constexpr Regexes kPunctuation = {kPunctuationRuns};
constexpr std::array<std::string_view, 2> kThreeDigits = {kDigitRuns, "[0-9][0-9][0-9]"};
constexpr std::array<std::string_view, 2> kSuperBpe = {R"(\p{N}+)", R"((?=(\d{3})+(?!\d)))"};

// What llama.cpp applies where the file names none, or "default".
constexpr std::array<std::string_view, 4> kDefault = {
    R"([\p{P}\$\+<=>\^~\|]+)", R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)",
    R"(\p{N}+)", "[0-9][0-9][0-9]"};

// Sources: names and their groups from llama.cpp's src/llama-vocab.cpp; NFC and the spelling of the regexes from the
// tokenizer.json of the original models.
constexpr GgufPreTokenizer kTable[] = {
    {.name = "default", .regexes = kDefault},
    {.name = "gpt-2", .gpt2_regex = true},
    {.name = "phi-2", .gpt2_regex = true},
    {.name = "olmo", .gpt2_regex = true, .nfc = true},
    {.name = "mpt", .gpt2_regex = true, .nfc = true},
    {.name = "jais", .gpt2_regex = true},
    {.name = "exaone4", .gpt2_regex = true},
    {.name = "trillion", .gpt2_regex = true},
    {.name = "gigachat", .gpt2_regex = true},
    {.name = "mellum", .gpt2_regex = true},
    {.name = "a.x-4.0", .gpt2_regex = true},
    {.name = "granite-docling", .gpt2_regex = true},
    {.name = "smollm", .regexes = kDigit, .gpt2_regex = true},
    {.name = "starcoder", .regexes = kDigit, .gpt2_regex = true},
    {.name = "refact", .regexes = kDigit, .gpt2_regex = true},
    {.name = "command-r", .regexes = kDigit, .gpt2_regex = true, .nfc = true},
    {.name = "codeshell", .regexes = kDigit, .gpt2_regex = true},
    {.name = "exaone", .regexes = kDigit, .gpt2_regex = true},
    {.name = "minerva-7b", .regexes = kDigit, .gpt2_regex = true},
    {.name = "mellum2", .regexes = kDigit, .gpt2_regex = true},
    {.name = "falcon", .regexes = kPunctuation, .gpt2_regex = true, .byte_level_regexes = kThreeDigits},
    {.name = "superbpe", .regexes = kSuperBpe},
    {.name = "llama-bpe", .regexes = kLlama3, .ignore_merges = true, .add_bos = true},
    {.name = "llama3", .regexes = kLlama3, .ignore_merges = true, .add_bos = true},
    {.name = "llama-v3", .regexes = kLlama3, .ignore_merges = true, .add_bos = true},
    {.name = "falcon3", .regexes = kLlama3, .ignore_merges = true, .add_bos = true},
    {.name = "falcon-h1", .regexes = kLlama3, .ignore_merges = true, .add_bos = true},
    {.name = "pixtral", .regexes = kLlama3, .ignore_merges = true, .add_bos = true},
    {.name = "midm-2.0", .regexes = kLlama3, .ignore_merges = true, .add_bos = true},
    {.name = "lfm2", .regexes = kLlama3, .ignore_merges = true, .add_bos = true},
    {.name = "dbrx", .regexes = kLlama3},
    {.name = "smaug-bpe", .regexes = kLlama3},
    {.name = "glm4", .regexes = kLlama3},
    {.name = "chatglm-bpe", .regexes = kLlama3},
    {.name = "qwen2", .regexes = kQwen2, .nfc = true},
    {.name = "deepseek-r1-qwen", .regexes = kQwen2, .nfc = true},
    {.name = "kormo", .regexes = kQwen2},
    {.name = "f2llmv2", .regexes = kQwen2, .nfc = true},
    {.name = "megrez", .regexes = kQwen2, .nfc = true},
    {.name = "stablelm2", .regexes = kQwen2, .nfc = true},
    {.name = "hunyuan", .regexes = kQwen2},
    {.name = "solar-open", .regexes = kQwen2},
    {.name = "grok-2", .regexes = kQwen2},
    {.name = "qwen35", .regexes = kQwen35, .nfc = true},
    {.name = "gpt-4o", .regexes = kO200k},
    {.name = "llama4", .regexes = kO200k},
    {.name = "talkie", .regexes = kO200k},
    {.name = "kanana2", .regexes = kO200k},
    {.name = "minimax-m2", .regexes = kO200k},
    {.name = "tekken", .regexes = kTekken, .ignore_merges = true, .add_bos = true},
    {.name = "deepseek-v3", .regexes = kDeepSeek3},
    {.name = "hunyuan-dense", .regexes = kDeepSeek3},
    {.name = "joyai-llm", .regexes = kDeepSeek3},
    {.name = "deepseek-coder", .regexes = kDeepSeekCoder},
    {.name = "seed-coder", .regexes = kSeedCoder},
    {.name = "bailingmoe", .regexes = kBailing},
    {.name = "bailingmoe2", .regexes = kBailing},
    {.name = "llada-moe", .regexes = kBailing},
    {.name = "bloom", .regexes = kBloom},
    {.name = "gpt3-finnish", .regexes = kBloom},
    {.name = "poro-chat", .regexes = kBloom},
};

}  // namespace

const GgufPreTokenizer* find_gguf_pre_tokenizer(std::string_view name) {
  for (const auto& row : kTable) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

std::span<const GgufPreTokenizer> gguf_pre_tokenizers() { return kTable; }

std::string gguf_pre_tokenizer_names() {
  std::string names;
  for (const auto& row : kTable) {
    if (!names.empty()) names += ", ";
    names += row.name;
  }
  return names;
}

}  // namespace normtweak::text
