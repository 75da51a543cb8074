// What other libraries throw, thrown by them.
#include <c10/util/Exception.h>

#include <functional>
#include <regex>
#include <system_error>
#include <vector>

#include "normtweak/base/files/stale_outputs.h"
#include "normtweak/base/json/json.h"
#include "normtweak/base/strings/library_messages.h"
#include "support/temporary_folder.h"

namespace normtweak {
namespace {
namespace fs = std::filesystem;

class LibraryMessagesTest : public tests::TemporaryFolder {};

TEST_F(LibraryMessagesTest, HoldNothingForDevelopers) {
  struct Row {
    const char* what;
    std::function<void()> thrower;
    std::string words;  // that must be there
  };
  const auto absent = folder() / "absent", hidden = staging_name(folder() / "out");
  const Row rows[] = {
      {"a folder", [&] { fs::directory_iterator{absent}; }, absent.string() + ": No such file or directory"},
      {"a hidden name", [&] { fs::rename(hidden, absent); },
       (folder() / "out").string() + ": No such file or directory"},
      {"a type in JSON", [] { Json("text").get<double>(); }, "type must be number, but is string"},
      {"a key in JSON", [] { Json(Json::object()).at("key"); }, "key 'key' not found"},
      {"text in JSON", [] { Json("\xff").dump(); }, "invalid UTF-8 byte at index 0"},
      {"LibTorch", [] { TORCH_CHECK(false, "a tensor of another shape"); }, "a tensor of another shape"},
      {"LibTorch's own check", [] { TORCH_INTERNAL_ASSERT(false, "x"); }, ""},
      {"a regex", [] { std::regex("("); }, ""},
      {"the system", [] { throw std::system_error(ENOSPC, std::generic_category(), "std::x"); },
       "No space left on device"},
      {"a container", [] { std::vector<int>().at(3); }, "vector"},
      {"places in sources", [] { throw std::runtime_error("no room (a/b.cpp:12) for it at c.h:3"); }, "no room for it"},
  };
  for (const auto& [what, thrower, words] : rows) {
    SCOPED_TRACE(what);
    try {
      thrower();
      ADD_FAILURE() << "nothing was thrown";
    } catch (const std::exception& error) {
      const auto found = library_message(error);
      EXPECT_NE(found.find(words), std::string::npos) << found;
      for (const auto* raw : {"json.exception", "filesystem error", "c10::", "std::", ".cpp:", ".partial", "\n"}) {
        EXPECT_EQ(found.find(raw), std::string::npos) << found;
      }
    }
  }
}

}  // namespace
}  // namespace normtweak
