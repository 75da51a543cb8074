// Norm Tweaking, layer by layer (arXiv 2309.02784, Algorithm 1): after a block is quantized, its norms are tuned so
// that the distribution of its output matches the float block's. Everything else is frozen.
#pragma once
#include <ATen/core/Tensor.h>

#include <string>

#include "normtweak/calibrate/token_batch.h"
#include "normtweak/model/block.h"

namespace normtweak::tweak {

struct LayerwiseOptions {
  std::string loss = "dist";  // a row of objectives()
  double rate = 1e-5;         // lr0: block i of L learns with lr0 * (1 + rate_growth * i / L), i from 0
  double rate_growth = 1.0;
  std::int64_t passes = 1;         // epochs over the samples
  std::int64_t rows_per_step = 1;  // samples in one Adam step
  bool final_norm = false;         // also the norm after the last block, toward the float model's own stream
  bool float_stream = false;       // target: the float block on the float model's stream, not on the quantized one's
};

// Whether the run needs the float model's own stream beside the quantized one.
inline bool wants_float_stream(const LayerwiseOptions& options) { return options.float_stream || options.final_norm; }

struct LayerwiseReport {
  double loss_before = 0, loss_after = 0;  // over the first four samples, before the first and after the last step
};

// inputs, targets: f32 [samples, tokens, hidden]; mask: bool [samples, tokens] or undefined.
// Returns `block` with its norms tweaked and rounded to `stored`, the dtype in which they are stored and loaded. The
// Adam state is reset for each block. Throws Error if a loss or a gradient is not finite.
model::Block tweak_block(const model::Block& block, const model::BlockContext& context, int layers,
                         const at::Tensor& inputs, const at::Tensor& targets, const at::Tensor& mask,
                         const LayerwiseOptions& options, at::ScalarType stored, LayerwiseReport* report);

// The same for the norm after the last block. layers: the number of preceding blocks, for the learning rate.
model::Norm tweak_final_norm(const model::Norm& norm, int layers, const at::Tensor& inputs, const at::Tensor& targets,
                             const at::Tensor& mask, const LayerwiseOptions& options, at::ScalarType stored,
                             LayerwiseReport* report);

}  // namespace normtweak::tweak
