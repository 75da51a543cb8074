// What lives where, decided from the sizes in config.json before anything is loaded.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "normtweak/model/checkpoint.h"
#include "normtweak/model/decoder.h"
#include "normtweak/pipeline/run_types.h"

namespace normtweak::pipeline {

// What there is for this process, in bytes. On a CPU the device's memory is the machine's. Processes of one machine
// have an even share each of its memory; each has a GPU to itself.
struct AvailableMemory {
  std::int64_t device = 0;  // at most what --memory says
  std::int64_t host = 0;    // beside a GPU
};
AvailableMemory available_memory(const Compute& compute);

// For quantize and tweak.
struct RunMemory {
  model::Residence exact = model::Residence::device;      // float blocks in F32
  model::Residence passes = model::Residence::device;     // float blocks in the type of products
  model::Residence quantized = model::Residence::device;  // quantized blocks
  bool widened = false;        // exact blocks are made from those of the passes, which hold the same values
  std::int64_t workspace = 0;  // what is left for activations, statistics, caches
};

struct RunNeeds {
  double quantized_bytes = 1.25;        // of a weight in memory: a byte for its code, and its share of scale and zero
  bool quantized_is_loaded = false;     // tweak: the quantized model has an embedding and a head of its own
  std::int64_t calibration_tokens = 0;  // whose hidden states pass from block to block
  bool corrects_drift = false;          // those of the float model pass beside them
  bool sweeps = false;                  // GPTQ's codes are chosen again, for which the Hessian is damped in a copy
  std::int64_t weighed_row_tokens = 0;  // of a row, where tokens are weighed by a pass with gradients; 0: they are not
  std::int64_t tuned_floats = 0;        // that the end-to-end tweak moves
};

// F32 blocks are needed one at a time, so that they stay on a GPU only where they take a small part of it. Those of the
// passes and the quantized ones stay where room for the work is left; in host memory the quantized ones come first, for
// they have no file to be read from. Throws Error saying what would help if not even one block at a time fits, or if
// the host has no room for quantized blocks that must leave the device.
RunMemory plan_run(const model::Checkpoint& floats, const Compute& compute, const RunNeeds& needs,
                   const AvailableMemory& available);

// Bytes of a weight of `checkpoint` in memory, where products take `type`.
double weight_bytes(const model::Checkpoint& checkpoint, at::ScalarType type);

// Whether the blocks' linears are stored in `type`, so that loading them in it loses nothing.
bool stored_in(const model::Checkpoint& checkpoint, at::ScalarType type);

// For commands that only run models: how to load them so that all of them fit together.
model::LoadOptions plan_models(const std::vector<const model::Checkpoint*>& models, const Compute& compute,
                               const AvailableMemory& available);

// One line for the user, or nothing where everything stays on the device.
std::string describe(const RunMemory& memory);
std::string describe(const model::LoadOptions& options);

}  // namespace normtweak::pipeline
