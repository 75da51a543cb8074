#include "normtweak/base/strings/library_messages.h"

#include <fmt/format.h>

#include <array>
#include <filesystem>
#include <regex>
#include <string_view>
#include <system_error>
#include <utility>

#include "normtweak/base/files/stale_outputs.h"
#include "normtweak/base/strings/one_line.h"

namespace normtweak {
namespace {

// LibTorch's messages contain long stack traces; the first line says what happened.
std::string first_line(std::string_view text) { return std::string(text.substr(0, text.find('\n'))); }

// What libraries put into their messages for their developers. A place in a source file is looked for once a word: from
// each letter of a long word, it would take half a second in a build with sanitizers.
const std::regex& for_developers() {
  static const std::regex instance(R"(\[json\.exception\.[a-z_]+\.[0-9]+\] )"                   // nlohmann-json
                                   R"(|\[enforce fail at [^\]]*\] ?\.? ?)"                      // LibTorch's allocator
                                   R"(|\b(?:std|c10|at|torch|nlohmann)::(?:[A-Za-z_0-9]+::)*)"  // namespaces
                                   R"(|(?:^| \(?|\()(?:at |from )?[^\s()]+\.(?:cpp|cc|cu|h|hpp):[0-9]+[)\]]?:?)",
                                   std::regex::optimize);
  return instance;
}

}  // namespace

std::string library_message(const std::exception& error) {
  namespace fs = std::filesystem;
  if (const auto* of_files = dynamic_cast<const fs::filesystem_error*>(&error)) {
    return fmt::format("{}: {}", final_name(of_files->path1()), of_files->code().message());
  }
  if (const auto* of_system = dynamic_cast<const std::system_error*>(&error)) return of_system->code().message();
  // std::regex is recursive: no more of a message than is shown anyway.
  const auto line = one_line(first_line(error.what()), 2 * kLongestLine);
  return std::regex_replace(line, for_developers(), "");
}

}  // namespace normtweak
