#include "normtweak/cli/progress_bar.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "normtweak/base/strings/one_line.h"

namespace normtweak::cli {
namespace {

constexpr int kBarWidth = 24;
constexpr std::chrono::milliseconds kRedraw{100}, kNextLine{10'000};

std::string duration(double seconds) {
  const auto whole = static_cast<int>(seconds + 0.5);
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min", whole / 3600, whole / 60 % 60);
}

std::string bar(double share) {
  const auto filled = static_cast<std::size_t>(share * kBarWidth);
  return fmt::format("[{}{}]", std::string(filled, '#'), std::string(kBarWidth - filled, '.'));
}

// "quantize  12/30 blocks  0.4 blocks/s  45 s left  KL 0.21"
std::string describe(const ProgressReport& report, bool with_bar) {
  const double share =
      report.total > 0 ? std::min(1.0, static_cast<double>(report.done) / static_cast<double>(report.total)) : 0;
  auto line = fmt::format("{:<16} ", report.stage);
  if (with_bar) line += bar(share) + " ";
  line += fmt::format("{}/{} {}", report.done, report.total, report.unit);
  if (report.seconds > 0 && report.done > 0) {
    const double rate = static_cast<double>(report.done) / report.seconds;
    line +=
        rate >= 10 ? fmt::format("  {:.0f} {}/s", rate, report.unit) : fmt::format("  {:.2f} {}/s", rate, report.unit);
    line += report.finished
                ? fmt::format("  took {}", duration(report.seconds))
                : fmt::format("  {} left", duration(static_cast<double>(report.total - report.done) / rate));
  }
  if (!report.detail.empty()) line += fmt::format("  {}", report.detail);
  return line;
}

}  // namespace

ProgressBar::ProgressBar() : terminal_(::isatty(STDERR_FILENO) == 1) {}

ProgressBar::~ProgressBar() {
  if (terminal_ && !last_stage_.empty()) std::fputs("\n", stderr);
}

void ProgressBar::report(const ProgressReport& report) {
  const auto now = std::chrono::steady_clock::now();
  const bool begins = report.stage != last_stage_;
  if (!report.finished && !begins && now - last_ < (terminal_ ? kRedraw : kNextLine)) return;
  if (begins && !report.finished && !terminal_) {  // nothing to report yet
    last_ = now;
    last_stage_ = report.stage;
    return;
  }
  last_ = now;
  last_stage_ = report.finished ? "" : report.stage;
  if (terminal_) {
    std::fputs(fmt::format("\r\x1b[K{}{}", describe(report, true), report.finished ? "\n" : "").c_str(), stderr);
  } else {
    std::fputs((describe(report, false) + "\n").c_str(), stderr);
  }
  std::fflush(stderr);
}

void ProgressBar::note(std::string_view line) {
  const auto shown = one_line(line, 2 * kLongestLine);
  std::fputs(fmt::format("{}{}\n", terminal_ ? "\r\x1b[K" : "", shown).c_str(), stderr);
  std::fflush(stderr);
}

}  // namespace normtweak::cli
