// Of several processes that end, the right one says why.
#include <gtest/gtest.h>

#include <map>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "normtweak/base/processes/failure_report.h"

namespace normtweak {
namespace {

using Words = std::optional<std::string>;

class MemoryStore : public KeyStore {
 public:
  bool is_first_to_put(const std::string& note) override {
    const std::scoped_lock lock(mutex_);
    return notes_.insert(note).second;
  }
  bool has(const std::string& note) override {
    const std::scoped_lock lock(mutex_);
    return notes_.contains(note);
  }

 private:
  std::mutex mutex_;
  std::set<std::string> notes_;
};

class LostStore : public KeyStore {
 public:
  bool is_first_to_put(const std::string&) override { throw std::runtime_error("no connection"); }
  bool has(const std::string&) override { throw std::runtime_error("no connection"); }
};

enum class End { failed, lost, finished, killed };

// What each of the processes prints. Those that fail or finish do so before others are lost, as in a job.
std::vector<Words> words_of(const std::vector<End>& ends, const std::shared_ptr<KeyStore>& store) {
  const auto size = static_cast<int>(ends.size());
  std::vector<Words> said(ends.size());
  const auto rank_of = [&](std::size_t i) { return FailureReport(store, static_cast<int>(i), size); };
  for (std::size_t i = 0; i < ends.size(); ++i) {
    if (ends[i] == End::failed) said[i] = rank_of(i).of_failure("no room");
    if (ends[i] == End::finished) rank_of(i).finished();
  }
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < ends.size(); ++i) {
    if (ends[i] == End::lost) threads.emplace_back([&, i] { said[i] = rank_of(i).of_loss("connection closed"); });
  }
  for (auto& thread : threads) thread.join();
  return said;
}

TEST(FailureReport, OneProcessSaysWhyTheJobEnds) {
  using enum End;
  struct Case {
    const char* name;
    std::vector<End> ends;
    std::map<std::size_t, std::string> said;  // rank → words; the others are silent
  };
  const Case cases[] = {
      {"one fails", {lost, failed, lost}, {{1, "rank 1 of 3: no room"}}},
      {"all fail in the same way", {failed, failed}, {{0, "rank 0 of 2: no room"}}},
      {"the last is killed",
       {lost, lost, killed},
       {{0, "no word of rank 2 of 3 (killed, or it hangs), so the job ends: connection closed"}}},
      {"the first is killed",
       {killed, lost, lost},
       {{1, "no word of rank 0 of 3 (killed, or it hangs), so the job ends: connection closed"}}},
      {"two are killed",
       {killed, lost, killed},
       {{1, "no word of rank 0 of 3 and rank 2 of 3 (killed, or it hangs), so the job ends: connection closed"}}},
      {"all are told to end", {lost, lost}, {{0, "rank 0 of 2: connection closed"}}},
      {"one had finished", {lost, finished}, {{0, "rank 0 of 2: connection closed"}}},
  };
  for (const auto& row : cases) {
    SCOPED_TRACE(row.name);
    const auto said = words_of(row.ends, std::make_shared<MemoryStore>());
    for (std::size_t i = 0; i < said.size(); ++i) {
      EXPECT_EQ(said[i], row.said.contains(i) ? Words(row.said.at(i)) : std::nullopt) << "rank " << i;
    }
  }
}

TEST(FailureReport, WithoutTheStoreEachSpeaksForItself) {
  const auto said = words_of({End::failed, End::lost, End::finished}, std::make_shared<LostStore>());
  EXPECT_EQ(said, (std::vector<Words>{"rank 0 of 3: no room", "rank 1 of 3: connection closed", std::nullopt}));
}

}  // namespace
}  // namespace normtweak
