// The added tokens that the files beside tokenizer.json ask for.
#pragma once
#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "normtweak/text/added_tokens.h"
#include "normtweak/text/json_part.h"

namespace normtweak::text {

// A special token without other flags.
AddedToken special_token(std::string content);

class TokenRoles {
 public:
  // Parts of files that are not there are null. `added`: what tokenizer.json adds.
  TokenRoles(const JsonPart& config, const JsonPart& special_tokens_map, const JsonPart& added_tokens,
             const std::vector<DeclaredToken>& added);

  // The token of a role that no file mentions.
  void set_default(std::string_view role, std::string_view token);

  // What is added, in order, to a tokenizer that has the tokens `present`.
  std::vector<AddedToken> to_add(const std::vector<AddedToken>& present) const;

  // A token with this role also matches the white space before it, unless a file gives it flags.
  void let_take_space(std::string_view role);

  // The content of the token with this role; empty if there is none.
  std::string content(std::string_view role) const;

  // Whether a file names special tokens without a role.
  bool has_extra() const { return (extra_ && !extra_->empty()) || (additional_ && !additional_->empty()); }

  // Those of them that extra_special_tokens lists, or in tokenizer_config.json additional_special_tokens.
  std::vector<std::string> extra() const;

  // The added tokens of the files beside tokenizer.json by the ids that these give.
  std::map<std::int64_t, std::string> added_by_id() const;

  // All tokens with a role and the special ones without: with_flags: with those that they have there.
  std::vector<AddedToken> special_tokens(bool with_flags) const;

  // The added tokens of the files beside tokenizer.json, without those that are in `own` with the same id. They may be
  // a million: this object no longer has them.
  std::vector<DeclaredToken> take_declared_beside(const std::vector<DeclaredToken>& own);

 private:
  // A token as a file gives it. Without flags it is a special one, unless another file gives some.
  struct Given {
    AddedToken token;
    bool has_flags = false;
    auto operator<=>(const Given&) const = default;
  };
  using MaybeGiven = std::optional<Given>;  // none: the file says that there is none

  // Roles in the order in which they first came.
  class Named {
   public:
    void put(std::string_view role, MaybeGiven token);
    bool contains(std::string_view role) const { return places_.contains(std::string(role)); }
    const auto& rows() const { return rows_; }
    auto& rows() { return rows_; }

   private:
    std::vector<std::pair<std::string, MaybeGiven>> rows_;
    std::unordered_map<std::string, std::size_t> places_;
  };

  static Given read_object(const JsonPart& part, bool is_special);
  static Given read_token(const JsonPart& part);
  static std::vector<Given> read_tokens(const JsonPart& list);
  void read_config(const JsonPart& config);
  void read_added_tokens_decoder(const JsonPart& part);
  void read_special_tokens_map(const JsonPart& map);
  void read_more_extra(const JsonPart& list);
  void read_added_tokens(const JsonPart& part);
  void order_added();
  void give_flags();
  std::vector<Given> special() const;  // in order

  Named roles_, more_roles_, own_roles_;          // transformers' own, and the model's: from objects, from strings
  std::optional<std::vector<Given>> extra_;       // extra_special_tokens
  std::optional<std::vector<Given>> additional_;  // their older name; not read where there are extra ones
  std::vector<DeclaredToken> added_;              // by the id in the file, which decides on the order alone
  std::vector<DeclaredToken> superseded_;         // had the id of a later one
};

}  // namespace normtweak::text
