#include "normtweak/text/token_roles.h"

#include <algorithm>
#include <charconv>
#include <unordered_set>

#include "normtweak/text/tokenizer_classes.h"

namespace normtweak::text {
namespace {

bool is_role(std::string_view key) { return std::ranges::find(kRoles, key) != kRoles.end(); }

const std::string& content_of(const Json& token) {
  return token.is_string() ? token.get_ref<const std::string&>() : token.at("content").get_ref<const std::string&>();
}

bool is_marked(const JsonPart& part) {
  return part.is_object() && !part["__type"].is_null() && part["__type"].text() == "AddedToken";
}

// With every flag, so that equal tokens are equal objects.
Json token_object(const std::string& content, bool special) {
  return {{"content", content}, {"single_word", false},   {"lstrip", false},
          {"rstrip", false},    {"normalized", !special}, {"special", special}};
}

Json read_object(const JsonPart& part, bool is_special) {
  const bool special = is_special || part["special"].flag(false);
  auto token = token_object(part["content"].text(), special);
  for (const auto* const flag : {"single_word", "lstrip", "rstrip"}) token[flag] = part[flag].flag(false);
  token["normalized"] = part["normalized"].flag(!special);
  return token;
}

// A string, or an object that is marked as a token.
Json read_token(const JsonPart& part) {
  if (is_marked(part)) return read_object(part, false);
  return part.text();
}

std::vector<Json> read_tokens(const JsonPart& list) {
  std::vector<Json> tokens;
  for (const auto& element : list.elements()) tokens.push_back(read_token(element));
  return tokens;
}

template <class Named>
void put(Named& named, std::string_view role, Json token) {
  const auto row = std::ranges::find(named, role, [](const auto& entry) { return std::string_view(entry.first); });
  if (row != named.end()) {
    row->second = std::move(token);
  } else {
    named.emplace_back(role, std::move(token));
  }
}

std::int64_t read_index(const JsonPart& decoder, const std::string& key) {
  std::int64_t index = -1;
  const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), index);
  if (error != std::errc() || end != key.data() + key.size()) decoder.fail("{} is not an id", key);
  return index;
}

}  // namespace

Json special_token(const std::string& content) { return token_object(content, true); }

TokenRoles::TokenRoles(const JsonPart& config, const JsonPart& special_tokens_map, const JsonPart& added_tokens,
                       const JsonPart& added) {
  if (!config.is_null()) read_config(config);
  if (!config["added_tokens_decoder"].is_null()) {
    read_added_tokens_decoder(config["added_tokens_decoder"]);
  } else {
    if (!special_tokens_map.is_null()) read_special_tokens_map(special_tokens_map);
    if (!added_tokens.is_null()) read_added_tokens(added_tokens);
    read_added(added);
  }
  give_flags();
}

void TokenRoles::read_config(const JsonPart& config) {
  const auto extra = config["extra_special_tokens"], additional = config["additional_special_tokens"];
  for (const auto& [key, part] : config.members()) {
    if (is_role(key)) {
      put(roles_, key, part.is_null() ? Json() : read_token(part));
    } else if (key.ends_with("_token") && part.is_string()) {
      put(own_roles_, key, read_token(part));
    } else if (key.ends_with("_token") && is_marked(part)) {
      put(more_roles_, key, read_token(part));
    }
  }
  const auto& used = extra.is_empty() && !additional.is_null() ? additional : extra;
  if (used.is_object()) {
    for (const auto& [role, token] : used.members()) put(own_roles_, role, read_token(token));
    if (!extra.is_empty() && !additional.is_null()) additional_ = read_tokens(additional);
  } else if (!used.is_null()) {
    extra_ = read_tokens(used);
  }
  // transformers puts the model's own roles under this key, and so over what the file has there.
  if (const auto own = config["model_specific_special_tokens"]; !own.is_null() && own_roles_.empty()) {
    for (const auto& [role, token] : own.members()) put(own_roles_, role, read_token(token));
  }
}

void TokenRoles::read_added_tokens_decoder(const JsonPart& part) {
  for (const auto& [key, token] : part.members()) added_[read_index(part, key)] = read_object(token, false);
}

void TokenRoles::read_special_tokens_map(const JsonPart& map) {
  for (const auto& [key, part] : map.members()) {
    if (key == "extra_special_tokens" && part.is_object()) {
      extra_.reset();  // replaced
      for (const auto& [role, token] : part.members()) put(own_roles_, role, read_token(token));
    } else if (key == "extra_special_tokens") {
      if (!extra_) extra_.emplace();
      for (const auto& element : part.elements()) {
        auto token = element.is_object() ? read_object(element, true) : Json(element.text());
        if (std::ranges::find(*extra_, token) == extra_->end()) extra_->push_back(std::move(token));
      }
    } else if (key == "additional_special_tokens") {
      additional_ = read_tokens(part);
    } else if (is_role(key) || key.ends_with("_token")) {
      auto token = part.is_null() ? Json() : part.is_object() ? read_object(part, true) : Json(part.text());
      put(is_role(key) ? roles_ : more_roles_, key, std::move(token));
    }
  }
}

void TokenRoles::read_added_tokens(const JsonPart& part) {
  for (const auto& [content, index] : part.members()) {
    added_[index.integer()] = token_object(content, has_role_or_is_extra(content));
  }
}

void TokenRoles::read_added(const JsonPart& part) {
  for (const auto& element : part.elements()) added_[element["id"].integer()] = read_object(element, false);
}

// A token that a file names by its role has the flags that another gives it.
void TokenRoles::give_flags() {
  for (auto& [role, token] : roles_) {
    if (token.is_null()) continue;
    for (const auto& [index, added] : added_) {
      if (content_of(added) == content_of(token)) token = added;
    }
  }
}

bool TokenRoles::has_role_or_is_extra(const std::string& content) const {
  const auto is_it = [&](const Json& token) { return !token.is_null() && content_of(token) == content; };
  return std::ranges::any_of(roles_, [&](const auto& row) { return is_it(row.second); }) ||
         (extra_ && std::ranges::any_of(*extra_, is_it));
}

void TokenRoles::set_default(std::string_view role, std::string_view token) {
  const auto is_it = [&](const auto& row) { return row.first == role; };
  if (!token.empty() && std::ranges::none_of(roles_, is_it)) put(roles_, role, std::string(token));
}

std::vector<Json> TokenRoles::special() const {
  Named all;
  for (const auto role : kRoles) all.emplace_back(role, Json());
  for (const auto* const part : {&roles_, &more_roles_, &own_roles_}) {
    for (const auto& [role, token] : *part) put(all, role, token);
  }
  std::vector<Json> tokens;
  for (const auto& [role, token] : all) {
    if (!token.is_null()) tokens.push_back(token);
  }
  const auto& extra = extra_ ? extra_ : additional_;
  if (extra) tokens.insert(tokens.end(), extra->begin(), extra->end());
  return tokens;
}

std::vector<std::string> TokenRoles::contents() const {
  std::vector<std::string> found;
  std::unordered_set<std::string> seen;
  for (const auto& token : special()) {
    if (seen.insert(content_of(token)).second) found.push_back(content_of(token));
  }
  return found;
}

std::vector<Json> TokenRoles::to_add(const std::vector<std::string>& present) const {
  std::vector<Json> tokens;
  std::unordered_set<std::string> named, known(present.begin(), present.end()), taken;
  for (const auto* const part : {&roles_, &more_roles_, &own_roles_}) {
    for (const auto& [role, token] : *part) {
      if (!token.is_null()) named.insert(content_of(token));
    }
  }
  for (const auto& [index, token] : added_) {
    tokens.push_back(token);
    known.insert(content_of(token));
  }
  for (const auto& token : special()) {
    const bool is_new = !known.contains(content_of(token)) && taken.insert(token.dump()).second;
    if (is_new) tokens.push_back(token);
  }
  for (auto& token : tokens) {
    if (token.is_string()) {
      token = special_token(token.get<std::string>());
    } else if (named.contains(content_of(token))) {
      token["special"] = true;
    }
  }
  return tokens;
}

}  // namespace normtweak::text
