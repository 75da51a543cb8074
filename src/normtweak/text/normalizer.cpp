#include "normtweak/text/normalizer.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <utility>

#include "normtweak/text/base64.h"
#include "normtweak/text/byte_level.h"
#include "normtweak/text/character_maps.h"
#include "normtweak/text/characters.h"
#include "normtweak/text/charsmap.h"
#include "normtweak/text/pattern.h"
#include "normtweak/text/utf8.h"

namespace normtweak::text {
namespace {

using Step = Normalizer::Step;
using Change = Normalizer::Change;

void check_growth(std::size_t size, std::size_t most) {
  if (size > most) fail("the normalizer makes more than {} bytes of a text; the tokenizer is damaged", most);
}

std::string in_unicode_form(std::string_view text, std::size_t most, int options) {
  utf8proc_uint8_t* mapped = nullptr;
  const auto length =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                   &mapped, static_cast<utf8proc_option_t>(options));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(mapped, &std::free);
  if (length < 0) fail("Unicode normalisation of {} bytes failed: {}", text.size(), utf8proc_errmsg(length));
  check_growth(static_cast<std::size_t>(length), most);
  return {reinterpret_cast<const char*>(mapped), static_cast<std::size_t>(length)};
}

constexpr int kDecomposed = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, kComposed = UTF8PROC_STABLE | UTF8PROC_COMPOSE;

// Most text is ASCII, which is already in every normal form.
template <int options>
Step unicode_form(const JsonPart& /*part*/) {
  return {.change = [](std::string_view text, std::size_t most,
                       bool& /*is_first*/) { return in_unicode_form(text, most, options); },
          .keeps_ascii = true};
}

// A map that needs no settings.
template <std::string (*map)(std::string_view, bool&)>
Step character_map(const JsonPart& /*part*/) {
  return {[](std::string_view text, std::size_t /*most*/, bool& is_first) { return map(text, is_first); }};
}

Step lowercase_step(const JsonPart& /*part*/) {
  return {[](std::string_view text, std::size_t /*most*/, bool& /*is_first*/) { return lowercase(text); }};
}

Step byte_level_step(const JsonPart& /*part*/) {
  return {[](std::string_view text, std::size_t /*most*/, bool& /*is_first*/) { return to_byte_level(text); }};
}

Step prepend(const JsonPart& part) {
  return {[what = part["prepend"].text()](std::string_view text, std::size_t most, bool& /*is_first*/) {
    check_growth(what.size() + text.size(), most);
    return fmt::format("{}{}", what, text);
  }};
}

Step replace(const JsonPart& part) {
  return {[pattern = read_pattern(part["pattern"]), by = part["content"].text()](std::string_view text,
                                                                                 std::size_t most, bool& is_first) {
    std::vector<Span> matches;
    pattern.find_all(text, matches);
    check_growth(matches.size() * by.size(), most);
    if (!matches.empty() && matches.front().begin == 0 && !matches.front().empty() && by.empty()) is_first = false;
    return replaced(text, matches, by);
  }};
}

Step strip(const JsonPart& part) {
  return {[left = part["strip_left"].flag(true), right = part["strip_right"].flag(true)](
              std::string_view text, std::size_t /*most*/, bool& is_first) {
    if (right) text.remove_suffix(trailing_white_space(text));
    const auto leading = left ? leading_white_space(text) : 0;
    if (leading > 0) is_first = false;
    return std::string(text.substr(leading));
  }};
}

Step precompiled(const JsonPart& part) {
  const auto spelled = part["precompiled_charsmap"];
  const auto blob = from_base64(spelled.text());
  if (!blob) spelled.fail("is not base64");
  try {
    return {[charsmap = Charsmap(*blob)](std::string_view text, std::size_t most, bool& /*is_first*/) {
      return charsmap.normalize(text, most);
    }};
  } catch (const Error& error) {
    spelled.fail("{}", error.what());
  }
}

Step bert(const JsonPart& part) {
  const bool cleans = part["clean_text"].flag(true), spaces = part["handle_chinese_chars"].flag(true);
  const bool lowers = part["lowercase"].flag(true), strips = part["strip_accents"].flag(lowers);
  return {[=](std::string_view given, std::size_t most, bool& is_first) {
    auto text = cleans ? bert_clean(given, is_first) : std::string(given);
    if (spaces) text = with_spaces_around_ideographs(text);
    if (strips) text = without_nonspacing_marks(in_unicode_form(text, most, kDecomposed), is_first);
    return lowers ? lowercase(text) : text;
  }};
}

struct Kind {
  std::string_view name;
  Step (*make)(const JsonPart& part);
};

constexpr std::array<Kind, 13> kKinds = {{{"NFC", unicode_form<kComposed>},
                                          {"NFD", unicode_form<kDecomposed>},
                                          {"NFKC", unicode_form<kComposed | UTF8PROC_COMPAT>},
                                          {"NFKD", unicode_form<kDecomposed | UTF8PROC_COMPAT>},
                                          {"Prepend", prepend},
                                          {"Replace", replace},
                                          {"Strip", strip},
                                          {"StripAccents", character_map<without_marks>},
                                          {"Lowercase", lowercase_step},
                                          {"Nmt", character_map<nmt>},
                                          {"Precompiled", precompiled},
                                          {"BertNormalizer", bert},
                                          {"ByteLevel", byte_level_step}}};

}  // namespace

Normalizer::Normalizer(const JsonPart& part) {
  if (!part.is_null()) add(part);
}

void Normalizer::add(const JsonPart& part) {
  const auto& type = part["type"].text();
  if (type == "Sequence") {
    for (const auto& member : part["normalizers"].elements()) add(member);
    return;
  }
  const auto* const kind = std::ranges::find(kKinds, type, &Kind::name);
  if (kind == kKinds.end()) {
    std::string names = "Sequence";
    for (const auto& row : kKinds) names += fmt::format(", {}", row.name);
    part.fail("the normalizer {} is not supported; these are: {}", type, names);
  }
  steps_.push_back(kind->make(part));
}

std::string_view Normalizer::normalize(std::string_view text, std::string& storage, bool& is_first,
                                       Growth& growth) const {
  const auto given = text.size(), most = growth.most(given);
  auto largest = given;
  for (const auto& step : steps_) {
    if (text.empty()) break;
    if (step.keeps_ascii && is_ascii(text)) continue;
    storage = step.change(text, most, is_first);
    text = storage;
    check_growth(text.size(), most);
    largest = std::max(largest, text.size());
  }
  growth.take(given, largest);
  return text;
}

}  // namespace normtweak::text
