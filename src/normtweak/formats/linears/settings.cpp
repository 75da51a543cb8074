#include "normtweak/formats/linears/settings.h"

#include "normtweak/base/error.h"

namespace normtweak::formats {
namespace {

const Json kNothing = nullptr;

void add_texts(const Json& value, const std::string& where, std::vector<std::string>& texts) {
  if (value.is_array()) {
    for (const auto& entry : value) add_texts(entry, where, texts);
    return;
  }
  if (!value.is_string()) fail("{}: names expected, found {}", where, show(value));
  std::string_view rest = value.get_ref<const std::string&>();
  while (!rest.empty()) {
    const auto comma = rest.find(',');
    if (comma != 0) texts.emplace_back(rest.substr(0, comma));
    rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
  }
}

}  // namespace

Settings::Settings(const Json& object, std::string_view where) : object_(object), where_(where) {
  if (!object.is_object()) fail("{}: a JSON object expected, found {}", where, show(object));
}

const Json& Settings::get(std::initializer_list<const char*> keys) const {
  for (const auto* key : keys) {
    const auto found = object_.find(key);
    if (found != object_.end() && !found->is_null()) return *found;
  }
  return kNothing;
}

int Settings::whole(std::initializer_list<const char*> keys, std::optional<int> standard, int least, int most) const {
  const auto& value = get(keys);
  if (value.is_null()) {
    if (!standard) fail("{}: `{}` is missing", where_, *keys.begin());
    return *standard;
  }
  const bool is_whole = value.is_number_integer();
  const bool is_huge = is_whole && value.is_number_unsigned() && value.get<std::uint64_t>() > std::uint64_t{1} << 62;
  const auto number = is_whole && !is_huge ? value.get<std::int64_t>() : std::int64_t{most} + 1;
  if (number < least || number > most) {
    fail("{}: `{}` is {}; {} to {} are supported", where_, *keys.begin(), show(value), least, most);
  }
  return static_cast<int>(number);
}

bool Settings::flag(std::initializer_list<const char*> keys, bool standard) const {
  const auto& value = get(keys);
  if (value.is_null()) return standard;
  if (!value.is_boolean()) fail("{}: `{}` is {}; true or false expected", where_, *keys.begin(), show(value));
  return value.get<bool>();
}

std::string Settings::text(std::initializer_list<const char*> keys, std::string_view standard) const {
  const auto& value = get(keys);
  if (value.is_null()) return std::string(standard);
  if (!value.is_string()) fail("{}: `{}` is {}; a text expected", where_, *keys.begin(), show(value));
  return value.get<std::string>();
}

std::vector<std::string> Settings::texts(std::initializer_list<const char*> keys) const {
  std::vector<std::string> texts;
  const auto& value = get(keys);
  if (!value.is_null()) add_texts(value, fmt::format("{}: `{}`", where_, *keys.begin()), texts);
  return texts;
}

}  // namespace normtweak::formats
