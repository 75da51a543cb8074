#include "normtweak/evaluate/documents.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "normtweak/base/strings/utf8.h"
#include "normtweak/text/characters.h"
#include "normtweak/text/python_strings.h"

namespace normtweak::evaluate {
namespace {

using text::replaced, text::stripped;

// Headings of sections have more than one sign on either side.
bool is_title(std::string_view line) {
  const auto marked = replaced(replaced(line, "= = =", "==="), "= =", "==");
  const auto heading = stripped(marked);
  return heading.starts_with("= ") && heading.ends_with(" =");
}

// White space off the insides of each pair: from an opening sign to the next closing one.
std::string tightened(std::string_view text, char opening, char closing) {
  std::string result;
  for (;;) {
    const auto begin = text.find(opening);
    const auto end = begin == std::string_view::npos ? begin : text.find(closing, begin + 1);
    if (end == std::string_view::npos) return result += text;
    result += text.substr(0, begin + 1);
    result += stripped(text.substr(begin + 1, end - begin - 1));
    result += closing;
    text.remove_prefix(end + 1);
  }
}

// re.sub(r"/' [0-9]/", r"/'[0-9]/", text): the replacement is text, brackets and all.
std::string with_digits_replaced(std::string_view text) {
  constexpr std::string_view kBegin = "/' ";
  std::string result;
  while (true) {
    const auto at = text.find(kBegin);
    if (at == std::string_view::npos) return result += text;
    const auto rest = text.substr(at + kBegin.size());
    const bool matches = rest.size() >= 2 && rest[0] >= '0' && rest[0] <= '9' && rest[1] == '/';
    result += text.substr(0, at);
    result += matches ? "/'[0-9]/" : text.substr(at, 1);
    text.remove_prefix(at + (matches ? kBegin.size() + 2 : 1));
  }
}

using Rule = std::pair<std::string_view, std::string_view>;

constexpr Rule kSigns[] = {
    {" @-@ ", "-"}, {" @,@ ", ","}, {" @.@ ", "."},  // within numbers and words
    {" : ", ": "},  {" ; ", "; "},  {" . ", ". "},  {" ! ", "! "}, {" ? ", "? "}, {" , ", ", "},  // punctuation
};
constexpr std::pair<char, char> kPairs[] = {{'(', ')'}, {'[', ']'}, {'{', '}'}, {'"', '"'}, {'\'', '\''}};
constexpr Rule kLast[] = {
    {"= = = =", "===="}, {"= = =", "==="}, {"= =", "=="},  {" \u00b0 ", "\u00b0"},
    {" \n", "\n"},       {"\n ", "\n"},    {" N ", " 1 "}, {" 's", "'s"},
};

}  // namespace

std::vector<std::string> pages(std::string_view text) {
  std::vector<std::string> pages;
  std::optional<std::string> page;  // of the lines since the last title
  for (std::size_t begin = 0; begin <= text.size();) {
    const auto line = text.substr(begin, text.substr(begin).find('\n'));
    if (page && is_title(line)) {
      if (!text::is_blank(*page)) pages.push_back(std::move(*page));
      page.reset();
    }
    if (page) {
      *page += '\n';
      *page += line;
    } else {
      page = line;
    }
    begin += line.size() + 1;
  }
  pages.push_back(std::move(*page));
  return pages;
}

std::string detokenized(std::string_view page) {
  auto text = with_digits_replaced(replaced(page, "s '", "s'"));
  for (const auto& [from, to] : kSigns) text = replaced(text, from, to);
  for (const auto& [opening, closing] : kPairs) text = tightened(text, opening, closing);
  for (const auto& [from, to] : kLast) text = replaced(text, from, to);
  return text;
}

std::int64_t count_words(std::string_view page) {
  std::int64_t words = 1;
  while (!page.empty()) {
    const auto space = text::leading_white_space(page);
    if (space > 0) {
      ++words;
      page.remove_prefix(space);
    } else {
      page.remove_prefix(code_point_at(page, 0).length);
    }
  }
  return words;
}

std::vector<Continuation> rolling_windows(const std::vector<std::int64_t>& ids, std::int64_t begin,
                                          std::int64_t context) {
  std::vector<Continuation> windows;
  const auto all = std::ssize(ids);
  if (all == 0) return windows;
  const auto first = std::min(context, all);
  Continuation window = {.ids = {begin}, .predicted = first};
  window.ids.insert(window.ids.end(), ids.begin(), ids.begin() + first);
  windows.push_back(std::move(window));
  for (auto predicted = first; predicted < all;) {
    const auto count = std::min(all - predicted, context);
    predicted += count;
    windows.push_back({.ids = {ids.begin() + predicted - context - 1, ids.begin() + predicted}, .predicted = count});
  }
  return windows;
}

}  // namespace normtweak::evaluate
