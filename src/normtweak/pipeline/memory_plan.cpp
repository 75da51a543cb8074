#include "normtweak/pipeline/memory_plan.h"

#include <algorithm>

#include "normtweak/base/device/memory.h"
#include "normtweak/base/error.h"
#include "normtweak/model/activations.h"
#include "normtweak/pipeline/place_inputs.h"

namespace normtweak::pipeline {
namespace {

using model::Residence;

// The rest is lost to allocator fragmentation and library workspaces.
constexpr double kUsable = 0.92;
// F32 blocks, which are needed one at a time, stay on a GPU only if they take at most 1/kExactShare of its memory.
constexpr std::int64_t kExactShare = 8;
// 1/kWorkShare of a GPU's memory is reserved for workspace before weights are placed.
constexpr std::int64_t kWorkShare = 4;
// The same where a model only writes text on a GPU: there a step reads blocks at least that many times as fast as they
// are brought from host memory (1 TB/s and more; at most 55 GB/s), and the rows of a batch are in proportion to what is
// left.
constexpr std::int64_t kWritingShare = 16;
// Blocks planned for per streamed store. It holds two at most, the one in use and the next (model/block_streamer.h);
// the third is a margin.
constexpr std::int64_t kStreamedBlocks = 3;
// Memory of the end-to-end tweak per tuned float, in F32: start, unit, change, gradient and value (5); Adam's two
// moments, later replaced by the candidates best, last, leader, the best change and the one being scored (5);
// temporaries of a rounding (2).
constexpr std::int64_t kTunedBytes = std::int64_t{5 + 5 + 2} * 4;

struct Sizes {                      // in weights
  std::int64_t all = 0, block = 0;  // of the blocks' linears; of the largest block
  std::int64_t outside = 0;         // embedding and head
  std::int64_t widest = 0;          // input columns of a linear
  std::int64_t widest_of_expert = 0;
};

Sizes sizes_of(const model::Checkpoint& checkpoint) {
  const auto& config = checkpoint.numbers;
  Sizes sizes;
  for (int block = 0; block < config.layers; ++block) {
    std::int64_t weights = 0;
    for (const auto& linear : linear_shapes(checkpoint, block)) {
      weights += linear.out * linear.in;
      auto& widest = linear.expert < 0 ? sizes.widest : sizes.widest_of_expert;
      widest = std::max(widest, linear.in);
    }
    sizes.all += weights;
    sizes.block = std::max(sizes.block, weights);
  }
  const auto& family = *checkpoint.family;
  for (const auto& [name, rows, columns] : table_shapes(family, config)) {
    sizes.outside += size_of(rows, config) * size_of(columns, config);
  }
  if (!config.tied_head) sizes.outside += config.vocabulary * config.embedding;
  return sizes;
}

std::int64_t scaled(std::int64_t count, double factor) {
  return static_cast<std::int64_t>(static_cast<double>(count) * factor);
}

std::int64_t element(at::ScalarType type) { return static_cast<std::int64_t>(c10::elementSize(type)); }

std::int64_t blocks_bytes(const Sizes& sizes, const QuantizedSize& weight, Residence residence) {
  return residence == Residence::device ? scaled(sizes.all, weight.mean)
                                        : scaled(kStreamedBlocks * sizes.block, weight.largest);
}
std::int64_t blocks_bytes(const Sizes& sizes, double weight, Residence residence) {
  return blocks_bytes(sizes, QuantizedSize{weight, weight, weight}, residence);
}

// Reserves `bytes` of host memory for blocks that do not stay on the device, or leaves the blocks in their file.
Residence off_device(const Compute& compute, std::int64_t bytes, std::int64_t& host) {
  if (compute.device.is_cpu() || bytes > host) return Residence::file;
  host -= bytes;
  return Residence::host;
}

// Minimum workspace of the block-by-block run: the hidden stream, one row within a block in F32, the F32 block with the
// quantizer's temporaries, and a Hessian with its F64 factor. Drift correction adds the float model's stream, and
// Hessian, drift and factor for each half of the text and for the whole. Sweeps add the
// damped Hessian and a mask of its size. A transform adds the block folded, clipped or as one that is tried, in the
// compute dtype and with codes: at most 16 bytes per weight. Learned rounding adds offsets, the best ones, dequantized
// weights and their gradients, in F32.
std::int64_t least_over_blocks(const Sizes& sizes, const model::ModelConfig& config, const Compute& compute,
                               const RunNeeds& needs) {
  const auto streams = (needs.corrects_drift ? 2 : 1) + needs.more_streams;
  const auto square = (needs.corrects_drift ? 44 : 20) + (needs.sweeps ? 5 : 0);
  const auto row = std::max(needs.row_tokens * pass_bytes(config, compute.device, at::kFloat),
                            needs.layerwise_tokens * graph_bytes(config, compute.device, compute.type));
  const auto of_block = 12 + (needs.transforms ? 16 : 0) + (needs.learns_rounding ? 16 : 0);
  // The experts' Hessians are summed up in the same passes, without drift.
  const auto experts = config.experts * 4 * sizes.widest_of_expert * sizes.widest_of_expert;
  return streams * needs.calibration_tokens * config.hidden * 4 + row + sizes.block * of_block +
         square * sizes.widest * sizes.widest + (needs.corrects_drift ? 2 : 1) * experts;
}

// Token weights are computed before that run, and the end-to-end tweak comes after it: if need be one row at a time, in
// three quarters of the workspace. Where codes are learned, the blocks' inputs of a step's other rows are kept as well.
std::int64_t least_work(const Sizes& sizes, const model::ModelConfig& config, const Compute& compute,
                        const RunNeeds& needs) {
  const auto others = std::max<std::int64_t>(0, needs.step_tokens - needs.gradient_row_tokens);
  const auto row = rerun_bytes(config, compute.device, compute.type, needs.gradient_row_tokens) +
                   others * config.layers * config.hidden * 4;
  return std::max(least_over_blocks(sizes, config, compute, needs), row / 3 * 4);
}

// Memory of which the plan may use so much. Rounded up, a --memory of the size that is shown will do.
std::string memory_with(std::int64_t usable, bool rounds_up) {
  constexpr std::int64_t kKiB = 1 << 10, kMiB = kKiB << 10, kGiB = kMiB << 10;
  const auto bytes = scaled(usable, 1 / kUsable);
  const auto shown = bytes >= kGiB ? kGiB / 10 : bytes >= kMiB ? kMiB : kKiB;
  return bytes_text((bytes / shown + (rounds_up ? 1 : 0)) * shown);
}

// A larger --memory helps only where that is the limit, and not what other programs leave.
std::string advice(const Compute& compute, const AvailableMemory& available) {
  const bool limited = compute.memory > 0 && available.device >= scaled(compute.memory, kUsable);
  return fmt::format("use fewer or shorter rows of text (--samples, --tokens), {}",
                     limited ? "or a larger --memory" : "or a larger machine");
}

// Bytes of the device that models leave which are only run.
std::int64_t left_by(const std::vector<const model::Checkpoint*>& models, const Compute& compute, std::int64_t device,
                     Residence residence) {
  for (const auto* checkpoint : models) {
    const auto sizes = sizes_of(*checkpoint);
    device -= sizes.outside * element(compute.type) + packed_head_bytes(*checkpoint) +
              blocks_bytes(sizes, size_in_memory(*checkpoint, compute.type), residence);
  }
  return device;
}

// With their blocks on the device if they leave `wanted` bytes there.
model::LoadOptions place_models(const std::vector<const model::Checkpoint*>& models, const Compute& compute,
                                const AvailableMemory& available, std::int64_t wanted) {
  model::LoadOptions options = {.device = compute.device, .type = compute.type};
  if (left_by(models, compute, available.device, Residence::device) < wanted) {
    std::int64_t blocks = 0;
    for (const auto* checkpoint : models) {
      blocks += scaled(sizes_of(*checkpoint).all, size_in_memory(*checkpoint, compute.type).on_host);
    }
    auto host = available.host;
    options.residence = off_device(compute, blocks, host);
  }
  options.workspace = left_by(models, compute, available.device, options.residence);
  if (options.workspace <= 0) {
    fail("the model needs about {} of memory even one block at a time, and there are {}",
         memory_with(available.device - options.workspace, /*rounds_up=*/true),
         memory_with(available.device, /*rounds_up=*/false));
  }
  return options;
}

// Bytes to be left beside blocks that are all on the device.
std::int64_t wanted_to_write(const model::Checkpoint& checkpoint, const Compute& compute, std::int64_t row_tokens,
                             std::int64_t device) {
  const auto share = compute.device.is_cpu() ? kWorkShare : kWritingShare;
  const auto row = model::writing_bytes(checkpoint.numbers, compute.device, compute.type, row_tokens);
  return std::max(device / share, 2 * row);
}

// Beside the float model in the compute dtype, the device then holds what is loaded of the F32 model and, for tweak, of
// the quantized one; blocks that are streamed have not been used yet.
WritingMemory writing_in_run(const model::Checkpoint& floats, const Sizes& sizes, const Compute& compute,
                             const RunNeeds& needs, const RunMemory& plan, const AvailableMemory& available) {
  const bool short_passes = compute.type != at::kFloat;
  const auto on_device = [](Residence residence, std::int64_t bytes) {
    return residence == Residence::device ? bytes : 0;
  };
  std::int64_t beside = short_passes ? sizes.outside * 4 + on_device(plan.exact, sizes.all * 4) : 0;
  if (needs.quantized_is_loaded) {
    beside += sizes.outside * (4 + (short_passes ? element(compute.type) : 0)) + needs.packed_head_bytes +
              on_device(plan.quantized, blocks_bytes(sizes, needs.quantized, Residence::device));
  }
  const AvailableMemory left = {available.device - beside, available.host};
  if (plan.passes == Residence::device) return {false, left_by({&floats}, compute, left.device, plan.passes)};
  const auto alone = plan_writing(floats, compute, needs.written_row_tokens, left);
  return {alone.residence == Residence::device, alone.workspace};
}

// What the float blocks take more if they are all on the device comes from the workspace, of which the float model's
// states on the text take a part (TeacherStates).
WritingMemory writing_in_training(const model::Checkpoint& floats, const Sizes& sizes, const Compute& compute,
                                  const RunNeeds& needs, const RunMemory& plan, std::int64_t device) {
  const auto states = compute.device.is_cpu() ? device / 4 : plan.workspace / 8;
  const auto left = std::max<std::int64_t>(0, plan.workspace - states);
  const auto weight = static_cast<double>(element(compute.type));
  const auto more = blocks_bytes(sizes, weight, Residence::device) - blocks_bytes(sizes, weight, plan.passes);
  const auto wanted = wanted_to_write(floats, compute, needs.written_row_tokens, device);
  const bool brings = plan.passes != Residence::device && left - more >= wanted;
  return {brings, brings ? left - more : left};
}

[[noreturn]] void refuse_quantized(const Compute& compute, const AvailableMemory& available, std::int64_t bytes,
                                   std::int64_t host) {
  fail("the work leaves no room for the quantized blocks, which need {} of host memory to be free, and {} are; {}",
       bytes_text(scaled(bytes, 1 / kHostShare)), bytes_text(scaled(host, 1 / kHostShare)), advice(compute, available));
}

}  // namespace

AvailableMemory available_memory(const Compute& compute) {
  const auto processes = compute.processes.on_machine();
  auto device = normtweak::available_memory(compute.device);
  if (compute.device.is_cpu()) device /= processes;
  if (compute.memory > 0) device = std::min(device, compute.memory);
  return {scaled(device, kUsable), scaled(available_host_memory() / processes, kHostShare)};
}

bool stored_in(const model::Checkpoint& checkpoint, at::ScalarType type) {
  for (int block = 0; block < checkpoint.numbers.layers; ++block) {
    for (const auto& linear : linear_shapes(checkpoint, block)) {
      const auto name = stored_name(checkpoint, linear.name + ".weight");
      if (!checkpoint.tensors->contains(name) || checkpoint.tensors->info(name).type != type) return false;
    }
  }
  return true;
}

RunMemory plan_run(const model::Checkpoint& floats, const Compute& compute, const RunNeeds& needs,
                   const AvailableMemory& available) {
  const auto sizes = sizes_of(floats);
  const bool gpu = !compute.device.is_cpu(), short_passes = compute.type != at::kFloat;
  const auto passes_bytes = static_cast<double>(element(compute.type));
  const auto outside =
      sizes.outside * ((4 + (short_passes ? element(compute.type) : 0)) * (needs.quantized_is_loaded ? 2 : 1) +
                       (needs.rounds_outside ? 4 : 0)) +
      needs.packed_head_bytes;
  const auto least = least_work(sizes, floats.numbers, compute, needs);
  const auto wanted = std::max(gpu ? available.device / kWorkShare : 0, least + least / 2);
  auto host = available.host;

  RunMemory plan;
  const auto left = [&] {
    return available.device - outside - blocks_bytes(sizes, passes_bytes, plan.passes) -
           blocks_bytes(sizes, needs.quantized, plan.quantized) -
           (short_passes ? blocks_bytes(sizes, 4, plan.exact) : 0) - needs.tuned_floats * kTunedBytes -
           needs.learned_code_bytes;
  };
  const bool small = blocks_bytes(sizes, 4, Residence::device) <= available.device / kExactShare;
  if (short_passes && ((gpu && !small) || left() < wanted)) plan.exact = Residence::file;
  if (left() < wanted) plan.passes = Residence::file;
  if (gpu && left() < wanted) {
    const auto bytes = scaled(sizes.all, needs.quantized.on_host);
    if (bytes <= host) {
      plan.quantized = Residence::host;
      host -= bytes;
    } else if (left() < least) {
      refuse_quantized(compute, available, bytes, host);
    }
  }
  if (plan.passes == Residence::file) plan.passes = off_device(compute, scaled(sizes.all, passes_bytes), host);
  if (!short_passes) {
    plan.exact = plan.passes;
  } else if (plan.exact == Residence::file) {
    plan.widened = stored_in(floats, compute.type);
    if (!plan.widened) plan.exact = off_device(compute, sizes.all * 4, host);
  }
  plan.workspace = left();
  if (plan.workspace < least) {
    fail("the run needs about {} of memory even one block at a time, and there are {}; {}",
         memory_with(available.device - plan.workspace + least, /*rounds_up=*/true),
         memory_with(available.device, /*rounds_up=*/false), advice(compute, available));
  }
  const auto kept =
      (needs.corrects_drift ? 2 : 1) * needs.calibration_tokens * reached_bytes(floats.numbers, compute.type);
  plan.keeps_places = plan.workspace / 2 - least >= kept;  // passes take up to the other half
  plan.writing = writing_in_run(floats, sizes, compute, needs, plan, available);
  plan.writing_in_training = writing_in_training(floats, sizes, compute, needs, plan, available.device);
  return plan;
}

model::LoadOptions plan_models(const std::vector<const model::Checkpoint*>& models, const Compute& compute,
                               const AvailableMemory& available) {
  return place_models(models, compute, available, available.device / kWorkShare);
}

model::LoadOptions plan_writing(const model::Checkpoint& checkpoint, const Compute& compute, std::int64_t row_tokens,
                                const AvailableMemory& available) {
  return place_models({&checkpoint}, compute, available,
                      wanted_to_write(checkpoint, compute, row_tokens, available.device));
}

namespace {

std::string_view where(Residence residence) {
  switch (residence) {
    case Residence::device:
      return "on the device";
    case Residence::host:
      return "in host memory";
    case Residence::file:
      return "read from the file";
  }
  return "";
}

}  // namespace

std::string describe(const RunMemory& memory) {
  if (memory.passes == Residence::device && memory.quantized == Residence::device) return "";
  return fmt::format("memory: float blocks {}, quantized ones {}; {} for the work", where(memory.passes),
                     where(memory.quantized), bytes_text(memory.workspace));
}

std::string describe(const WritingMemory& memory) {
  if (!memory.brings_blocks) return "";
  return fmt::format("memory: while the text is written, all float blocks are on the device; {} for its rows",
                     bytes_text(memory.workspace));
}

std::string describe(const model::LoadOptions& options) {
  if (options.residence == Residence::device) return "";
  return fmt::format("memory: the blocks do not fit together; they are {} and brought one by one, which is slow",
                     where(options.residence));
}

}  // namespace normtweak::pipeline
