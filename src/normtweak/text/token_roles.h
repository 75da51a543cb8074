// The added tokens that the files beside tokenizer.json ask for.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "normtweak/base/json.h"
#include "normtweak/text/json_part.h"

namespace normtweak::text {

// A special token without other flags, as an element of added_tokens.
Json special_token(const std::string& content);

// Tokens are objects as in tokenizer.json's added_tokens, or plain strings where a file gives no flags.
class TokenRoles {
 public:
  // Parts of files that are not there are null. `added`: tokenizer.json's added_tokens.
  TokenRoles(const JsonPart& config, const JsonPart& special_tokens_map, const JsonPart& added_tokens,
             const JsonPart& added);

  // The token of a role that no file mentions.
  void set_default(std::string_view role, std::string_view token);

  // What is added, in order, to a tokenizer whose added tokens have the contents `present`.
  std::vector<Json> to_add(const std::vector<std::string>& present) const;

  // Contents of all tokens with a role and of the special ones without.
  std::vector<std::string> contents() const;

 private:
  using Named = std::vector<std::pair<std::string, Json>>;  // role → token; null: the file says that there is none

  void read_config(const JsonPart& config);
  void read_added_tokens_decoder(const JsonPart& part);
  void read_special_tokens_map(const JsonPart& map);
  void read_added_tokens(const JsonPart& part);
  void read_added(const JsonPart& part);
  void give_flags();
  bool has_role_or_is_extra(const std::string& content) const;
  std::vector<Json> special() const;  // in order

  Named roles_, more_roles_, own_roles_;         // transformers' own, and the model's: from objects, from strings
  std::optional<std::vector<Json>> extra_;       // extra_special_tokens
  std::optional<std::vector<Json>> additional_;  // their older name; not read where there are extra ones
  std::map<std::int64_t, Json> added_;           // by the id in the file, which decides on the order alone
};

}  // namespace normtweak::text
