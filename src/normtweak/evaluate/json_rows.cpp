#include "normtweak/evaluate/json_rows.h"

#include <algorithm>
#include <charconv>

#include "normtweak/base/error.h"
#include "normtweak/base/files/file_kind.h"
#include "normtweak/text/characters.h"

namespace normtweak::evaluate {

void JsonRow::refuse(std::string_view field, std::string_view why) const {
  fail("{}: the field \"{}{}\": {}", origin_, within_, field, why);
}

const Json& JsonRow::field(std::string_view name, std::string_view kind) const {
  if (!row_.is_object()) {
    fail("{}: an object with {} under the key \"{}{}\" is needed in each line", origin_, kind, within_, name);
  }
  const auto found = row_.find(name);
  if (found == row_.end()) refuse(name, fmt::format("is missing; {} is needed in each line", kind));
  return *found;
}

std::string JsonRow::text(std::string_view name) const {
  const auto& value = field(name, "the text");
  if (!value.is_string()) refuse(name, fmt::format("a text is needed, the file has {}", show(value)));
  return value.get<std::string>();
}

std::vector<std::string> JsonRow::texts(std::string_view name) const {
  const auto& list = field(name, "a list of texts");
  if (!list.is_array() || list.empty()) {
    refuse(name, fmt::format("a list of texts is needed, the file has {}", show(list)));
  }
  std::vector<std::string> texts;
  for (const auto& value : list) {
    if (!value.is_string()) refuse(name, fmt::format("texts are needed in the list, the file has {}", show(value)));
    texts.push_back(value.get<std::string>());
  }
  return texts;
}

JsonRow JsonRow::object(std::string_view name) const {
  const auto& value = field(name, "an object");
  if (!value.is_object()) refuse(name, fmt::format("an object is needed, the file has {}", show(value)));
  return {value, origin_, fmt::format("{}{}.", within_, name)};
}

std::size_t JsonRow::index(std::string_view name, std::size_t count, std::int64_t first) const {
  const auto& value = field(name, "a number");
  std::int64_t number = first - 1;
  if (value.is_number_integer()) {
    number = value.get<std::int64_t>();
  } else if (value.is_string()) {
    const auto& digits = value.get_ref<const std::string&>();
    std::int64_t read = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), read);
    if (error == std::errc() && end == digits.data() + digits.size()) number = read;
  }
  const auto last = first + static_cast<std::int64_t>(count) - 1;
  if (number < first || number > last) {
    refuse(name, fmt::format("a whole number from {} to {} is needed, the file has {}", first, last, show(value)));
  }
  return static_cast<std::size_t>(number - first);
}

void for_json_rows(const std::filesystem::path& path, std::int64_t most,
                   const std::function<void(const JsonRow&)>& work) {
  const auto content = read_text_file(path);
  std::int64_t number = 0, rows = 0;
  for (std::string_view rest = content; !rest.empty();) {
    if (most > 0 && rows == most) return;
    const auto line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    ++number;
    if (text::is_blank(line)) continue;
    const auto origin = fmt::format("{}:{}", path.string(), number);
    work({parse_json(line, origin), origin});
    ++rows;
  }
}

}  // namespace normtweak::evaluate
