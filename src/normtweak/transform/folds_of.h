// Where a factor for each channel can be moved from what feeds linears into the linears that read it, so that the block
// computes the same:
//     norm → the linears that read its output      norm(x) / s, W diag(s)
//     value → attention output                      each channel of a head is mixed over tokens, not with others
//     up → down                                     act(gate(x)) * up(x) / s, or relu(up(x) / s)
#pragma once
#include <string>
#include <vector>

#include "normtweak/model/block.h"
#include "normtweak/model/parts.h"

namespace normtweak::transform {

enum class FoldKind { norm, value, up };

struct Fold {
  FoldKind kind = FoldKind::norm;
  model::NormRole norm = model::NormRole::attention;  // that feeds, of kind `norm`
  std::size_t feeder = 0;                             // the linear that feeds, of the other kinds; in Block::linears
  std::vector<std::size_t> readers;                   // in Block::linears
  model::Place place;                                 // where all that they read is seen
  std::string from;                                   // the module that feeds
  std::vector<std::string> to;                        // those that read
};

struct BlockFolds {
  std::vector<Fold> folds;
  std::vector<std::string> impossible;  // what this family leaves out, and why
};

// Of a block, from config.json alone. with_linears: those between two linears, too.
BlockFolds folds_of(const model::Family& family, const model::ModelConfig& config, int block, bool with_linears);

// The rows of the linear that feeds whose outputs the readers see, in the order of their columns: i64 [columns].
// Undefined: all of them, in order.
at::Tensor feeding_rows(model::LinearRole feeder, const model::ModelConfig& config, std::int64_t rows);

}  // namespace normtweak::transform
