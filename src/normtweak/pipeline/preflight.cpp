#include "normtweak/pipeline/preflight.h"

#include <unistd.h>

#include "normtweak/base/error.h"
#include "normtweak/model/decoder.h"

namespace normtweak::pipeline {
namespace fs = std::filesystem;
namespace {

constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;

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
  const auto needed = static_cast<double>(estimated_bytes(checkpoint));
  const auto free = static_cast<double>(fs::space(folder).available);
  if (needed > free) {
    fail("{}: the result takes about {:.1f} GiB and the disk has {:.1f} GiB left; make room or name another output",
         output.string(), needed / kGiB, free / kGiB);
  }
}

void check_memory(std::int64_t bytes, c10::Device device) {
  if (!device.is_cpu()) return;  // the allocator's own error names the sizes
  const double memory = static_cast<double>(::sysconf(_SC_PHYS_PAGES)) * static_cast<double>(::sysconf(_SC_PAGESIZE));
  if (static_cast<double>(bytes) > memory) {
    fail(
        "the run needs about {:.1f} GiB of memory and the machine has {:.1f} GiB; use fewer --samples or --tokens, "
        "or a larger machine",
        static_cast<double>(bytes) / kGiB, memory / kGiB);
  }
}

}  // namespace normtweak::pipeline
