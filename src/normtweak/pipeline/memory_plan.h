// Memory placement, planned from the sizes in config.json before anything is loaded.
#pragma once
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "normtweak/model/checkpoint.h"
#include "normtweak/model/decoder.h"
#include "normtweak/pipeline/planned_linears.h"
#include "normtweak/pipeline/run_types.h"

namespace normtweak::pipeline {

// Memory available to this process, in bytes. On a CPU the device's memory is the machine's. Processes on one machine
// get an even share of its memory; each has its own GPU.
struct AvailableMemory {
  std::int64_t device = 0;  // at most what --memory says
  std::int64_t host = 0;    // host memory, if the device is a GPU
};
AvailableMemory available_memory(const Compute& compute);

// While a run's float model writes text.
struct WritingMemory {
  bool brings_blocks = false;  // float blocks that the run keeps elsewhere are on the device meanwhile
  std::int64_t workspace = std::numeric_limits<std::int64_t>::max();  // bytes for the cache and the steps
};

// For quantize and tweak.
struct RunMemory {
  model::Residence exact = model::Residence::device;      // float blocks in F32
  model::Residence passes = model::Residence::device;     // float blocks in the compute dtype
  model::Residence quantized = model::Residence::device;  // quantized blocks
  bool widened = false;        // F32 blocks are converted from `passes`, which hold the same values
  std::int64_t workspace = 0;  // bytes left for activations, statistics, caches
  bool keeps_places = false;   // of them, more than the work needs at least is left for what a block's linears read, so
                               // that the passes through its places go on from each other
  WritingMemory writing;       // before the work begins: neither quantized blocks nor hidden states are on the device
  WritingMemory writing_in_training;  // between two passes of the end-to-end tweak, beside all that it keeps
};

struct RunNeeds {
  QuantizedSize quantized = {};
  bool quantized_is_loaded = false;     // tweak: the quantized model has its own embedding and head
  bool rounds_outside = false;          // quantize: its embedding and head are rounded copies, for the final scores
  std::int64_t packed_head_bytes = 0;   // tweak: of the quantized model's head, if it is packed
  std::int64_t calibration_tokens = 0;  // tokens whose hidden states are kept between blocks
  std::int64_t row_tokens = 0;          // of them in a row, the least that a pass takes
  std::int64_t written_row_tokens = 0;  // of a row that the model writes
  bool corrects_drift = false;          // the float model's hidden states are kept as well
  int more_streams = 0;          // further hidden states of the whole text, for the layer-wise tweak or SignRound
  bool transforms = false;       // blocks are transformed, in copies of them
  bool learns_rounding = false;  // SignRound's offsets and gradients, of one block
  bool sweeps = false;           // GPTQ's coordinate descent, which needs a damped copy of the Hessian
  std::int64_t gradient_row_tokens = 0;  // tokens per row if a pass with gradients goes through the model, otherwise 0
  std::int64_t layerwise_tokens = 0;     // tokens per pass with gradients through one block, of the layer-wise tweak or
                                         // learned rounding; otherwise 0
  std::int64_t tuned_floats = 0;         // number of floats that the end-to-end tweak tunes
  std::int64_t learned_code_bytes = 0;   // of the state of all codes that it learns
  std::int64_t step_tokens = 0;          // tokens of a step that learns codes, of which every block's inputs are kept

  bool operator==(const RunNeeds&) const = default;
};

// F32 blocks are needed one at a time, so they stay on a GPU only if they take a small part of its memory and leave
// enough workspace beside them. Blocks in the compute dtype and quantized blocks stay if enough of it is left. In host
// memory the quantized blocks come first, since they have no file to be read from. Throws Error saying what would help
// if not even one block at a time fits, or if quantized blocks must leave the device and do not fit in host memory.
RunMemory plan_run(const model::Checkpoint& floats, const Compute& compute, const RunNeeds& needs,
                   const AvailableMemory& available);

// Whether the blocks' linears are stored in `type`, so that loading them in it is exact.
bool stored_in(const model::Checkpoint& checkpoint, at::ScalarType type);

// For commands that only run models: how to load them so that they all fit together.
model::LoadOptions plan_models(const std::vector<const model::Checkpoint*>& models, const Compute& compute,
                               const AvailableMemory& available);

// The same for a model that writes rows of so many tokens. Each step reads all blocks, so that on a GPU few rows at a
// time with all blocks on it are faster than many with blocks that are brought: less has to be left beside them, but
// room for two rows at least.
model::LoadOptions plan_writing(const model::Checkpoint& checkpoint, const Compute& compute, std::int64_t row_tokens,
                                const AvailableMemory& available);

// One line for the user; empty if everything stays on the device, or where the run's plan says it all.
std::string describe(const RunMemory& memory);
std::string describe(const WritingMemory& memory);
std::string describe(const model::LoadOptions& options);

}  // namespace normtweak::pipeline
