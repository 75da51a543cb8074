#include "normtweak/pipeline/preflight.h"

#include <unistd.h>

#include "normtweak/base/error.h"
#include "normtweak/base/memory.h"
#include "normtweak/model/decoder.h"

namespace normtweak::pipeline {
namespace fs = std::filesystem;
namespace {

// The folder, or the nearest one above it that exists.
fs::path existing_ancestor(fs::path path) {
  path = fs::absolute(path);
  while (!fs::exists(path) && path.has_relative_path()) path = path.parent_path();
  return path;
}

}  // namespace

void check_plan_for_model(const quantize::QuantizationPlan& plan, const model::Checkpoint& checkpoint) {
  bool any = false;
  for (int block = 0; block < checkpoint.numbers.layers; ++block) {
    for (const auto& linear : linear_shapes(checkpoint, block)) {
      const auto linear_plan = plan.plan_for(linear.name);
      if (!linear_plan) continue;
      quantize::check_plan(*linear_plan, {linear.out, linear.in}, linear.name);
      any = true;
    }
  }
  if (!any) fail("{}: the rules skip every linear, so there is nothing to quantize", checkpoint.path);
}

void check_output(const fs::path& output, const model::Checkpoint& checkpoint) {
  if (fs::exists(output) && !fs::is_directory(output)) {
    fail("{}: exists and is not a folder; name another output", output.string());
  }
  const auto folder = existing_ancestor(output);
  if (::access(folder.c_str(), W_OK) != 0) fail("{}: cannot be written; name another output", folder.string());
  const auto needed = estimated_bytes(checkpoint), free = static_cast<std::int64_t>(fs::space(folder).available);
  if (needed > free) {
    fail("{}: the result takes about {} and the disk has {} left; make room or name another output", output.string(),
         bytes_text(needed), bytes_text(free));
  }
}

}  // namespace normtweak::pipeline
