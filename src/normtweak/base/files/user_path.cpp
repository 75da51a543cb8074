#include "normtweak/base/files/user_path.h"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <optional>

namespace normtweak {
namespace {

std::optional<std::string> home_of(const std::string& user) {
  if (user.empty()) {
    if (const char* home = std::getenv("HOME")) return home;
  }
  const auto* entry = user.empty() ? ::getpwuid(::getuid()) : ::getpwnam(user.c_str());
  return entry != nullptr ? std::optional<std::string>(entry->pw_dir) : std::nullopt;
}

bool is_of_name(char letter) {
  return letter == '_' || (letter >= '0' && letter <= '9') || (letter >= 'A' && letter <= 'Z') ||
         (letter >= 'a' && letter <= 'z');
}

// The variable that `text`, which begins with `$`, refers to, and how many bytes of it do so; 0 if it does not.
struct Reference {
  std::string name;
  std::size_t length = 0;
};

Reference reference_at(std::string_view text) {
  if (text.substr(1).starts_with('{')) {
    const auto end = text.find('}');
    if (end == std::string_view::npos) return {};
    return {std::string(text.substr(2, end - 2)), end + 1};
  }
  const auto end = static_cast<std::size_t>(std::find_if_not(text.begin() + 1, text.end(), is_of_name) - text.begin());
  return {std::string(text.substr(1, end - 1)), end > 1 ? end : 0};
}

}  // namespace

std::string expand_user(std::string_view path) {
  if (!path.starts_with('~')) return std::string(path);
  const auto end = std::min(path.find('/'), path.size());
  auto home = home_of(std::string(path.substr(1, end - 1)));
  if (!home) return std::string(path);
  while (home->ends_with('/')) home->pop_back();
  home->append(path.substr(end));
  return home->empty() ? "/" : *home;
}

std::string expand_variables(std::string_view path) {
  std::string expanded;
  while (!path.empty()) {
    const auto reference = path.front() == '$' ? reference_at(path) : Reference();
    const char* value = reference.length > 0 ? std::getenv(reference.name.c_str()) : nullptr;
    const auto length = std::max<std::size_t>(1, reference.length);
    value != nullptr ? expanded.append(value) : expanded.append(path.substr(0, length));
    path.remove_prefix(length);
  }
  return expanded;
}

}  // namespace normtweak
