// A folder of its own for each test, removed afterwards.
#pragma once
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include "normtweak/base/files/temporary_path.h"

namespace normtweak::tests {

class TemporaryFolder : public testing::Test {
 protected:
  TemporaryFolder() {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    const auto name = std::string("normtweak-") + test->test_suite_name() + "-" + test->name() + "-";
    folder_ = std::filesystem::temp_directory_path() / (name + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_);
  }
  ~TemporaryFolder() override { normtweak::remove_tree(folder_); }

  const std::filesystem::path& folder() const { return folder_; }

  // Everything in the folder, hidden names included: to see that nothing is left behind.
  std::size_t entries() const {
    const std::filesystem::directory_iterator all(folder_);
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
  }

  static void write(const std::filesystem::path& path, std::string_view text) { std::ofstream(path) << text; }

 private:
  std::filesystem::path folder_;
};

// The message of the exception of type E that `call` throws; a failure of the test if it throws none.
template <class E, class Call>
std::string message_of(Call&& call) {
  try {
    call();
  } catch (const E& error) {
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

}  // namespace normtweak::tests
