#include "normtweak/text/tiktoken_classes.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <ranges>
#include <span>
#include <utility>

#include "normtweak/text/ranked_tokenizer.h"
#include "normtweak/text/tokenizer_parts.h"

namespace normtweak::text {

struct TiktokenClass {
  std::string_view name;
  std::string_view pattern;
  bool nfc = false;
  std::size_t gap = 0;                           // ids that are left out behind the vocabulary
  std::span<const std::string_view> names = {};  // of special tokens, in order; behind them
  std::string_view numbered = {};                // ... others, with their number from 0 in place of {}
  std::size_t numbered_count = 0;
  std::size_t reserved = 0;                       // ... and others that tokenizer_config.json may name
  std::span<const std::string_view> before = {};  // in front of each text
};

namespace {

constexpr std::string_view kDigitwise =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr std::string_view kKimi =
    R"([\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+)"
    R"([\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
    R"(\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr std::array<std::string_view, 3> kQwen = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};

constexpr std::array<std::string_view, 14> kGlm = {"<|endoftext|>",
                                                   "[MASK]",
                                                   "[gMASK]",
                                                   "[sMASK]",
                                                   "<sop>",
                                                   "<eop>",
                                                   "<|system|>",
                                                   "<|user|>",
                                                   "<|assistant|>",
                                                   "<|observation|>",
                                                   "<|begin_of_image|>",
                                                   "<|end_of_image|>",
                                                   "<|begin_of_video|>",
                                                   "<|end_of_video|>"};
constexpr std::array<std::string_view, 2> kGlmBefore = {"[gMASK]", "<sop>"};

constexpr std::array<std::string_view, 32> kArcade = {
    "<|endoftext|>",  "<|fim_prefix|>",   "<|fim_middle|>",  "<|fim_suffix|>",  "<|fim_pad|>",     "<gh_stars>",
    "<filename>",     "<issue_start>",    "<issue_comment>", "<issue_closed>",  "<jupyter_start>", "<jupyter_text>",
    "<jupyter_code>", "<jupyter_output>", "<empty_output>",  "<commit_before>", "<commit_msg>",    "<commit_after>",
    "<reponame>",     "<|endofprompt|>",  "<|im_start|>",    "<|im_end|>",      "<|pause|>",       "<|reg0|>",
    "<|reg1|>",       "<|reg2|>",         "<|reg3|>",        "<|reg4|>",        "<|reg5|>",        "<|reg6|>",
    "<|reg7|>",       "<|extra0|>"};

// Kimi's class also cuts a text every 400,000 characters, and within runs of 25,000 without white space; here it is
// whole. Sources: tokenization_qwen.py (Qwen-7B), tokenization_chatglm.py (glm-4-9b), tokenization_arcade100k.py
// (stablelm-2-1_6b), tokenization_kimi.py (Moonlight, Kimi-K2).
constexpr std::array<TiktokenClass, 4> kClasses = {
    {{.name = "QWenTokenizer",
      .pattern = kDigitwise,
      .nfc = true,
      .names = kQwen,
      .numbered = "<|extra_{}|>",
      .numbered_count = 205},
     {.name = "ChatGLM4Tokenizer", .pattern = kDefaultPattern, .names = kGlm, .before = kGlmBefore},
     {.name = "Arcade100kTokenizer", .pattern = kDigitwise, .nfc = true, .gap = 1, .names = kArcade},
     {.name = "TikTokenTokenizer", .pattern = kKimi, .reserved = 256}}};

Frame frame_of(const TiktokenClass& row, const std::vector<AddedToken>& special, std::size_t first) {
  Frame frame;
  for (const auto name : row.before) {
    const auto place = std::ranges::find(special, name, &AddedToken::content) - special.begin();
    frame.before.push_back({.token = std::string(name), .id = first + static_cast<std::size_t>(place)});
  }
  return frame;
}

}  // namespace

const TiktokenClass* find_tiktoken_class(std::string_view name) {
  const auto* const row = std::ranges::find(kClasses, name, &TiktokenClass::name);
  return row == kClasses.end() ? nullptr : row;
}

std::string tiktoken_class_names() {
  return fmt::format("{}", fmt::join(std::views::transform(kClasses, &TiktokenClass::name), ", "));
}

std::string reserved_token(std::int64_t id) { return fmt::format("<|reserved_token_{}|>", id); }

std::vector<AddedToken> special_tokens_of(const TiktokenClass& row, std::size_t first,
                                          const std::map<std::int64_t, std::string>& declared) {
  std::vector<AddedToken> tokens;
  const auto put = [&](std::string content) {
    tokens.push_back({.content = std::move(content), .special = true, .normalized = row.nfc});
  };
  const auto next = [&] { return static_cast<std::int64_t>(first + tokens.size()); };
  for (std::size_t i = 0; i < row.gap; ++i) put(reserved_token(next()));
  for (const auto name : row.names) put(std::string(name));
  for (std::size_t i = 0; i < row.numbered_count; ++i) put(fmt::format(fmt::runtime(row.numbered), i));
  for (std::size_t i = 0; i < row.reserved; ++i) {
    const auto found = declared.find(next());
    put(found == declared.end() ? reserved_token(next()) : found->second);
  }
  return tokens;
}

Json tiktoken_class_json(const TiktokenClass& row, const std::vector<std::string>& ranked,
                         const std::vector<AddedToken>& special, std::string_view origin) {
  auto document = ranked_tokenizer_json(ranked, {.pattern = row.pattern, .nfc = row.nfc, .behind = special}, origin);
  document["post_processor"] = template_of(frame_of(row, special, ranked.size()));
  return document;
}

}  // namespace normtweak::text
