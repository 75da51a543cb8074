// The hyperparameters of a decoder, independent of its family's key names.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace normtweak::model {

enum class NormKind { none, layer, rms };  // none: the identity, in the place of a norm that a model lacks
enum class Position { rotary, learned, alibi };
enum class Activation { silu, gelu, gelu_tanh, relu };
enum class Layout { out_in, in_out };  // how a linear's weight is stored; in_out is GPT-2's Conv1D

// How the two halves of a block, attention and MLP, meet the residual stream x.
enum class Topology {
  pre_norm,     // x + attention(norm(x)), then x + mlp(norm(x))
  parallel,     // x + attention(norm(x)) + mlp(norm'(x)), with one norm or two
  sandwich,     // x + norm'(attention(norm(x))), then the MLP likewise
  output_norm,  // x + norm'(attention(x)), then the MLP likewise
  post_norm,    // norm'(x + attention(x)), then the MLP likewise
};

// The rows of a linear for query, key and value together.
enum class RowOrder {
  parts,   // all rows of the query, then those of the key, then those of the value
  groups,  // for each key-value head: the query heads that share it, then its key, then its value
};

// What one vector of weights of a query or key norm applies to.
enum class HeadNorm {
  each,  // each head, with the same weights
  own,   // each head, with weights of its own
  all,   // all heads together
};

// Scaling of the rotary frequencies for contexts longer than in training.
struct RotaryScaling {
  enum class Kind { none, linear, dynamic, llama3, yarn, longrope };
  Kind kind = Kind::none;
  double factor = 1;            // how many times longer the context is
  double low_frequency = 1;     // llama3: wavelengths above original_context / this are divided by `factor`
  double high_frequency = 4;    // llama3: wavelengths below original_context / this stay
  double original_context = 0;  // in tokens; of all kinds but linear
  double beta_fast = 32;        // yarn: frequencies that turn more often in the original context stay
  double beta_slow = 1;         // yarn: those that turn more rarely are divided by `factor`
  bool truncate = true;         // yarn: whether the bounds in between are rounded to whole channels
  double attention_factor = 1;  // yarn, longrope: multiplies cosines and sines
  std::vector<double> short_factors, long_factors;  // longrope: divisors of each frequency, up to and beyond the
                                                    // original context
};

struct Rotary {
  std::int64_t size = 0;     // the channels of a head that are rotated; even
  bool interleaved = false;  // channel 2i is paired with 2i + 1, and not i with i + size / 2
  double base = 10000;
  RotaryScaling scaling = {};
};

// What differs from block to block.
struct LayerFacts {
  std::int64_t window = 0;  // tokens that a token attends to, itself included; 0: all before it
  int rotary = -1;          // which of the config's rotary settings; -1: none
  bool experts = false;     // a mixture of experts in the place of the MLP
};

struct ModelConfig {
  std::int64_t hidden = 0, layers = 0, heads = 0, key_value_heads = 0, head_size = 0;
  std::int64_t intermediate = 0, vocabulary = 0;
  std::int64_t context = 0;          // tokens; the largest number of positions
  std::int64_t position_offset = 0;  // rows of the learned positions before that of the first token
  std::int64_t embedding = 0;        // columns of embedding and head; with `hidden`, they are projected
  double norm_epsilon = 1e-5;
  Activation activation = Activation::silu;
  Topology topology = Topology::pre_norm;
  RowOrder query_key_value_order = RowOrder::parts;
  bool tied_head = false;  // the head shares the embedding's weight
  bool query_key_value_bias = false, attention_output_bias = false, mlp_bias = false, head_bias = false;
  bool norm_bias = false;          // LayerNorm's
  bool query_key_norms = false;    // queries and keys are normalised
  bool residual_of_norms = false;  // pre_norm: the stream is what the norms make of it, not what they read
  bool final_norm = true;
  bool two_norms = false;               // parallel: the MLP reads a norm of its own
  HeadNorm head_norm = HeadNorm::each;  // of the query and key norms

  double attention_scale = 0;       // of the products of queries and keys; set by read_config
  double attention_cap = 0;         // c: scores s become c tanh(s / c); 0: none
  double query_key_value_clip = 0;  // queries, keys and values are clamped to ± this; 0: not
  double alibi_largest = 0;         // the exponent of the steepest head's slope; 0: no such bias
  double alibi_scale = 1;           // of that bias
  bool alibi_in_bf16 = false;       // it is rounded to bf16
  bool alibi_odd_first = false;     // the order of the slopes if the number of heads is no power of two: MPT's
  double embedding_scale = 1, residual_scale = 1;  // residual: of what is added to the stream
  double logit_scale = 1;
  double logit_cap = 0;  // as attention_cap

  std::int64_t experts = 0, experts_per_token = 0, expert_intermediate = 0;
  bool normalized_experts = true;  // the shares of a token's experts sum to 1

  std::vector<Rotary> rotary;
  std::vector<LayerFacts> layer_facts;      // one per block
  at::ScalarType stored_type = at::kFloat;  // dtype in which readers load the checkpoint's floats
};

}  // namespace normtweak::model
