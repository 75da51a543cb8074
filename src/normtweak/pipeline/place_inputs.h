// What linears read, from a pass through a block.
#pragma once
#include <map>
#include <optional>

#include "normtweak/model/block.h"

namespace normtweak::pipeline {

// What a pass through the block shows at the places of a kind, before their linears; it ends there. hidden: f32
// [samples, tokens, hidden].
std::map<model::Place, model::Seen> inputs_at(model::PlaceKind kind, const model::Block& block,
                                              const at::Tensor& hidden, model::BlockContext context);

// The weights of the tokens that `seen` has. of_rows: those of the rows that passed, [rows, tokens]; undefined: all
// tokens count alike, and nullopt is returned.
std::optional<at::Tensor> weights_at(const model::Seen& seen, const at::Tensor& of_rows);

}  // namespace normtweak::pipeline
