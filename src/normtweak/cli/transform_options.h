// Options of the transform before quantization.
#pragma once
#include <CLI/CLI.hpp>
#include <string>

#include "normtweak/base/json/json.h"
#include "normtweak/transform/transforms.h"

namespace normtweak::cli {

struct TransformChoice {
  transform::TransformOptions options;
  std::string alpha;  // as given; empty: not
};

// Adds --transform and the options of its rows. choice must outlive the command.
void add_transform_options(CLI::App& command, TransformChoice& choice);

// The options, checked against each other. Throws UsageError for one that the transform does not read.
transform::TransformOptions transform_options(const CLI::App& command, const TransformChoice& choice);

// As a saved plan has them: the options that the transform reads.
Json transform_settings(const transform::TransformOptions& options);

}  // namespace normtweak::cli
