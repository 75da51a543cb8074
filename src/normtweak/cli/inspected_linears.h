// What `inspect` finds out about the linears of a model.
#pragma once
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/base/json/json.h"
#include "normtweak/base/progress.h"
#include "normtweak/model/checkpoint.h"

namespace normtweak::cli {

struct InspectedLinear {
  std::string name, part;  // "model.layers.3.mlp.up_proj", and "mlp.up_proj"
  int block = -1;          // -1: the head
  std::string kind;        // "4 bits, groups of 64, symmetric; inputs 8 bits, dynamic per token", "Q4_K", "float"
  std::int64_t weights = 0, bytes = 0;  // bytes: in the file, all tensors of it
  double bits_per_weight = 0;
};

struct InspectedLinears {
  std::vector<InspectedLinear> all;
  std::vector<std::string> doubts;  // what is sound and yet odd, one line each

  double bits_per_weight() const;                     // of the blocks' linears
  std::map<std::string, std::int64_t> kinds() const;  // how many there are of each; a quantized head apart
};

// Whether a tensor type of a file is plain floats, not blocks of small integers with scales.
bool is_float_type(std::string_view stored_as);

// Reads every block, which checks that all tensors exist, have the right shape, and are finite.
InspectedLinears read_linears(const model::Checkpoint& checkpoint, ProgressSink& progress);

// For each part of a block one line: its kinds, with the blocks that have each.
std::string table_text(const InspectedLinears& linears);

// [{"name", "block", "kind", "weights", "bytes", "bits_per_weight"}, ...]
Json layers_json(const InspectedLinears& linears);

}  // namespace normtweak::cli
