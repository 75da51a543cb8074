// The hyperparameters of a decoder, independent of its family's key names.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

namespace normtweak::model {

enum class NormKind { layer, rms };
enum class Position { rotary, learned };
enum class Activation { silu, gelu, gelu_tanh, relu };
enum class Layout { out_in, in_out };  // how a linear's weight is stored; in_out is GPT-2's Conv1D

// Scaling of the rotary frequencies for contexts longer than in training.
struct RotaryScaling {
  enum class Kind { none, linear, llama3 };
  Kind kind = Kind::none;
  double factor = 1;            // how many times longer the context is
  double low_frequency = 1;     // llama3: wavelengths above original_context / this are divided by `factor`
  double high_frequency = 4;    // llama3: wavelengths below original_context / this stay
  double original_context = 0;  // llama3: tokens
};

struct ModelConfig {
  std::int64_t hidden = 0, layers = 0, heads = 0, key_value_heads = 0, head_size = 0;
  std::int64_t intermediate = 0, vocabulary = 0;
  std::int64_t context = 0;  // tokens; the largest number of positions
  double norm_epsilon = 1e-5;
  Activation activation = Activation::silu;
  double rotary_base = 10000;
  RotaryScaling rotary_scaling;
  bool tied_head = false;  // the head shares the embedding's weight
  bool query_key_value_bias = false, attention_output_bias = false, mlp_bias = false;
  at::ScalarType stored_type = at::kFloat;  // dtype in which readers load the checkpoint's floats
};

}  // namespace normtweak::model
