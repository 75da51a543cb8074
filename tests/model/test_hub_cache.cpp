// The cache of huggingface_hub is looked for where that package puts it.
#include <array>
#include <cstdlib>
#include <map>
#include <optional>
#include <ranges>
#include <string>

#include "normtweak/model/hub_cache.h"
#include "support/temporary_folder.h"

namespace normtweak::model {
namespace {
namespace fs = std::filesystem;

struct Variable {
  const char *name, *value, *cache;  // where the cache is if this one is set and none before it
};

// In the order in which huggingface_hub/constants.py looks at them.
constexpr std::array<Variable, 5> kVariables = {{
    {"HF_HUB_CACHE", "/1", "/1"},
    {"HUGGINGFACE_HUB_CACHE", "/2", "/2"},
    {"HF_HOME", "/3", "/3/hub"},
    {"XDG_CACHE_HOME", "/4", "/4/huggingface/hub"},
    {"HOME", "/5", "/5/.cache/huggingface/hub"},
}};

class HubCacheTest : public tests::TemporaryFolder {
 protected:
  HubCacheTest() {
    for (const auto& variable : kVariables) {
      if (const char* value = std::getenv(variable.name)) before_[variable.name] = value;
      ::unsetenv(variable.name);
    }
  }
  ~HubCacheTest() override {
    for (const auto& variable : kVariables) ::unsetenv(variable.name);
    for (const auto& [name, value] : before_) ::setenv(name.c_str(), value.c_str(), 1);
  }

 private:
  std::map<std::string, std::string> before_;
};

TEST_F(HubCacheTest, VariablesComeInTheOrderOfThePackage) {
  for (const auto& variable : std::views::reverse(kVariables)) {
    ::setenv(variable.name, variable.value, 1);
    EXPECT_EQ(hub_cache(), variable.cache) << variable.name;
  }
}

TEST_F(HubCacheTest, AModelIsFoundAtItsMainRevision) {
  ::setenv("HF_HUB_CACHE", folder().c_str(), 1);
  const auto cached = folder() / "models--organisation--name";
  EXPECT_EQ(find_in_hub_cache("organisation/name"), std::nullopt);
  fs::create_directories(cached / "refs");
  write(cached / "refs" / "main", "0a1b2c\n");
  EXPECT_EQ(find_in_hub_cache("organisation/name"), cached / "snapshots" / "0a1b2c");
  EXPECT_EQ(find_in_hub_cache("name"), std::nullopt);
}

}  // namespace
}  // namespace normtweak::model
