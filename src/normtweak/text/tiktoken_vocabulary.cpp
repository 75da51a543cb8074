#include "normtweak/text/tiktoken_vocabulary.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>

#include "normtweak/base/error.h"
#include "normtweak/text/base64.h"
#include "normtweak/text/token_index.h"

namespace normtweak::text {
namespace {

constexpr std::string_view kBlank = " \t\r";

// One line after the other, with their numbers from 1.
class Lines {
 public:
  explicit Lines(std::string_view content) : rest_(content) {}

  // Without white space at its ends. False if there is none left.
  bool next(std::string_view& line) {
    if (rest_.empty()) return false;
    ++number_;
    const auto end = std::min(rest_.find('\n'), rest_.size());
    line = rest_.substr(0, end);
    rest_.remove_prefix(std::min(end + 1, rest_.size()));
    line.remove_prefix(std::min(line.find_first_not_of(kBlank), line.size()));
    line = line.substr(0, line.find_last_not_of(kBlank) + 1);
    return true;
  }

  std::size_t number() const { return number_; }

 private:
  std::string_view rest_;
  std::size_t number_ = 0;
};

struct Row {
  std::string token;
  std::uint64_t rank = 0;
};

Row read_row(std::string_view line, std::size_t number, std::string_view origin) {
  const auto refuse = [&] {
    fail("{}: line {} is not a token in base64 and its rank: {}; is the file damaged?", origin, number,
         line.substr(0, 40));
  };
  const auto gap = line.find_first_of(kBlank);
  if (gap == std::string_view::npos) refuse();
  auto token = from_base64(line.substr(0, gap));
  const auto rank = line.substr(line.find_first_not_of(kBlank, gap));
  Row row;
  const auto [end, error] = std::from_chars(rank.data(), rank.data() + rank.size(), row.rank);
  if (!token || token->empty() || error != std::errc() || end != rank.data() + rank.size()) refuse();
  row.token = std::move(*token);
  return row;
}

}  // namespace

bool is_tiktoken(std::string_view content) { return !content.empty() && content[0] > ' ' && content[0] <= '~'; }

std::vector<std::string> read_tiktoken(std::string_view content, std::string_view origin) {
  std::vector<std::string> tokens;
  const auto count = static_cast<std::size_t>(std::ranges::count(content, '\n')) + 1;
  tokens.reserve(count);
  TokenIndex seen(count);
  const auto text_of = [&](std::int32_t id) -> std::string_view { return tokens[static_cast<std::size_t>(id)]; };
  Lines lines(content);
  for (std::string_view line; lines.next(line);) {
    if (line.empty()) continue;
    auto row = read_row(line, lines.number(), origin);
    if (row.rank != tokens.size()) {
      fail("{}: line {} has the rank {} where {} is due; is the file damaged?", origin, lines.number(), row.rank,
           tokens.size());
    }
    tokens.push_back(std::move(row.token));
    const auto before = seen.put(tokens.back(), static_cast<std::int32_t>(tokens.size() - 1), text_of);
    if (before)
      fail("{}: line {} has the token of rank {} again; is the file damaged?", origin, lines.number(), *before);
  }
  check_ranked_tokens(tokens, origin);
  return tokens;
}

void check_ranked_tokens(const std::vector<std::string>& tokens, std::string_view origin) {
  if (tokens.empty()) fail("{}: no tokens; is the file damaged?", origin);
  std::array<bool, 256> is_there = {};
  for (const auto& token : tokens) {
    if (token.size() == 1) is_there.at(static_cast<std::uint8_t>(token.front())) = true;
  }
  const auto* const missing = std::ranges::find(is_there, false);
  if (missing == is_there.end()) return;
  fail("{}: the byte 0x{:02X} is no token, so that not every text can be spelled; is the file damaged?", origin,
       missing - is_there.begin());
}

}  // namespace normtweak::text
