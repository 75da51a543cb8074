// What torchrun's environment says.
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <string>

#include "normtweak/base/error.h"
#include "normtweak/base/processes/launch.h"
#include "support/temporary_folder.h"

namespace normtweak {
namespace {

using Variables = std::map<std::string, std::string>;

const Variables kTwo = {
    {"WORLD_SIZE", "2"}, {"RANK", "1"}, {"LOCAL_RANK", "0"}, {"MASTER_ADDR", "host"}, {"MASTER_PORT", "29400"}};

// launch_from_environment() with these variables, and none other of those that it reads.
Launch launch_with(const Variables& variables) {
  for (const auto* name : {"WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT",
                           "TORCHELASTIC_USE_AGENT_STORE", "TORCHELASTIC_RESTART_COUNT", "NORMTWEAK_TIMEOUT"}) {
    ::unsetenv(name);
  }
  for (const auto& [name, value] : variables) ::setenv(name.c_str(), value.c_str(), 1);
  return launch_from_environment();
}

Variables with(Variables variables, const std::string& name, const std::string& value) {
  variables[name] = value;
  return variables;
}

Variables without(Variables variables, const std::string& name) {
  variables.erase(name);
  return variables;
}

TEST(Launch, AloneIsTheRule) {
  for (const auto& variables : {Variables{}, Variables{{"WORLD_SIZE", "1"}}, Variables{{"RANK", "3"}}}) {
    const auto launch = launch_with(variables);
    EXPECT_EQ(launch.size, 1);
    EXPECT_EQ(launch.rank, 0);
  }
}

TEST(Launch, ReadsWhatTorchrunSets) {
  auto launch = launch_with(kTwo);
  EXPECT_EQ(launch.size, 2);
  EXPECT_EQ(launch.rank, 1);
  EXPECT_EQ(launch.local_rank, 0);
  EXPECT_EQ(launch.local_size, 2);  // where nothing says otherwise, all are on this machine
  EXPECT_EQ(launch.address, "host");
  EXPECT_EQ(launch.port, 29400);
  EXPECT_FALSE(launch.has_store);
  EXPECT_EQ(launch.timeout, std::chrono::minutes(30));
  launch = launch_with(with(with(kTwo, "TORCHELASTIC_USE_AGENT_STORE", "True"), "NORMTWEAK_TIMEOUT", "7"));
  EXPECT_TRUE(launch.has_store);
  EXPECT_EQ(launch.timeout, std::chrono::seconds(7));
  EXPECT_EQ(launch_with(with(kTwo, "LOCAL_WORLD_SIZE", "1")).local_size, 1);
  EXPECT_FALSE(launch_with(with(kTwo, "TORCHELASTIC_USE_AGENT_STORE", "False")).has_store);
  EXPECT_EQ(launch_with(without(kTwo, "LOCAL_RANK")).local_rank, 1);  // other starters do not say
}

TEST(Launch, NamesTheVariableThatIsWrong) {
  const std::map<std::string, Variables> cases = {{"WORLD_SIZE=two", with(kTwo, "WORLD_SIZE", "two")},
                                                  {"WORLD_SIZE=0", with(kTwo, "WORLD_SIZE", "0")},
                                                  {"WORLD_SIZE=", with(kTwo, "WORLD_SIZE", "")},
                                                  {"RANK=2", with(kTwo, "RANK", "2")},
                                                  {"RANK=-1", with(kTwo, "RANK", "-1")},
                                                  {"MASTER_PORT=70000", with(kTwo, "MASTER_PORT", "70000")},
                                                  {"MASTER_PORT=1x", with(kTwo, "MASTER_PORT", "1x")},
                                                  {"LOCAL_RANK=5", with(kTwo, "LOCAL_RANK", "5")},
                                                  {"LOCAL_WORLD_SIZE=0", with(kTwo, "LOCAL_WORLD_SIZE", "0")},
                                                  {"LOCAL_WORLD_SIZE=3", with(kTwo, "LOCAL_WORLD_SIZE", "3")},
                                                  {"NORMTWEAK_TIMEOUT=0", with(kTwo, "NORMTWEAK_TIMEOUT", "0")}};
  for (const auto& [beginning, variables] : cases) {
    const auto message = tests::message_of<Error>([&] { launch_with(variables); });
    EXPECT_TRUE(message.starts_with(beginning + ": ")) << message;
  }
  for (const auto* name : {"RANK", "MASTER_ADDR", "MASTER_PORT"}) {
    const auto message = tests::message_of<Error>([&] { launch_with(without(kTwo, name)); });
    EXPECT_NE(message.find(std::string(name) + " is not"), std::string::npos) << message;
  }
}

}  // namespace
}  // namespace normtweak
