// The other direction of gguf_tokenizer.cpp: the name for what a tokenizer.json spells out.
#include <algorithm>
#include <string>
#include <vector>

#include "normtweak/text/gguf_pre_tokenizers.h"

namespace normtweak::text {
namespace {

// How a tokenizer.json splits text, in the terms of the table.
struct Splitting {
  std::vector<std::string> regexes, byte_level_regexes;
  bool has_byte_level = false, gpt2_regex = false, nfc = false, ignore_merges = false;
};

template <class Visit>
void for_each_step(const JsonPart& part, std::string_view members, const Visit& visit) {
  if (part.is_null()) return;
  if (part["type"].text() != "Sequence") return visit(part);
  for (const auto& step : part[members].elements()) for_each_step(step, members, visit);
}

std::string regex_of(const JsonPart& step) {
  const auto& type = step["type"].text();
  if (type == "Digits") return std::string(step["individual_digits"].flag(false) ? kEachDigit : kDigitRuns);
  if (type == "Punctuation" && step["behavior"].text() == "Contiguous") return std::string(kPunctuationRuns);
  if (type != "Split" || !step["pattern"]["Regex"].is_string()) step.fail("GGUF has no name for such a step");
  if (step["invert"].flag(false) || step["behavior"].text() != "Isolated") {
    step.fail("GGUF has names for steps that isolate what matches, and not for this one");
  }
  return step["pattern"]["Regex"].text();
}

void read_byte_level(const JsonPart& step, Splitting& found) {
  if (found.has_byte_level) step.fail("is there twice");
  if (step["add_prefix_space"].flag(true)) step.fail("add_prefix_space: llama.cpp puts no space in front of texts");
  found.has_byte_level = true;
  found.gpt2_regex = step["use_regex"].flag(true);
}

Splitting splitting_of(const JsonPart& document) {
  Splitting found;
  for_each_step(document["normalizer"], "normalizers", [&](const JsonPart& step) {
    if (step["type"].text() != "NFC") step.fail("llama.cpp does not normalise texts for byte-level BPE");
    found.nfc = true;
  });
  for_each_step(document["pre_tokenizer"], "pretokenizers", [&](const JsonPart& step) {
    if (step["type"].text() == "ByteLevel") return read_byte_level(step, found);
    (found.has_byte_level ? found.byte_level_regexes : found.regexes).push_back(regex_of(step));
  });
  found.ignore_merges = document["model"]["ignore_merges"].flag(false);
  return found;
}

bool is_same(const GgufPreTokenizer& row, const Splitting& found) {
  return std::ranges::equal(row.regexes, found.regexes) && row.gpt2_regex == found.gpt2_regex &&
         std::ranges::equal(row.byte_level_regexes, found.byte_level_regexes) && row.nfc == found.nfc &&
         row.ignore_merges == found.ignore_merges;
}

}  // namespace

const GgufPreTokenizer& gguf_pre_tokenizer_of(const JsonPart& document) {
  const auto found = splitting_of(document);
  for (const auto& row : gguf_pre_tokenizers()) {
    if (is_same(row, found)) return row;
  }
  document["pre_tokenizer"].fail("llama.cpp has no name for this way to split text; known are {}{}",
                                 gguf_pre_tokenizer_names(),
                                 found.nfc || found.ignore_merges ? " (with their normalizer and ignore_merges)" : "");
}

}  // namespace normtweak::text
