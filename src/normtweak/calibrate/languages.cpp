#include "normtweak/calibrate/languages.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <ranges>

#include "normtweak/base/error.h"
#include "normtweak/text/regex.h"
#include "normtweak/text/utf8.h"

namespace normtweak::calibrate {
namespace {

// The pattern matches tokens that are a whole word of the language. In languages with spaces, the token starts with a
// space and a capital letter, like the first word of a sentence. Many languages share the Latin script: English is
// recognised by words without accents, which dominate most vocabularies, and the others by their most common words.
struct Language {
  std::string_view code, pattern;
};
constexpr std::array<Language, 18> kLanguages = {{
    {"en", R"(^ [A-Z][a-z]*$)"},
    {"de", R"(^ (Der|Die|Das|Ein|Eine|Und|Wir|Sie|Ich|Es|Wenn|Nach|Mit|Für|Bei|Auch|Dies|Diese|Als|Auf|Aus|Von)$)"},
    {"es", R"(^ (El|La|Los|Las|Un|Una|Es|Este|Esta|Por|Para|Con|Como|Cuando|Pero|También|Según|Desde|Hay|Sin)$)"},
    {"fr", R"(^ (Le|La|Les|Un|Une|Des|Il|Elle|Nous|Vous|Dans|Pour|Avec|Cette|Ces|Mais|Après|Selon|Comme|Sur|Au)$)"},
    {"it", R"(^ (Il|Lo|La|Gli|Le|Un|Una|Per|Con|Nel|Nella|Questo|Questa|Dopo|Come|Quando|Anche|Secondo|Ma)$)"},
    {"nl", R"(^ (De|Het|Een|En|Van|Voor|Met|Dit|Deze|Als|Ook|Maar|Naar|Bij|Door|Niet|Wij|Zij|Er)$)"},
    {"pt", R"(^ (O|A|Os|As|Um|Uma|Para|Com|Em|Este|Esta|Mas|Como|Quando|Segundo|Depois|Ele|Ela|Não|Também)$)"},
    {"pl", R"(^ (W|Na|Nie|To|Jest|Po|Od|Do|Ten|Ta|Jak|Ale|Przez|Dla|Już|Oraz)$)"},
    {"ar", R"(^ ?\p{Arabic}+$)"},
    {"el", R"(^ \p{Greek}+$)"},
    {"he", R"(^ ?\p{Hebrew}+$)"},
    {"hi", R"(^ ?[\p{Devanagari}\p{M}]+$)"},
    {"ja", R"(^ ?[\p{Hiragana}\p{Katakana}]+$)"},
    {"ko", R"(^ ?\p{Hangul}+$)"},
    {"ru", R"(^ \p{Cyrillic}+$)"},
    {"th", R"(^ ?\p{Thai}+$)"},
    {"uk", R"(^ (?=.*[іїєґІЇЄҐ])\p{Cyrillic}+$)"},
    {"zh", R"(^ ?\p{Han}+$)"},
}};

const Language& find_language(std::string_view code) {
  const auto* found = std::ranges::find(kLanguages, code, &Language::code);
  if (found != kLanguages.end()) return *found;
  fail("language {}: not known; known are {}", code, fmt::join(language_codes(), ", "));
}

}  // namespace

std::vector<std::string_view> language_codes() {
  std::vector<std::string_view> codes;
  for (const auto& language : kLanguages) codes.push_back(language.code);
  return codes;
}

std::vector<std::string> parse_languages(const std::string& list) {
  std::vector<std::string> codes;
  for (const auto part : std::views::split(list, ',')) {
    codes.emplace_back(find_language({part.begin(), part.end()}).code);
  }
  return codes;
}

std::vector<std::int64_t> ordinary_tokens(const text::Tokenizer& tokenizer) {
  std::vector<std::int64_t> ids;
  std::string repaired;
  for (std::int64_t id = 0; id < tokenizer.size(); ++id) {
    const auto bytes = tokenizer.bytes_of(id);
    // A partial character would not round-trip.
    if (!bytes.empty() && !tokenizer.is_special(id) && text::valid_utf8(bytes, repaired) == bytes) ids.push_back(id);
  }
  return ids;
}

std::vector<std::int64_t> special_tokens(const text::Tokenizer& tokenizer) {
  std::vector<std::int64_t> ids;
  for (std::int64_t id = 0; id < tokenizer.size(); ++id) {
    if (tokenizer.is_special(id)) ids.push_back(id);
  }
  return ids;
}

std::vector<std::int64_t> tokens_of_languages(const text::Tokenizer& tokenizer, const std::vector<std::string>& codes) {
  std::vector<text::Regex> patterns;
  for (const auto& code : codes) patterns.emplace_back(find_language(code).pattern);
  std::vector<std::int64_t> ids;
  std::vector<text::Span> matches;
  for (const auto id : ordinary_tokens(tokenizer)) {
    const auto bytes = tokenizer.bytes_of(id);
    for (const auto& pattern : patterns) {
      pattern.find_all(bytes, matches);
      if (matches.empty()) continue;
      ids.push_back(id);
      break;
    }
  }
  return ids;
}

}  // namespace normtweak::calibrate
