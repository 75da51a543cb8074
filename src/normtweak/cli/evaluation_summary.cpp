#include "normtweak/cli/evaluation_summary.h"

#include <fmt/format.h>

#include "normtweak/base/strings/wording.h"

namespace normtweak::cli {
namespace {

using evaluate::Figure, evaluate::kReference;

// "block 3" of "block 3 mse"; empty if the figure is not of a block.
std::string_view block_of(const Figure& figure) {
  const std::string_view metric = figure.metric;
  return metric.starts_with("block ") ? metric.substr(0, metric.rfind(' ')) : std::string_view();
}

std::string shown(const Figure& one) {
  const auto name = std::string_view(one.metric).substr(block_of(one).empty() ? 0 : block_of(one).size() + 1);
  const bool share = name.starts_with("acc") || name == "top1_agreement";
  auto text = share ? fmt::format("{} {:.2f}%", name, 100 * one.value) : fmt::format("{} {}", name, figure(one.value));
  if (one.error > 0) text += share ? fmt::format(" ± {:.2f}", 100 * one.error) : " ± " + figure(one.error);
  return text;
}

// Of the figures that stand together.
std::string heading(const Figure& figure) {
  const auto block = block_of(figure);
  const auto whose = figure.model == kReference ? " (reference)" : "";
  if (!block.empty()) return fmt::format("{} {}, {}{}: ", figure.task, figure.text, block, whose);
  return fmt::format("{} {}{}: ", figure.task, figure.text, whose);
}

}  // namespace

std::string evaluation_summary(const pipeline::EvaluationResult& result) {
  std::string lines, last;
  for (const auto& task : result.tasks) {
    for (const auto& figure : task.result.figures) {
      const auto head = heading(figure);
      if (head != last) lines += (lines.empty() ? "" : "\n") + head;
      lines += (head == last ? "   " : "") + shown(figure);
      last = head;
    }
  }
  return lines + "\n";
}

}  // namespace normtweak::cli
