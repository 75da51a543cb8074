// tokenizer.json, and texts on their way through what it makes: some that are hard on it, and the end of the input.
#include "normtweak/text/tokenizer.h"

#include <algorithm>

#include "contract.h"

namespace normtweak::fuzz {
namespace {

// Scripts, white space, tokens of the seeds, text that is no UTF-8.
constexpr std::string_view kText =
    "abc  abc's 1234 <a><b> <mask> the\tfoo\r\n\n\n x [e\xcc\x81] \xe6\x97\xa5\xe6\x9c\xac "
    "\xf0\x9f\x98\x80\xff\xe2\x80 "
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!";

void check_ids(const text::Tokenizer& tokenizer, std::string_view text) {
  const auto ids = tokenizer.encode(text, true);
  const auto is_id = [&](std::int64_t id) { return id >= 0 && id < tokenizer.size(); };
  require(std::ranges::all_of(ids, is_id), "ids are in [0, size())");
  tokenizer.decode(ids, false);
  tokenizer.decode(ids, true);
}

void read(std::string_view bytes) {
  const text::Tokenizer tokenizer(parse_json(bytes, "memory"), "memory");
  check_ids(tokenizer, kText);
  check_ids(tokenizer, bytes.substr(bytes.size() - std::min<std::size_t>(bytes.size(), 200)));
  for (const auto id : {std::int64_t{-1}, std::int64_t{0}, tokenizer.size()}) tokenizer.bytes_of(id);
}

}  // namespace
}  // namespace normtweak::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return normtweak::fuzz::check(data, size, &normtweak::fuzz::read);
}
