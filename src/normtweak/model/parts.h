// The parts of a model: what its family's rows say, applied to its config. Loading, the check for tensors that nothing
// reads, GGUF's names, plans and sizes all go through these lists.
#pragma once
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/model/family.h"

namespace normtweak::model {

// A dimension of a tensor, as the config gives it.
enum class Dimension {
  hidden,
  embedding,
  vocabulary,
  positions,
  query,            // all heads of the query
  key_value,        // all key-value heads
  query_key_value,  // all three
  head,             // one head
  heads,            // the number of heads
  key_value_heads,
  intermediate,
  gate_up,  // gate and up in one
  experts,
  expert_intermediate,
  expert_gate_up,
};

std::int64_t size_of(Dimension dimension, const ModelConfig& config);

// What of the config it follows from, for messages: "`num_attention_heads` * `head_dim`".
std::string formula(Dimension dimension, const Family& family,
                    const std::function<std::string(std::string_view)>& name_of_key);

struct NormShape {
  NormRole role = NormRole::attention;
  std::string name, gguf;             // modules; `gguf` is empty if the family has no name there
  std::vector<Dimension> dimensions;  // of the weight, and of a bias
  bool has_bias = false;
  int head = -1;  // >= 0: it is of this head alone; GGUF has those of all heads in one tensor
};

// A linear of some block, derived from config.json alone.
struct LinearShape {
  std::string name;  // Hugging Face module name
  std::int64_t out = 0, in = 0;
  bool has_bias = false;
  LinearRole role = LinearRole::query;
  int expert = -1;
  Dimension rows = Dimension::hidden, columns = Dimension::hidden;  // what `out` and `in` are
  std::string gguf = {};  // module; that of all experts together for an expert's
};

struct BlockParts {
  std::vector<NormShape> norms;
  std::vector<LinearShape> linears;  // in the order in which they are used
};

BlockParts block_parts(const Family& family, const ModelConfig& config, int block);

// Parts outside the blocks.
NormShape final_norm_shape(const Family& family, const ModelConfig& config);
NormShape embedding_norm_shape(const Family& family, const ModelConfig& config);
LinearShape head_shape(const Family& family, const ModelConfig& config);

// The tensors outside the blocks that are neither norms nor the head: tables, and linears without a bias.
struct TableShape {
  PartName name;
  Dimension rows, columns;
};
std::vector<TableShape> table_shapes(const Family& family, const ModelConfig& config);

// Every norm of the model, outside the blocks as well; their weights and biases are what is tuned first.
std::vector<NormShape> all_norms(const Family& family, const ModelConfig& config);

// "model.layers.{}" and 3 → "model.layers.3"
std::string numbered(std::string_view pattern, std::int64_t index);

}  // namespace normtweak::model
