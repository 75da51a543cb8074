#include "normtweak/base/error.h"

#include "normtweak/base/strings/one_line.h"

namespace normtweak {

Error::Error(std::string_view message) : std::runtime_error(one_line(message)) {}

}  // namespace normtweak
