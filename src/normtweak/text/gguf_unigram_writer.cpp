#include "normtweak/text/gguf_unigram_writer.h"

#include <optional>
#include <string>
#include <string_view>

#include "normtweak/text/base64.h"
#include "normtweak/text/metaspace.h"

namespace normtweak::text {
namespace {

bool is_step(const JsonPart& part, std::string_view type) { return part.is_object() && part["type"].text() == type; }

// The steps of a sequence, or the one step that there is.
std::vector<JsonPart> steps_of(const JsonPart& part, std::string_view list) {
  if (part.is_null()) return {};
  if (!is_step(part, "Sequence")) return {part};
  std::vector<JsonPart> steps;
  for (const auto& step : part[list].elements()) steps.push_back(step);
  return steps;
}

// Marks for spaces, one of them in front.
bool marks_spaces(const JsonPart& part) {
  if (!is_step(part, "Metaspace")) return false;
  const auto mark = part["replacement"], scheme = part["prepend_scheme"];
  return (mark.is_null() || mark.text() == kMetaspace) && (scheme.is_null() || scheme.text() == "always") &&
         part["add_prefix_space"].flag(true) && part["split"].flag(true);
}

bool strips_the_end(const JsonPart& part) { return is_step(part, "Strip") && part["strip_right"].flag(true); }

bool joins_spaces(const JsonPart& part) {
  if (!is_step(part, "Replace") || !part["pattern"].is_object()) return false;
  const auto expression = part["pattern"]["Regex"];
  const auto& content = part["content"].text();
  return expression.is_string() && expression.text() == " {2,}" && (content == " " || content == kMetaspace);
}

std::vector<std::uint8_t> charsmap_of(const JsonPart& precompiled) {
  const auto part = precompiled["precompiled_charsmap"];
  if (part.is_null()) return {};
  const auto bytes = from_base64(part.text());
  if (!bytes) part.fail("is no base64");
  return {bytes->begin(), bytes->end()};
}

}  // namespace

std::vector<std::uint8_t> unigram_charsmap(const JsonPart& document) {
  const auto model = document["model"];
  if (model["byte_fallback"].flag(false)) model["byte_fallback"].fail("llama.cpp's Unigram has no tokens for bytes");
  if (model["unk_id"].is_null()) model.fail("has no unk_id, and llama.cpp's Unigram needs an unknown token");
  auto normalizers = steps_of(document["normalizer"], "normalizers");
  std::vector<std::uint8_t> charsmap;
  if (!normalizers.empty() && is_step(normalizers.front(), "Precompiled")) {
    charsmap = charsmap_of(normalizers.front());
    normalizers.erase(normalizers.begin());
  }
  const auto splits = steps_of(document["pre_tokenizer"], "pretokenizers");
  const bool by_splits =
      normalizers.empty() && splits.size() == 2 && is_step(splits[0], "WhitespaceSplit") && marks_spaces(splits[1]);
  const bool by_normalizers = normalizers.size() == 2 && strips_the_end(normalizers[0]) &&
                              joins_spaces(normalizers[1]) && splits.size() == 1 && marks_spaces(splits[0]);
  if (by_splits || by_normalizers) return charsmap;
  if (!normalizers.empty()) document["normalizer"].fail("llama.cpp's Unigram has a charsmap and joins spaces, no more");
  document["pre_tokenizer"].fail("llama.cpp's Unigram splits texts at spaces, with one in front, and joins them");
}

}  // namespace normtweak::text
