#include "normtweak/cli/transform_options.h"

#include <charconv>
#include <optional>

#include "normtweak/base/error.h"
#include "normtweak/cli/choices.h"

namespace normtweak::cli {
namespace {

constexpr std::string_view kSearch = "search";

// nullopt: searched.
std::optional<double> parse_alpha(const std::string& text) {
  if (text == kSearch) return std::nullopt;
  double alpha = 0;
  const auto* end = text.data() + text.size();
  const auto [stop, problem] = std::from_chars(text.data(), end, alpha);
  if (problem != std::errc() || stop != end || !(alpha >= 0 && alpha <= 1)) {
    fail("'{}' is neither a share between 0 and 1 nor {}", text, kSearch);
  }
  return alpha;
}

}  // namespace

void add_transform_options(CLI::App& command, TransformChoice& choice) {
  add_choice(
      command, "--transform", choice.options.name,
      "Moves a factor for each channel from norms (awq: from value and up, too) into the linears that read them, "
      "so that the float model computes the same and quantizes better",
      transform::transforms())
      ->group("Quantize");
  command
      .add_option("--smooth-alpha", choice.alpha,
                  "smoothquant: how much of the outliers moves into the weights, from 0 (even weights) to 1 (even "
                  "activations); search: for each block the one of 0.1 to 0.9 with the least error of its output "
                  "(default: 0.5)")
      ->check(accepted_by([](const std::string& text) { parse_alpha(text); }))
      ->group("Quantize");
  command
      .add_flag("--awq-clip,!--no-awq-clip", choice.options.clip,
                "awq: search the range of each group by the error of the output, where the method does not search "
                "grids itself (default: on)")
      ->group("Quantize");
}

transform::TransformOptions transform_options(const CLI::App& command, const TransformChoice& choice) {
  for (const auto& transform : transform::transforms()) {
    if (transform.option.empty() || transform.name == choice.options.name) continue;
    refuse_unread(command, "without --transform " + std::string(transform.name), {std::string(transform.option)});
  }
  auto options = choice.options;
  if (!choice.alpha.empty()) options.alpha = parse_alpha(choice.alpha);
  return options;
}

Json transform_settings(const transform::TransformOptions& options) {
  Json settings = {{"transform", options.name}};
  const auto& option = transform::find_transform(options.name).option;
  if (option == "--smooth-alpha") settings["smooth-alpha"] = options.alpha ? Json(*options.alpha) : Json(kSearch);
  if (option == "--awq-clip") settings["awq-clip"] = options.clip;
  return settings;
}

}  // namespace normtweak::cli
