// A part of a JSON document that knows its path, so that every error names the file and the part:
//     tokenizer.json: model.merges[17]: expected a string
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <ranges>
#include <string>
#include <string_view>
#include <utility>

#include "normtweak/base/error.h"
#include "normtweak/base/json/json.h"

namespace normtweak::text {

// A view: the document must outlive it. A member that is absent or null reads as null.
class JsonPart {
 public:
  JsonPart(const Json& json, std::string_view origin) : json_(&json), origin_(origin) {}

  JsonPart operator[](std::string_view key) const;  // a member of an object; dots in a key are shown unchanged

  // The parts of an array, or of an object with their keys, in order; none for null. Each is made when it is reached: a
  // list of them would take more memory than the file. Not by operator[] in a loop, which looks for each among all.
  auto elements() const {
    return std::views::iota(std::size_t{0}, element_count()) |
           std::views::transform([part = *this](std::size_t i) { return part.element(i); });
  }
  auto members() const {
    return std::views::iota(std::size_t{0}, member_count()) |
           std::views::transform([part = *this](std::size_t i) { return part.member(i); });
  }

  bool is_null() const { return json_->is_null(); }
  bool is_string() const { return json_->is_string(); }
  bool is_array() const { return json_->is_array(); }
  bool is_object() const { return json_->is_object(); }
  bool is_number() const { return json_->is_number(); }
  bool is_empty() const { return json_->empty(); }  // null, [], {}
  std::string_view origin() const { return origin_; }

  const std::string& text() const;
  std::int64_t integer() const;
  double number() const;
  bool flag(bool otherwise) const;  // `otherwise` for null
  const Json& object() const;       // checked to be an object
  std::string shown() const { return show(*json_); }

  // Throws Error "ORIGIN: PATH: ...".
  template <class... Arguments>
  [[noreturn]] void fail(fmt::format_string<Arguments...> format, Arguments&&... arguments) const {
    refuse(fmt::format(format, std::forward<Arguments>(arguments)...));
  }

 private:
  JsonPart(const Json& json, std::string_view origin, std::string path)
      : json_(&json), origin_(origin), path_(std::move(path)) {}
  std::string path() const;
  std::size_t element_count() const;
  JsonPart element(std::size_t i) const;
  std::size_t member_count() const;
  std::pair<std::string, JsonPart> member(std::size_t i) const;
  [[noreturn]] void refuse(std::string_view reason) const;

  const Json* json_;
  std::string_view origin_;
  std::string path_;
  // Of an element, and of an element of that: spelled where there is an error, for there may be millions.
  std::array<std::uint32_t, 2> indices_ = {};
  std::size_t depth_ = 0;  // how many of these there are
};

// A string of one character. Throws Error if it is another.
const std::string& read_character(const JsonPart& part);

}  // namespace normtweak::text
