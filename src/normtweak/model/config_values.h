// Reads values of config.json, with errors that name the file and the key under which the user finds the value.
#pragma once
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/model/family.h"

namespace normtweak::model {

// 4096, or 4096.0 as some tools write it; nullopt for anything else.
std::optional<std::int64_t> whole_number(const Json& value);

// Of `dtype` and `torch_dtype`: the dtype of the weights, like none.
inline constexpr std::string_view kAutomatic = "auto";

// Whether the config names the dtype that its model is stored in.
bool names_stored_type(const Json& config);

class ConfigValues {
 public:
  // notes: where to put what was assumed; may be null. All must outlive this.
  ConfigValues(const Json& object, std::string_view origin, std::span<const KeyAlias> aliases, const KeyNames& names,
               std::vector<std::string>* notes);

  // Whether the key has a value other than null. A key that a family lacks is empty.
  bool has(std::string_view key) const;
  bool is_null(std::string_view key) const;  // the file has the key, with null
  const Json& object() const { return object_; }
  std::string_view origin() const { return origin_; }

  // How messages call the key: `n_embd`, the alias by which the file has it, or the GGUF metadata it comes from.
  std::string name(std::string_view key) const;

  // Each throws Error if the value is missing, of the wrong type or out of its bounds.
  const Json& at(std::string_view key) const;
  std::string text(std::string_view key) const;
  bool flag(std::string_view key, bool fallback) const;
  std::int64_t count(std::string_view key, Range range) const;  // a whole number
  double number(std::string_view key, Range range) const;

  // Whether something asked for the key, in any of its spellings.
  bool was_read(std::string_view key) const { return read_->contains(key); }

  // An object inside this one, with the same origin and notes. Its keys are called `outer.key`.
  ConfigValues inner(std::string_view key) const;

  void note(const std::string& line) const;  // prefixed with the origin

 private:
  std::string_view spelling(std::string_view key) const;

  const Json& object_;
  std::string origin_, outer_;
  std::span<const KeyAlias> aliases_;
  const KeyNames& names_;
  std::vector<std::string>* notes_;
  std::shared_ptr<std::set<std::string, std::less<>>> read_ = std::make_shared<std::set<std::string, std::less<>>>();
};

}  // namespace normtweak::model
