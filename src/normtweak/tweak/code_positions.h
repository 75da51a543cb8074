// Learned codes: each code of a weight gets a position on its grid (code_grid.h), a real number that rounds to the
// code, and training moves the position by the gradient of the loss through the whole model. Rounding passes gradients
// unchanged (straight-through, arXiv 1308.3432), so that with G = dL/dW, dL/d position = scale · G.
// A position may decay toward its start, and only some linears may learn.
//
//     position = point + fraction,   -1/2 <= fraction <= 1/2,   value = (code of the point - zero) * scale + minimum
//
// The step is Adam's, whose second moment is factored as in Adafactor (arXiv 1804.04235). Beside its code (a byte) a
// weight has a fraction in 16-bit fixed point and a momentum in bf16: 4 bytes, whatever the size of the model. Only the
// gradient of one block exists at a time: the backward pass ends each block with a step.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "normtweak/base/processes/processes.h"
#include "normtweak/model/decoder.h"
#include "normtweak/quantize/plan.h"
#include "normtweak/tweak/code_grid.h"

namespace normtweak::tweak {

struct CodeOptions {
  double rate = 2e-3;  // in code steps; the size of Adam's steps
  double beta1 = 0.9, beta2 = 0.95;
  double most_start = 0.45;  // how far from its code a position starts, in code steps
  // Each step also takes this share, times the rate, of the way back to the start: decoupled weight decay
  // (arXiv 1711.05101) toward the float weights instead of 0.
  double decay = 0;
  std::vector<quantize::NamePattern> only = {};  // learned are linears whose names match one of them; empty: all
};

// Whether the codes of the linear with this name are learned.
bool learns(const CodeOptions& options, std::string_view name);

// Bytes per weight that a PositionState holds.
std::int64_t position_bytes(const CodeOptions& options);

// One weight's state, and a step of it. Declared here so that it can be tested.
struct PositionState {
  CodeGrid grid;
  at::Tensor codes;          // u8 [out, in]
  at::Tensor fractions;      // i16 [out, in]: in units of 1/65534 code step
  at::Tensor momentum;       // bf16 [out, in]
  at::Tensor rows, columns;  // f32 [out], [in]: decaying means of G² over columns and over rows
  // Of the start, where positions decay toward it; otherwise undefined.
  at::Tensor first_codes = {}, first_fractions = {};
};

// Without momentum, at the points of the codes + distance. distance: f32 [out, in], in [-1/2, 1/2]. keeps_start: for
// decay.
PositionState start_positions(const at::Tensor& codes, const at::Tensor& distance, CodeGrid grid,
                              bool keeps_start = false);

// The numbers of step t = 1, 2, ...
struct PositionStep {
  double beta1 = 0, beta2 = 0;
  bool decays = false;
  // f32 [3] on the device of the positions: rate / (1 - β1^t), 1 / (1 - β2^t), rate · decay. In a tensor, so that work
  // which a GPU has recorded reads those of each step anew.
  at::Tensor factors;
};
PositionStep position_step(std::int64_t number, double rate, const CodeOptions& options, c10::Device device);

// gradient: from toward_codes(), [out, in] in any float type. Moves the positions by
//     rate (m̂ / √v̂ + decay (position - start)),   m ← β1 m + (1 - β1) G,   v[o, i] = rows[o] columns[i] / mean(rows)
// with m̂ and v̂ as in Adam, and clamps them to half a step beyond the first and the last point. The size of scales is
// left out of the gradient, since it cancels, and so are the gaps of a curve. workspace: bytes for temporaries. finite:
// bool []; becomes false, and no position moves, if a gradient is not finite.
void move_positions(PositionState& state, const at::Tensor& gradient, const PositionStep& step, at::Tensor& finite,
                    std::int64_t workspace);

// The codes of a model's weights that have a code grid. All functions of one block take its index.
class CodePositions {
 public:
  // student: the quantized model, whose own tensors stay as they are; floats: the float model that it was made from, of
  // which this reads the F32 weights, one block at a time. Both must outlive this. Positions start at
  //     point + clamp(position of W - point, ±most_start)
  // Throws Error if the student has no weights with a code grid that are to learn.
  CodePositions(const model::Decoder& student, const model::Decoder& floats, const CodeOptions& options);
  CodePositions(const CodePositions&) = delete;
  CodePositions& operator=(const CodePositions&) = delete;

  // The codes and positions of the start, and no momentum.
  void start_over();

  // `block` with the current codes. frozen: copies, which do not change later.
  model::Block with_codes(model::Block block, bool frozen) const;

  // The learned weights of a block in a pass with gradients: dequantized once, as leaves that get dL/dW.
  struct Leaves {
    std::vector<weights::Weight> weights;  // with the current codes and the tunable floats beside them
    std::vector<at::Tensor> values;        // [out, in] in the compute dtype
  };
  // `block` with the current codes and its learned weights dequantized, which are written to `leaves`.
  model::Block dequantized(model::Block block, Leaves& leaves) const;

  // After a backward pass through such a block: adds dL/dW to what step() will use, and reduces it to the gradients of
  // the floats beside the codes, where these require one.
  void collect(int block, Leaves leaves);

  // Drops what was collected, as after a pass that broke off.
  void drop_collected();

  // Begins the next step of all blocks. factor: of the rate.
  void begin_step(double factor);

  // Moves the block's positions by what was collected, summed over the processes, and drops these; a
  // weight that no token reached has a gradient of 0. Nothing moves by a gradient that is not finite.
  void step(int block, const Processes& processes = {});

  // Whether all gradients were finite since start_over(). Waits for the device.
  bool finite_gradients() const;

  // u8 [out, in] each, block by block: copies in host memory; those of the start are the quantized model's own tensors
  // where all its blocks are on the device.
  std::vector<at::Tensor> codes() const;
  std::vector<at::Tensor> start_codes() const;

  // For scoring: the positions keep their fractions.
  void set_codes(const std::vector<at::Tensor>& codes);

 private:
  // A weight of a block.
  struct Learned {
    std::size_t part = 0;  // index in the block's linears
    PositionState state;
    at::Tensor gradient = {};  // of the rows seen since the last step; undefined: none
  };

  const model::Decoder &student_, &floats_;
  CodeOptions options_;
  std::vector<std::vector<Learned>> blocks_;
  at::Tensor finite_;       // bool []
  std::int64_t steps_ = 0;  // since the start
  PositionStep step_;
};

}  // namespace normtweak::tweak
