// Tokenizer classes that come as code of their own beside a vocabulary of tiktoken. transformers does not have them,
// and would take its default pattern where it opens the file at all.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/base/json/json.h"
#include "normtweak/text/added_tokens.h"

namespace normtweak::text {

struct TiktokenClass;

// A row of the table; null if there is none of that name.
const TiktokenClass* find_tiktoken_class(std::string_view name);

// Names of the rows, for messages.
std::string tiktoken_class_names();

// The special tokens of the class in order, the first with the id `first`. declared: tokens of tokenizer_config.json by
// id, which name those that the class reserves.
std::vector<AddedToken> special_tokens_of(const TiktokenClass& row, std::size_t first,
                                          const std::map<std::int64_t, std::string>& declared);

// A tokenizer.json as ranked_tokenizer.h makes it. special: what the function above returned, with ids from
// ranked.size() on.
Json tiktoken_class_json(const TiktokenClass& row, const std::vector<std::string>& ranked,
                         const std::vector<AddedToken>& special, std::string_view origin);

// Of an id that no file names, as transformers and Kimi's class call it.
std::string reserved_token(std::int64_t id);

}  // namespace normtweak::text
