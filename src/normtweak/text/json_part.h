// A part of a JSON document that knows its path, so that every error names the file and the part:
//     tokenizer.json: model.merges[17]: expected a string
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "normtweak/base/error.h"
#include "normtweak/base/json.h"

namespace normtweak::text {

// A view: the document must outlive it. A member that is absent or null reads as null.
class JsonPart {
 public:
  JsonPart(const Json& json, std::string_view origin) : json_(&json), origin_(origin) {}

  JsonPart operator[](std::string_view key) const;  // a member of an object; dots in a key are shown unchanged
  std::vector<JsonPart> elements() const;           // of an array; none for null
  // Of an object, in order; none for null. Not by operator[] in a loop, which looks for each among all.
  std::vector<std::pair<std::string, JsonPart>> members() const;

  bool is_null() const { return json_->is_null(); }
  bool is_string() const { return json_->is_string(); }
  bool is_array() const { return json_->is_array(); }
  bool is_object() const { return json_->is_object(); }
  bool is_empty() const { return json_->empty(); }  // null, [], {}
  std::string_view origin() const { return origin_; }

  const std::string& text() const;
  std::int64_t integer() const;
  double number() const;
  bool flag(bool otherwise) const;  // `otherwise` for null
  const Json& object() const;       // checked to be an object

  // Throws Error "ORIGIN: PATH: ...".
  template <class... Arguments>
  [[noreturn]] void fail(fmt::format_string<Arguments...> format, Arguments&&... arguments) const {
    refuse(fmt::format(format, std::forward<Arguments>(arguments)...));
  }

 private:
  JsonPart(const Json& json, std::string_view origin, std::string path)
      : json_(&json), origin_(origin), path_(std::move(path)) {}
  [[noreturn]] void refuse(std::string_view reason) const;

  const Json* json_;
  std::string_view origin_;
  std::string path_;
};

}  // namespace normtweak::text
