#include "normtweak/formats/keyed_json.h"

#include "normtweak/base/error.h"

namespace normtweak::formats {

KeyedJson parse_keyed_json(std::string_view text, std::string_view origin) {
  KeyedJson document;
  try {
    document = KeyedJson::parse(text);
  } catch (const KeyedJson::exception& error) {
    fail("{}: not valid JSON: {}", origin, error.what());
  }
  if (!document.is_object()) fail("{}: expected a JSON object, found {}", origin, document.type_name());
  return document;
}

}  // namespace normtweak::formats
