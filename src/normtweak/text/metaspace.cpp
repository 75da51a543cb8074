#include "normtweak/text/metaspace.h"

#include <algorithm>
#include <array>
#include <utility>

namespace normtweak::text {
namespace {

constexpr std::array<std::pair<std::string_view, PrependScheme>, 3> kSchemes = {
    {{"never", PrependScheme::never}, {"first", PrependScheme::first}, {"always", PrependScheme::always}}};

PrependScheme read_scheme(const JsonPart& part) {
  const auto name = part["prepend_scheme"];
  auto scheme = PrependScheme::always;
  if (!name.is_null()) {
    const auto* const row = std::ranges::find(kSchemes, name.text(), &decltype(kSchemes)::value_type::first);
    if (row == kSchemes.end()) name.fail("{} is not supported; never, first and always are", name.text());
    scheme = row->second;
  }
  // Files of old have no scheme; the `tokenizers` package refuses the same.
  const auto adds = part["add_prefix_space"];
  if (!adds.flag(true) && scheme != PrependScheme::never) {
    adds.fail("false needs a prepend_scheme of never; add it to the file");
  }
  return scheme;
}

}  // namespace

Metaspace::Metaspace(const JsonPart& part)
    : replacement(read_character(part["replacement"])), scheme(read_scheme(part)), split(part["split"].flag(true)) {}

std::string Metaspace::spell(std::string_view text, bool is_first) const {
  const auto begins_with = [&](std::string_view mark) { return text.starts_with(mark); };
  const bool may = scheme == PrependScheme::always || (scheme == PrependScheme::first && is_first);
  std::string spelled;
  spelled.reserve(text.size() + text.size() / 2);
  if (may && !text.empty() && !begins_with(" ") && !begins_with(replacement)) spelled = replacement;
  while (!text.empty()) {
    const auto space = std::min(text.find(' '), text.size());
    spelled += text.substr(0, space);
    if (space == text.size()) break;
    spelled += replacement;
    text.remove_prefix(space + 1);
  }
  return spelled;
}

void split_before(std::string_view text, std::string_view mark, std::vector<std::string_view>& parts) {
  while (!text.empty()) {
    const auto part = text.substr(0, text.find(mark, text.starts_with(mark) ? mark.size() : 0));
    parts.push_back(part);
    text.remove_prefix(part.size());
  }
}

}  // namespace normtweak::text
