// Paths from environment variables, as Python programs read them.
#pragma once
#include <string>
#include <string_view>

namespace normtweak {

// Python's os.path.expanduser: `~` in front is $HOME, or without that variable the folder in the password database;
// `~name` is the home folder of that user. What is not known stays as it is.
std::string expand_user(std::string_view path);

// Python's os.path.expandvars: `$NAME` and `${NAME}` are replaced once; variables that are not set stay as they are.
std::string expand_variables(std::string_view path);

}  // namespace normtweak
