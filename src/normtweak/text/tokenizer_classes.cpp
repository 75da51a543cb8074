#include "normtweak/text/tokenizer_classes.h"

#include <algorithm>

namespace normtweak::text {
namespace {

constexpr std::string_view kEnd = "<|endoftext|>";
constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// Source: transformers 5.23, models/*/tokenization_*.py.
constexpr std::array<RebuildingClass, 3> kRebuilding = {{{.name = "GPT2Tokenizer", .tokens = {kEnd, kEnd, kEnd}},
                                                         {.name = "GPTNeoXTokenizer",
                                                          .tokens = {kEnd, kEnd, kEnd, "", "<|padding|>"},
                                                          .nfc = true,
                                                          .keeps_post_processor = false},
                                                         {.name = "Qwen2Tokenizer",
                                                          .tokens = {"", kEnd, kEnd, "", kEnd},
                                                          .nfc = true,
                                                          .regex = kQwen2,
                                                          .resets_flags = true}}};

// LlamaTokenizer is the general class where tokenizer.json is byte-level.
constexpr std::array<std::string_view, 6> kGeneral = {
    "", "TokenizersBackend", "PreTrainedTokenizer", "LlamaTokenizer", "BloomTokenizer", "PythonBackend"};

std::string_view without_fast(std::string_view name) {
  if (name.ends_with("Fast")) name.remove_suffix(4);
  return name;
}

const RebuildingClass* find(std::string_view name) {
  const auto* const row = std::ranges::find(kRebuilding, without_fast(name), &RebuildingClass::name);
  return row == kRebuilding.end() ? nullptr : row;
}

}  // namespace

const RebuildingClass* find_rebuilding_class(std::string_view name, std::string_view model_type) {
  if (!name.empty()) return find(name);
  return model_type == "gpt2" ? find("GPT2Tokenizer") : nullptr;  // Llama's is the general one
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
  if (row.regex.empty()) return byte_level;
  Json split = {{"type", "Split"}, {"pattern", {{"Regex", row.regex}}}, {"behavior", "Isolated"}, {"invert", false}};
  return {{"type", "Sequence"}, {"pretokenizers", Json::array({std::move(split), std::move(byte_level)})}};
}

}  // namespace normtweak::text
