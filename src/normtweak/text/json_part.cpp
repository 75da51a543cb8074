#include "normtweak/text/json_part.h"

#include "normtweak/base/strings/utf8.h"

namespace normtweak::text {
namespace {
const Json kNull;
}  // namespace

JsonPart JsonPart::operator[](std::string_view key) const {
  auto path = path_.empty() && depth_ == 0 ? std::string(key) : fmt::format("{}.{}", this->path(), key);
  if (json_->is_null()) return {kNull, origin_, std::move(path)};
  if (!json_->is_object()) fail("expected an object with the key {}", key);
  const auto member = json_->find(std::string(key));
  return {member == json_->end() ? kNull : *member, origin_, std::move(path)};
}

std::size_t JsonPart::element_count() const {
  if (is_null()) return 0;
  if (!json_->is_array()) fail("expected an array, found {}", json_->type_name());
  return json_->size();
}

JsonPart JsonPart::element(std::size_t i) const {
  const auto& child = (*json_)[i];
  if (depth_ == indices_.size()) return {child, origin_, fmt::format("{}[{}]", path(), i)};
  auto part = *this;
  part.json_ = &child;
  part.indices_.at(part.depth_++) = static_cast<std::uint32_t>(i);
  return part;
}

std::string JsonPart::path() const {
  auto path = path_;
  for (std::size_t i = 0; i < depth_; ++i) path += fmt::format("[{}]", indices_.at(i));
  return path;
}

std::size_t JsonPart::member_count() const { return is_null() ? 0 : object().size(); }

std::pair<std::string, JsonPart> JsonPart::member(std::size_t i) const {
  const auto& [key, value] = json_->get_ref<const Json::object_t&>().begin()[static_cast<std::ptrdiff_t>(i)];
  const auto own = path();
  return {key, JsonPart(value, origin_, own.empty() ? key : fmt::format("{}.{}", own, key))};
}

const std::string& JsonPart::text() const {
  if (!json_->is_string()) fail("expected a string, found {}", json_->type_name());
  return json_->get_ref<const std::string&>();
}

std::int64_t JsonPart::integer() const {
  if (!json_->is_number_integer()) fail("expected a whole number, found {}", json_->type_name());
  return json_->get<std::int64_t>();
}

double JsonPart::number() const {
  if (!json_->is_number()) fail("expected a number, found {}", json_->type_name());
  return json_->get<double>();
}

bool JsonPart::flag(bool otherwise) const {
  if (is_null()) return otherwise;
  if (!json_->is_boolean()) fail("expected true or false, found {}", json_->type_name());
  return json_->get<bool>();
}

const Json& JsonPart::object() const {
  if (!json_->is_object()) fail("expected an object, found {}", json_->type_name());
  return *json_;
}

void JsonPart::refuse(std::string_view reason) const {
  const auto own = path();
  if (own.empty()) normtweak::fail("{}: {}", origin_, reason);
  normtweak::fail("{}: {}: {}", origin_, own, reason);
}

const std::string& read_character(const JsonPart& part) {
  const auto& text = part.text();
  if (text.empty() || code_point_at(text, 0).length != text.size()) {
    part.fail("expected one character, found \"{}\"", text);
  }
  return text;
}

}  // namespace normtweak::text
