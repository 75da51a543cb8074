// Whether the program that is to serve a result opens it, known before the work starts.
#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/formats/readers.h"
#include "normtweak/model/checkpoint.h"
#include "normtweak/pipeline/run_types.h"

namespace normtweak::pipeline {

struct Server {
  std::string_view name, description;
  std::string_view program;  // formats::Reader's
};
std::span<const Server> servers();

// Throws Error saying why `options.served_by` does not open the result, and which settings it does open. readers: of
// the result with `plan`.
void check_served(const QuantizeOptions& options, const quantize::QuantizationPlan& plan,
                  const model::Checkpoint& checkpoint, const std::vector<formats::Reader>& readers);

// What is to be said of a result that `options.served_by` opens: vLLM (0.32) computes some models in another dtype than
// that of the config, in which they are judged here. Empty: nothing.
std::string note_on_served(const QuantizeOptions& options, const model::Checkpoint& checkpoint);

}  // namespace normtweak::pipeline
