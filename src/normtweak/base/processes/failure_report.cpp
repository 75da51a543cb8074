#include "normtweak/base/processes/failure_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <thread>
#include <vector>

namespace normtweak {
namespace {

// A live process detects the loss of another one, or is terminated by torchrun, well within this time.
constexpr std::chrono::milliseconds kPatience{2000}, kPause{50};

const std::string kFailed = "failed";

std::string accounted_for(int rank) { return fmt::format("accounted for {}", rank); }

}  // namespace

FailureReport::FailureReport(std::shared_ptr<KeyStore> store, int rank, int size)
    : store_(std::move(store)), rank_(rank), size_(size) {}

std::string FailureReport::name(int rank) const { return fmt::format("rank {} of {}", rank, size_); }

std::optional<std::string> FailureReport::of_failure(const std::string& message) {
  try {
    if (!store_->is_first_to_put(kFailed)) return std::nullopt;
  } catch (const std::exception&) {  // then it is unknown which process failed first
  }
  return fmt::format("{}: {}", name(rank_), message);
}

std::optional<std::string> FailureReport::of_loss(const std::string& message) {
  try {
    store_->is_first_to_put(accounted_for(rank_));
    std::vector<std::string> missing;
    int speaker = rank_;
    const auto end = std::chrono::steady_clock::now() + kPatience;
    do {
      if (store_->has(kFailed)) return std::nullopt;
      missing.clear();
      speaker = size_;
      for (int rank = 0; rank < size_; ++rank) {
        if (store_->has(accounted_for(rank))) {
          speaker = std::min(speaker, rank);
        } else {
          missing.push_back(name(rank));
        }
      }
      if (missing.empty()) break;
      std::this_thread::sleep_for(kPause);
    } while (std::chrono::steady_clock::now() < end);
    if (speaker != rank_) return std::nullopt;
    if (!missing.empty()) {
      return fmt::format("no word of {} (killed, or it hangs), so the job ends: {}", fmt::join(missing, " and "),
                         message);
    }
  } catch (const std::exception&) {  // the store is unreachable: each process reports for itself
  }
  return fmt::format("{}: {}", name(rank_), message);
}

void FailureReport::finished() {
  try {
    store_->is_first_to_put(accounted_for(rank_));
  } catch (const std::exception&) {  // no process is left to look for the note
  }
}

}  // namespace normtweak
