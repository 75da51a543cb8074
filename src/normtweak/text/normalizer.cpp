#include "normtweak/text/normalizer.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <utility>

#include "normtweak/text/pattern.h"
#include "normtweak/text/utf8.h"

namespace normtweak::text {
namespace {

constexpr std::array<std::pair<std::string_view, int>, 4> kUnicodeForms = {{
    {"NFC", UTF8PROC_STABLE | UTF8PROC_COMPOSE},
    {"NFD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE},
    {"NFKC", UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT},
    {"NFKD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT},
}};

// Unicode normalisation expands one byte to at most eleven.
constexpr std::size_t kMostGrowth = 16, kMostBeside = 1 << 20;

void check_growth(std::size_t size, std::size_t most) {
  if (size > most) fail("the normalizer makes more than {} bytes of a text; the tokenizer is damaged", most);
}

}  // namespace

Normalizer::Normalizer(const JsonPart& part) {
  if (!part.is_null()) add(part);
}

void Normalizer::add(const JsonPart& part) {
  const auto& type = part["type"].text();
  if (type == "Sequence") {
    for (const auto& member : part["normalizers"].elements()) add(member);
  } else if (type == "Prepend") {
    steps_.emplace_back(Prepend{part["prepend"].text()});
  } else if (type == "Replace") {
    steps_.emplace_back(Replace{read_pattern(part["pattern"]), part["content"].text()});
  } else if (!add_unicode_form(type)) {
    part.fail("the normalizer {} is not supported; Sequence, NFC, NFD, NFKC, NFKD, Prepend and Replace are", type);
  }
}

bool Normalizer::add_unicode_form(std::string_view type) {
  const auto* const form =
      std::find_if(kUnicodeForms.begin(), kUnicodeForms.end(), [&](const auto& row) { return row.first == type; });
  if (form == kUnicodeForms.end()) return false;
  steps_.emplace_back(UnicodeForm{form->second});
  return true;
}

std::string_view Normalizer::normalize(std::string_view text, std::string& storage) const {
  if (text.empty()) return text;
  const auto most = kMostGrowth * text.size() + kMostBeside;
  for (const auto& step : steps_) {
    // Most text is ASCII, which is already in every normal form.
    if (std::holds_alternative<UnicodeForm>(step) && is_ascii(text)) continue;
    storage = std::visit([&](const auto& change) { return apply(change, text, most); }, step);
    text = storage;
  }
  return text;
}

std::string Normalizer::apply(const UnicodeForm& form, std::string_view text, std::size_t most) {
  utf8proc_uint8_t* mapped = nullptr;
  const auto length =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                   &mapped, static_cast<utf8proc_option_t>(form.options));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(mapped, &std::free);
  if (length < 0) fail("Unicode normalisation of {} bytes failed: {}", text.size(), utf8proc_errmsg(length));
  check_growth(static_cast<std::size_t>(length), most);
  return {reinterpret_cast<const char*>(mapped), static_cast<std::size_t>(length)};
}

std::string Normalizer::apply(const Prepend& prepend, std::string_view text, std::size_t most) {
  check_growth(prepend.what.size() + text.size(), most);
  return fmt::format("{}{}", prepend.what, text);
}

std::string Normalizer::apply(const Replace& replace, std::string_view text, std::size_t most) {
  std::vector<Span> matches;
  replace.pattern.find_all(text, matches);
  check_growth(matches.size() * replace.by.size(), most);
  std::string result;
  std::size_t done = 0;
  for (const auto& match : matches) {
    result += text.substr(done, match.begin - done);
    result += replace.by;
    done = match.end;
  }
  result += text.substr(done);
  return result;
}

}  // namespace normtweak::text
