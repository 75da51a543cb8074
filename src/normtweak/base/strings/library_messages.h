// What exceptions of other libraries say, as a user should read it.
#pragma once
#include <exception>
#include <string>

namespace normtweak {

// One line without the libraries' tags ("[json.exception.type_error.302]", "filesystem error:"), namespaces, source
// positions and stack traces. Of an error of the file system: the path and the reason.
std::string library_message(const std::exception& error);

}  // namespace normtweak
