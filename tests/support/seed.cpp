// Linked into every test program: LibTorch seeds its generator anew in each process, and a test that fails once in
// twenty runs tells nobody what to mend.
#include <ATen/Context.h>
#include <gtest/gtest.h>

namespace {

class SeedEachTest : public testing::EmptyTestEventListener {
  void OnTestStart(const testing::TestInfo& /*test*/) override { at::manual_seed(1); }
};

[[maybe_unused]] const bool kAppended = [] {
  testing::UnitTest::GetInstance()->listeners().Append(new SeedEachTest);  // GoogleTest deletes it
  return true;
}();

}  // namespace
