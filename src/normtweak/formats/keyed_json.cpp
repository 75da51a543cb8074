#include "normtweak/formats/keyed_json.h"

#include "normtweak/base/error.h"
#include "normtweak/base/json.h"
#include "normtweak/base/plain_words.h"

namespace normtweak::formats {
namespace {

// Parser callback: keeps every value, but fails if nesting is too deep.
class DepthGuard {
 public:
  explicit DepthGuard(std::string_view origin) : origin_(origin) {}

  bool operator()(int depth, KeyedJson::parse_event_t, const KeyedJson&) const {
    if (static_cast<std::size_t>(depth) > kDeepestJson) {
      fail("{}: not valid JSON: arrays and objects are nested deeper than {}", origin_, kDeepestJson);
    }
    return true;
  }

 private:
  std::string_view origin_;
};

}  // namespace

KeyedJson parse_keyed_json(std::string_view text, std::string_view origin) {
  KeyedJson document;
  try {
    document = KeyedJson::parse(text, DepthGuard(origin));
  } catch (const KeyedJson::exception& error) {
    fail("{}: not valid JSON: {}", origin, plain_words(error));
  }
  if (!document.is_object()) fail("{}: expected a JSON object, found {}", origin, document.type_name());
  return document;
}

}  // namespace normtweak::formats
