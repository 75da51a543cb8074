#include "normtweak/text/regex_properties.h"

#include <algorithm>
#include <array>
#include <utility>

#include "normtweak/base/error.h"

namespace normtweak::text {

// Found by testing every character with Oniguruma.
const std::string_view kWordEscape = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{B2}\x{B3}\x{B9}\x{BC}-\x{BE})";
const std::string_view kWordBracket = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})";

namespace {

using Row = std::pair<std::string_view, std::string_view>;

// The names of both \p{...} and [:...:]; `punct` and `word` differ between the two.
constexpr std::array<Row, 12> kPosix = {{{"alnum", R"(\p{Alphabetic}\p{Nd})"},
                                         {"alpha", R"(\p{Alphabetic})"},
                                         {"ascii", R"(\x{0}-\x{7F})"},
                                         {"blank", R"(\p{Zs}\x{9})"},
                                         {"cntrl", R"(\p{Cc})"},
                                         {"digit", R"(\p{Nd})"},
                                         {"graph", R"(\p{L}\p{M}\p{N}\p{P}\p{S}\p{Cf}\p{Co})"},
                                         {"lower", R"(\p{Lowercase})"},
                                         {"print", R"(\p{L}\p{M}\p{N}\p{P}\p{S}\p{Cf}\p{Co}\p{Zs})"},
                                         {"space", R"(\p{White_Space})"},
                                         {"upper", R"(\p{Uppercase})"},
                                         {"xdigit", "0-9A-Fa-f"}}};

// General categories by their long names.
constexpr std::array<Row, 39> kCategories = {{{"other", "C"},
                                              {"control", "Cc"},
                                              {"format", "Cf"},
                                              {"unassigned", "Cn"},
                                              {"privateuse", "Co"},
                                              {"surrogate", "Cs"},
                                              {"letter", "L"},
                                              {"lowercaseletter", "Ll"},
                                              {"modifierletter", "Lm"},
                                              {"otherletter", "Lo"},
                                              {"titlecaseletter", "Lt"},
                                              {"uppercaseletter", "Lu"},
                                              {"mark", "M"},
                                              {"combiningmark", "M"},
                                              {"spacingmark", "Mc"},
                                              {"enclosingmark", "Me"},
                                              {"nonspacingmark", "Mn"},
                                              {"number", "N"},
                                              {"decimalnumber", "Nd"},
                                              {"letternumber", "Nl"},
                                              {"othernumber", "No"},
                                              {"punctuation", "P"},
                                              {"connectorpunctuation", "Pc"},
                                              {"dashpunctuation", "Pd"},
                                              {"closepunctuation", "Pe"},
                                              {"finalpunctuation", "Pf"},
                                              {"initialpunctuation", "Pi"},
                                              {"otherpunctuation", "Po"},
                                              {"openpunctuation", "Ps"},
                                              {"symbol", "S"},
                                              {"currencysymbol", "Sc"},
                                              {"modifiersymbol", "Sk"},
                                              {"mathsymbol", "Sm"},
                                              {"othersymbol", "So"},
                                              {"separator", "Z"},
                                              {"lineseparator", "Zl"},
                                              {"paragraphseparator", "Zp"},
                                              {"spaceseparator", "Zs"},
                                              {"any", "Any"}}};

constexpr std::array<std::string_view, 13> kBinary = {
    "alphabetic",    "lowercase",         "uppercase",      "whitespace",           "emoji",       "emojipresentation",
    "emojimodifier", "emojimodifierbase", "emojicomponent", "extendedpictographic", "ideographic", "math",
    "dash"};

template <std::size_t count>
std::optional<std::string> find(const std::array<Row, count>& rows, std::string_view name) {
  const auto* const row = std::ranges::find(rows, name, &Row::first);
  return row == rows.end() ? std::nullopt : std::optional<std::string>(row->second);
}

std::string simplified(std::string_view name) {
  std::string plain;
  for (const char c : name) {
    if (c == ' ' || c == '-' || c == '_') continue;
    plain.push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c);
  }
  return plain;
}

}  // namespace

std::string property_members(std::string_view name) {
  const auto plain = simplified(name);
  if (plain == "word") return std::string(kWordEscape);
  if (plain == "punct") return R"(\p{P})";
  if (plain == "assigned") return R"(\P{Cn})";
  if (plain == "lc" || plain == "casedletter") return R"(\p{Lu}\p{Ll}\p{Lt})";
  if (const auto members = find(kPosix, plain)) return *members;
  if (const auto category = find(kCategories, plain)) return fmt::format(R"(\p{{{}}})", *category);
  const auto is_short = [&](const Row& row) { return simplified(row.second) == plain; };
  if (const auto* const row = std::ranges::find_if(kCategories, is_short); row != kCategories.end()) {
    return fmt::format(R"(\p{{{}}})", row->second);
  }
  if (std::ranges::find(kBinary, plain) != kBinary.end()) return fmt::format(R"(\p{{{}}})", plain);
  const bool is_word = !plain.empty() && std::ranges::all_of(plain, [](char c) { return c >= 'a' && c <= 'z'; });
  if (!is_word) fail("the regex uses the character property {}, which cannot be translated for PCRE2", name);
  return fmt::format(R"(\p{{sc:{}}})", plain);
}

std::optional<std::string> posix_members(std::string_view name) {
  if (name == "word") return std::string(kWordBracket);
  if (name == "punct") return R"(\p{P}\p{S})";
  return find(kPosix, name);
}

}  // namespace normtweak::text
