// What linears read, from a pass through a block.
#pragma once
#include <cstdint>
#include <map>
#include <optional>

#include "normtweak/model/block.h"

namespace normtweak::pipeline {

// What a pass through the block shows at the places of a kind, before their linears; it ends there. hidden: f32
// [samples, tokens, hidden]. from: where it begins, if an earlier pass of these rows saw a place before that kind, and
// the block has not changed before it; null: at the block's input. output: if given, the pass goes on to the block's
// end, and what leaves it is put there.
std::map<model::Place, model::Seen> inputs_at(model::PlaceKind kind, const model::Block& block,
                                              const at::Tensor& hidden, model::BlockContext context,
                                              const model::Seen* from = nullptr, at::Tensor* output = nullptr);

// The last place but those of mlp_down that passes of the same rows saw, by their first row; with its input and stream.
using ReachedPlaces = std::map<std::int64_t, model::Seen>;

// Bytes of those of a token: the stream in F32, and the widest input.
std::int64_t reached_bytes(const model::ModelConfig& config, at::ScalarType type);

// The weights of the tokens that `seen` has. of_rows: those of the rows that passed, [rows, tokens]; undefined: all
// tokens count alike, and nullopt is returned.
std::optional<at::Tensor> weights_at(const model::Seen& seen, const at::Tensor& of_rows);

}  // namespace normtweak::pipeline
