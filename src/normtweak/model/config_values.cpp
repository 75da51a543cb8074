#include "normtweak/model/config_values.h"

#include <cmath>

#include "normtweak/base/error.h"

namespace normtweak::model {

std::optional<std::int64_t> whole_number(const Json& value) {
  constexpr double kExact = 9007199254740992;  // 2^53: every integer below is exact in a double
  if (value.is_number_unsigned() && value.get<std::uint64_t>() >> 63 != 0) return std::nullopt;
  if (value.is_number_integer()) return value.get<std::int64_t>();
  if (!value.is_number_float()) return std::nullopt;
  const auto number = value.get<double>();
  const bool is_whole = std::abs(number) <= kExact && number == std::floor(number);  // false for NaN
  return is_whole ? std::optional(static_cast<std::int64_t>(number)) : std::nullopt;
}

bool names_stored_type(const Json& config) {
  for (const auto* const key : {"dtype", "torch_dtype"}) {
    const auto name = config.value(key, Json());
    if (!name.is_null()) return name != kAutomatic;
  }
  return false;
}

ConfigValues::ConfigValues(const Json& object, std::string_view origin, std::span<const KeyAlias> aliases,
                           const KeyNames& names, std::vector<std::string>* notes)
    : object_(object), origin_(origin), aliases_(aliases), names_(names), notes_(notes) {}

// Where both spellings are given, transformers takes the alias.
std::string_view ConfigValues::spelling(std::string_view key) const {
  for (const auto& [alias, of] : aliases_) {
    if (of == key && object_.contains(alias) && !object_.at(alias).is_null()) return alias;
  }
  return key;
}

bool ConfigValues::has(std::string_view key) const {
  const auto spelled = spelling(key);
  read_->emplace(key);
  read_->emplace(spelled);
  return !key.empty() && object_.contains(spelled) && !object_.at(spelled).is_null();
}

bool ConfigValues::is_null(std::string_view key) const {
  const auto spelled = spelling(key);
  return object_.contains(spelled) && object_.at(spelled).is_null();
}

std::string ConfigValues::name(std::string_view key) const {
  if (const auto found = names_.find(key); found != names_.end()) return found->second;
  return fmt::format("`{}{}`", outer_, spelling(key));
}

const Json& ConfigValues::at(std::string_view key) const {
  if (!has(key)) fail("{}: {} is missing", origin_, name(key));
  return object_.at(spelling(key));
}

std::string ConfigValues::text(std::string_view key) const {
  const auto& value = at(key);
  if (!value.is_string()) fail("{}: {} is {}, a name is needed", origin_, name(key), show(value));
  return value.get<std::string>();
}

bool ConfigValues::flag(std::string_view key, bool fallback) const {
  if (!has(key)) return fallback;
  const auto& value = at(key);
  if (!value.is_boolean()) fail("{}: {} is {}, true or false is needed", origin_, name(key), show(value));
  return value.get<bool>();
}

std::int64_t ConfigValues::count(std::string_view key, Range range) const {
  const auto& given = at(key);
  const auto value = whole_number(given);
  if (value && static_cast<double>(*value) >= range.least && static_cast<double>(*value) <= range.most) return *value;
  fail("{}: {} is {}, a whole number from {:.0f} to {:.0f} is needed", origin_, name(key), show(given), range.least,
       range.most);
}

double ConfigValues::number(std::string_view key, Range range) const {
  const auto& given = at(key);
  const auto value = given.is_number() ? given.get<double>() : std::nan("");
  if (range.least <= value && value <= range.most) return value;  // false for NaN
  fail("{}: {} is {}, a number from {:g} to {:g} is needed", origin_, name(key), show(given), range.least, range.most);
}

ConfigValues ConfigValues::inner(std::string_view key) const {
  const auto& value = at(key);
  if (!value.is_object()) fail("{}: {} is {}, an object is needed", origin_, name(key), show(value));
  ConfigValues values(value, origin_, {}, names_, notes_);
  values.outer_ = fmt::format("{}{}.", outer_, key);
  return values;
}

void ConfigValues::note(const std::string& line) const {
  if (notes_ != nullptr) notes_->push_back(fmt::format("{}: {}", origin_, line));
}

}  // namespace normtweak::model
