// Values of a quantization config, with errors that name the file, the key and what was found.
#pragma once
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/base/json/json.h"

namespace normtweak::formats {

class Settings {
 public:
  // where: how messages begin. Both must outlive this. Throws Error if `object` is no JSON object.
  Settings(const Json& object, std::string_view where);

  const std::string& where() const { return where_; }

  // The value of the first of these keys that is there and not null; null if none is.
  const Json& get(std::initializer_list<const char*> keys) const;
  const Json& get(const char* key) const { return get({key}); }
  bool has(const char* key) const { return !get(key).is_null(); }

  // Throw Error if the value has another type or, of numbers, lies outside the bounds. Without a default the key is
  // required.
  int whole(std::initializer_list<const char*> keys, std::optional<int> standard, int least, int most) const;
  bool flag(std::initializer_list<const char*> keys, bool standard) const;
  std::string text(std::initializer_list<const char*> keys, std::string_view standard) const;
  // A list of texts, or of lists of texts, or one text with commas; empty if the key is not there.
  std::vector<std::string> texts(std::initializer_list<const char*> keys) const;

 private:
  const Json& object_;
  std::string where_;
};

}  // namespace normtweak::formats
