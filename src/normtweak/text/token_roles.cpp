#include "normtweak/text/token_roles.h"

#include <algorithm>
#include <charconv>
#include <set>
#include <unordered_set>

#include "normtweak/text/tokenizer_classes.h"

namespace normtweak::text {
namespace {

using Contents = std::unordered_set<std::string_view>;

bool is_role(std::string_view key) { return std::ranges::find(kRoles, key) != kRoles.end(); }

bool is_marked(const JsonPart& part) {
  return part.is_object() && !part["__type"].is_null() && part["__type"].text() == "AddedToken";
}

std::int64_t read_index(const JsonPart& decoder, const std::string& key) {
  std::int64_t index = -1;
  const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), index);
  if (error != std::errc() || end != key.data() + key.size()) decoder.fail("{} is not an id", key);
  return index;
}

}  // namespace

AddedToken special_token(std::string content) {
  return {.content = std::move(content), .special = true, .normalized = false};
}

void TokenRoles::Named::put(std::string_view role, MaybeGiven token) {
  const auto [row, is_new] = places_.try_emplace(std::string(role), rows_.size());
  if (is_new) {
    rows_.emplace_back(role, std::move(token));
  } else {
    rows_[row->second].second = std::move(token);
  }
}

TokenRoles::Given TokenRoles::read_object(const JsonPart& part, bool is_special) {
  const bool special = is_special || part["special"].flag(false);
  return {.token = {.content = part["content"].text(),
                    .special = special,
                    .single_word = part["single_word"].flag(false),
                    .lstrip = part["lstrip"].flag(false),
                    .rstrip = part["rstrip"].flag(false),
                    .normalized = part["normalized"].flag(!special)},
          .has_flags = true};
}

// A string, or an object that is marked as a token.
TokenRoles::Given TokenRoles::read_token(const JsonPart& part) {
  if (is_marked(part)) return read_object(part, false);
  return {.token = special_token(part.text())};
}

std::vector<TokenRoles::Given> TokenRoles::read_tokens(const JsonPart& list) {
  std::vector<Given> tokens;
  for (const auto element : list.elements()) tokens.push_back(read_token(element));
  return tokens;
}

TokenRoles::TokenRoles(const JsonPart& config, const JsonPart& special_tokens_map, const JsonPart& added_tokens,
                       const std::vector<DeclaredToken>& added) {
  if (!config.is_null()) read_config(config);
  if (!config["added_tokens_decoder"].is_null()) {
    read_added_tokens_decoder(config["added_tokens_decoder"]);
  } else {
    if (!special_tokens_map.is_null()) read_special_tokens_map(special_tokens_map);
    if (!added_tokens.is_null()) read_added_tokens(added_tokens);
    added_.insert(added_.end(), added.begin(), added.end());
  }
  order_added();
  give_flags();
}

void TokenRoles::read_config(const JsonPart& config) {
  const auto extra = config["extra_special_tokens"], additional = config["additional_special_tokens"];
  for (const auto& [key, part] : config.members()) {
    if (is_role(key)) {
      roles_.put(key, part.is_null() ? MaybeGiven() : read_token(part));
    } else if (key.ends_with("_token") && part.is_string()) {
      own_roles_.put(key, read_token(part));
    } else if (key.ends_with("_token") && is_marked(part)) {
      more_roles_.put(key, read_token(part));
    }
  }
  const auto& used = extra.is_empty() && !additional.is_null() ? additional : extra;
  if (used.is_object()) {
    for (const auto& [role, token] : used.members()) own_roles_.put(role, read_token(token));
    if (!extra.is_empty() && !additional.is_null()) additional_ = read_tokens(additional);
  } else if (!used.is_null()) {
    extra_ = read_tokens(used);
  }
  // transformers puts the model's own roles under this key, and so over what the file has there.
  if (const auto own = config["model_specific_special_tokens"]; !own.is_null() && own_roles_.rows().empty()) {
    for (const auto& [role, token] : own.members()) own_roles_.put(role, read_token(token));
  }
}

void TokenRoles::read_added_tokens_decoder(const JsonPart& part) {
  for (const auto& [key, token] : part.members()) {
    auto given = read_object(token, false);
    const auto id = read_index(part, key);
    added_.push_back({std::move(given.token), id});
  }
}

void TokenRoles::read_special_tokens_map(const JsonPart& map) {
  for (const auto& [key, part] : map.members()) {
    if (key == "extra_special_tokens" && part.is_object()) {
      extra_.reset();  // replaced
      for (const auto& [role, token] : part.members()) own_roles_.put(role, read_token(token));
    } else if (key == "extra_special_tokens") {
      read_more_extra(part);
    } else if (key == "additional_special_tokens") {
      additional_ = read_tokens(part);
    } else if (is_role(key) || key.ends_with("_token")) {
      const auto token = part.is_null()     ? MaybeGiven()
                         : part.is_object() ? read_object(part, true)
                                            : MaybeGiven({.token = special_token(part.text())});
      (is_role(key) ? roles_ : more_roles_).put(key, token);
    }
  }
}

void TokenRoles::read_more_extra(const JsonPart& list) {
  if (!extra_) extra_.emplace();
  std::set<Given> known(extra_->begin(), extra_->end());
  for (const auto element : list.elements()) {
    auto token = element.is_object() ? read_object(element, true) : Given{.token = special_token(element.text())};
    if (known.insert(token).second) extra_->push_back(std::move(token));
  }
}

// Those with a role, and the extra ones, are special.
void TokenRoles::read_added_tokens(const JsonPart& part) {
  Contents special;
  for (const auto& [role, given] : roles_.rows()) {
    if (given) special.insert(given->token.content);
  }
  if (extra_) {
    for (const auto& given : *extra_) special.insert(given.token.content);
  }
  for (const auto& [content, index] : part.members()) {
    const bool is_special = special.contains(content);
    AddedToken token = {.content = content, .special = is_special, .normalized = !is_special};
    added_.push_back({std::move(token), index.integer()});
  }
}

// By their ids; of those with one id, the last counts.
void TokenRoles::order_added() {
  std::ranges::stable_sort(added_, {}, &DeclaredToken::id);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < added_.size(); ++i) {
    const bool is_last = i + 1 == added_.size() || added_[i + 1].id != added_[i].id;
    if (!is_last) {
      superseded_.push_back(std::move(added_[i]));
      continue;
    }
    if (kept != i) added_[kept] = std::move(added_[i]);
    ++kept;
  }
  added_.resize(kept);
}

// A token that a file names by its role has the flags that another gives it.
void TokenRoles::give_flags() {
  for (auto& [role, given] : roles_.rows()) {
    if (!given) continue;
    for (const auto& added : added_) {
      if (added.token.content == given->token.content) given = Given{.token = added.token, .has_flags = true};
    }
  }
}

std::vector<DeclaredToken> TokenRoles::take_declared_beside(const std::vector<DeclaredToken>& own) {
  std::set<std::pair<std::int64_t, std::string_view>> known;
  for (const auto& [token, id] : own) known.emplace(id, token.content);
  auto others = std::exchange(added_, {});
  std::ranges::move(std::exchange(superseded_, {}), std::back_inserter(others));
  std::erase_if(others, [&](const DeclaredToken& declared) {
    return known.contains({declared.id, declared.token.content});
  });
  return others;
}

void TokenRoles::set_default(std::string_view role, std::string_view token) {
  if (!token.empty() && !roles_.contains(role)) roles_.put(role, Given{.token = special_token(std::string(token))});
}

std::vector<TokenRoles::Given> TokenRoles::special() const {
  Named all;
  for (const auto role : kRoles) all.put(role, std::nullopt);
  for (const auto* const part : {&roles_, &more_roles_, &own_roles_}) {
    for (const auto& [role, given] : part->rows()) all.put(role, given);
  }
  std::vector<Given> tokens;
  for (const auto& [role, given] : all.rows()) {
    if (given) tokens.push_back(*given);
  }
  const auto& extra = extra_ ? extra_ : additional_;
  if (extra) tokens.insert(tokens.end(), extra->begin(), extra->end());
  return tokens;
}

void TokenRoles::let_take_space(std::string_view role) {
  for (auto& [name, given] : roles_.rows()) {
    if (name != role || !given || given->has_flags) continue;
    given->token.lstrip = true;
    given->has_flags = true;
  }
}

std::string TokenRoles::content(std::string_view role) const {
  for (const auto& [name, given] : roles_.rows()) {
    if (name == role && given) return given->token.content;
  }
  return "";
}

std::vector<std::string> TokenRoles::extra() const {
  std::vector<std::string> contents;
  if (!extra_) return contents;
  for (const auto& given : *extra_) contents.push_back(given.token.content);
  return contents;
}

std::map<std::int64_t, std::string> TokenRoles::added_by_id() const {
  std::map<std::int64_t, std::string> tokens;
  for (const auto& [token, id] : added_) tokens.insert_or_assign(id, token.content);
  return tokens;
}

std::vector<AddedToken> TokenRoles::special_tokens(bool with_flags) const {
  std::vector<AddedToken> found;
  std::unordered_set<std::string> seen;
  for (const auto& given : special()) {
    if (!with_flags && !seen.insert(given.token.content).second) continue;
    found.push_back(with_flags ? given.token : special_token(given.token.content));
    found.back().special = true;
  }
  return found;
}

std::vector<AddedToken> TokenRoles::to_add(const std::vector<AddedToken>& present) const {
  Contents named;
  for (const auto* const part : {&roles_, &more_roles_, &own_roles_}) {
    for (const auto& [role, given] : part->rows()) {
      if (given) named.insert(given->token.content);
    }
  }
  std::unordered_map<std::string_view, const AddedToken*> there;
  for (const auto& token : present) there.insert_or_assign(token.content, &token);

  std::vector<AddedToken> tokens;
  tokens.reserve(added_.size());
  for (const auto& [token, id] : added_) {
    const auto row = there.find(token.content);
    const bool changes_nothing = row != there.end() && *row->second == token;
    if (!changes_nothing || (named.contains(token.content) && !token.special)) tokens.push_back(token);
  }
  const auto of_roles = special();  // few, where the added ones may be a million
  Contents missing;
  for (const auto& given : of_roles) missing.insert(given.token.content);
  for (const auto& token : present) missing.erase(token.content);
  for (const auto& added : added_) missing.erase(added.token.content);
  std::set<Given> taken;
  for (const auto& given : of_roles) {
    if (missing.contains(given.token.content) && taken.insert(given).second) tokens.push_back(given.token);
  }
  for (auto& token : tokens) token.special = token.special || named.contains(token.content);
  return tokens;
}

}  // namespace normtweak::text
