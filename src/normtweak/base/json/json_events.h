// JSON as a sequence of events, for documents that are too large to be made a tree, in linear time and without memory
// beyond what the receiver keeps.
#pragma once
#include <string>
#include <string_view>

#include "normtweak/base/json/json.h"

namespace normtweak {

class JsonReceiver {
 public:
  JsonReceiver() = default;
  JsonReceiver(const JsonReceiver&) = delete;
  JsonReceiver& operator=(const JsonReceiver&) = delete;
  virtual ~JsonReceiver() = default;

  // Each may throw an Error, which ends the reading.
  virtual void key(std::string name) = 0;  // its value comes next
  virtual void value(Json scalar) = 0;     // null, a boolean, a number or text
  virtual void open(bool is_object) = 0;   // of an object or an array
  virtual void close() = 0;                // of the latest that is open
};

enum class JsonDialect { python, standard };

// Throws Error as parse_json() does; the standard dialect has no NaN and no infinities.
void read_json_events(std::string_view text, std::string_view origin, JsonReceiver& receiver,
                      JsonDialect dialect = JsonDialect::python);

}  // namespace normtweak
