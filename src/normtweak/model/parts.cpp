#include "normtweak/model/parts.h"

#include <fmt/format.h>

#include "normtweak/model/hyperparameters.h"

namespace normtweak::model {
namespace {

bool is_indexed(std::string_view name) { return name.find("{}") != std::string_view::npos; }

struct Extents {
  Dimension rows, columns;
};

Extents extents_of(LinearRole role, bool of_expert) {
  using enum Dimension;
  switch (role) {
    case LinearRole::query:
      return {query, hidden};
    case LinearRole::key:
    case LinearRole::value:
      return {key_value, hidden};
    case LinearRole::query_key_value:
      return {query_key_value, hidden};
    case LinearRole::attention_output:
      return {hidden, query};
    case LinearRole::router:
      return {experts, hidden};
    case LinearRole::gate:
    case LinearRole::up:
      return {of_expert ? expert_intermediate : intermediate, hidden};
    case LinearRole::gate_up:
      return {of_expert ? expert_gate_up : gate_up, hidden};
    case LinearRole::down:
      return {hidden, of_expert ? expert_intermediate : intermediate};
  }
  return {hidden, hidden};
}

bool has_bias(LinearRole role, const ModelConfig& config) {
  switch (role) {
    case LinearRole::query:
    case LinearRole::key:
    case LinearRole::value:
    case LinearRole::query_key_value:
      return config.query_key_value_bias;
    case LinearRole::attention_output:
      return config.attention_output_bias;
    case LinearRole::router:
      return false;
    case LinearRole::gate:
    case LinearRole::up:
    case LinearRole::gate_up:
    case LinearRole::down:
      break;
  }
  return config.mlp_bias;
}

std::vector<Dimension> dimensions_of(NormRole role, const Family& family, bool one_head) {
  using enum Dimension;
  if (role != NormRole::query && role != NormRole::key) return {hidden};
  const bool of_query = role == NormRole::query;
  if (family.head_norm == HeadNorm::all) return {of_query ? query : key_value};
  if (family.head_norm == HeadNorm::each || one_head) return {head};
  return {of_query ? heads : key_value_heads, head};
}

// Calls `add` for each of the parts that a row stands for, with its index or -1.
template <class Add>
void for_each_part(std::string_view name, std::int64_t count, const Add& add) {
  if (!is_indexed(name)) return add(-1);
  for (std::int64_t i = 0; i < count; ++i) add(static_cast<int>(i));
}

std::string full(std::string_view pattern, int block, std::string_view part, int index) {
  if (part.empty()) return {};
  return fmt::format("{}.{}", numbered(pattern, block), index < 0 ? std::string(part) : numbered(part, index));
}

NormShape outer_norm(const PartName& name, const ModelConfig& config) {
  return {.role = NormRole::attention,
          .name = std::string(name.name),
          .gguf = std::string(name.gguf),
          .dimensions = {Dimension::hidden},
          .has_bias = config.norm_bias};
}

}  // namespace

std::string numbered(std::string_view pattern, std::int64_t index) { return fmt::format(fmt::runtime(pattern), index); }

std::int64_t size_of(Dimension dimension, const ModelConfig& config) {
  const auto q = config.heads * config.head_size, kv = config.key_value_heads * config.head_size;
  switch (dimension) {
    case Dimension::hidden:
      return config.hidden;
    case Dimension::embedding:
      return config.embedding;
    case Dimension::vocabulary:
      return config.vocabulary;
    case Dimension::positions:
      return config.context + config.position_offset;
    case Dimension::query:
      return q;
    case Dimension::key_value:
      return kv;
    case Dimension::query_key_value:
      return q + 2 * kv;
    case Dimension::head:
      return config.head_size;
    case Dimension::heads:
      return config.heads;
    case Dimension::key_value_heads:
      return config.key_value_heads;
    case Dimension::intermediate:
      return config.intermediate;
    case Dimension::gate_up:
      return 2 * config.intermediate;
    case Dimension::experts:
      return config.experts;
    case Dimension::expert_intermediate:
      return config.expert_intermediate;
    case Dimension::expert_gate_up:
      return 2 * config.expert_intermediate;
  }
  return 0;
}

std::string formula(Dimension dimension, const Family& family,
                    const std::function<std::string(std::string_view)>& name_of_key) {
  using Config = ModelConfig;
  const auto key = [&](const Hyperparameter::Field& field) { return name_of_key(key_of(family, field)); };
  const auto has_key = [&](const Hyperparameter::Field& field) { return !key_of(family, field).empty(); };
  const auto head = [&] {
    return has_key(&Config::head_size) ? key(&Config::head_size)
                                       : fmt::format("{} / {}", key(&Config::hidden), key(&Config::heads));
  };
  switch (dimension) {
    case Dimension::hidden:
      return key(&Config::hidden);
    case Dimension::embedding:
      return has_key(&Config::embedding) ? key(&Config::embedding) : key(&Config::hidden);
    case Dimension::vocabulary:
      return key(&Config::vocabulary);
    case Dimension::positions:
      return family.position_offset == 0 ? key(&Config::context)
                                         : fmt::format("{} + {}", key(&Config::context), family.position_offset);
    case Dimension::query:
      return fmt::format("{} * {}", key(&Config::heads), head());
    case Dimension::key_value:
      return fmt::format("{} * {}", key(&Config::key_value_heads), head());
    case Dimension::query_key_value:
      return fmt::format("({} + 2 * {}) * {}", key(&Config::heads), key(&Config::key_value_heads), head());
    case Dimension::head:
      return head();
    case Dimension::heads:
      return key(&Config::heads);
    case Dimension::key_value_heads:
      return key(&Config::key_value_heads);
    case Dimension::intermediate:
      return key(&Config::intermediate);
    case Dimension::gate_up:
      return fmt::format("2 * {}", key(&Config::intermediate));
    case Dimension::experts:
      return key(&Config::experts);
    case Dimension::expert_intermediate:
      return key(&Config::expert_intermediate);
    case Dimension::expert_gate_up:
      return fmt::format("2 * {}", key(&Config::expert_intermediate));
  }
  return {};
}

BlockParts block_parts(const Family& family, const ModelConfig& config, int block) {
  const auto& layer = config.layer_facts[static_cast<std::size_t>(block)];
  BlockParts parts;
  for (const auto& row : family.norms) {
    if (row.when != nullptr && !row.when(config, layer)) continue;
    const auto heads = row.role == NormRole::key ? config.key_value_heads : config.heads;
    for_each_part(row.name, heads, [&](int head) {
      parts.norms.push_back({.role = row.role,
                             .name = full(family.block.name, block, row.name, head),
                             .gguf = full(family.block.gguf, block, row.gguf, head),
                             .dimensions = dimensions_of(row.role, family, head >= 0),
                             .has_bias = config.norm_bias && row.may_have_bias,
                             .head = head});
    });
  }
  for (const auto& row : family.linears) {
    if (row.when != nullptr && !row.when(config, layer)) continue;
    const auto [rows, columns] = extents_of(row.role, is_indexed(row.name));
    for_each_part(row.name, config.experts, [&](int expert) {
      parts.linears.push_back({.name = full(family.block.name, block, row.name, expert),
                               .out = size_of(rows, config),
                               .in = size_of(columns, config),
                               .has_bias = has_bias(row.role, config),
                               .role = row.role,
                               .expert = expert,
                               .rows = rows,
                               .columns = columns,
                               .gguf = full(family.block.gguf, block, row.gguf, -1)});
    });
  }
  return parts;
}

NormShape final_norm_shape(const Family& family, const ModelConfig& config) {
  return outer_norm(family.final_norm, config);
}

NormShape embedding_norm_shape(const Family& family, const ModelConfig& config) {
  return outer_norm(family.embedding_norm, config);
}

LinearShape head_shape(const Family& family, const ModelConfig& config) {
  return {.name = std::string(family.head.name),
          .out = config.vocabulary,
          .in = config.embedding,
          .has_bias = config.head_bias,
          .role = LinearRole::down,
          .rows = Dimension::vocabulary,
          .columns = Dimension::embedding,
          .gguf = std::string(family.head.gguf)};
}

std::vector<TableShape> table_shapes(const Family& family, const ModelConfig& config) {
  std::vector<TableShape> tables = {{family.embedding, Dimension::vocabulary, Dimension::embedding}};
  if (family.position == Position::learned) {
    tables.push_back({family.positions, Dimension::positions, Dimension::hidden});
  }
  if (config.embedding != config.hidden) {
    tables.push_back({family.project_in, Dimension::hidden, Dimension::embedding});
    tables.push_back({family.project_out, Dimension::embedding, Dimension::hidden});
  }
  return tables;
}

std::vector<NormShape> all_norms(const Family& family, const ModelConfig& config) {
  std::vector<NormShape> norms;
  for (int block = 0; block < config.layers; ++block) {
    for (auto& norm : block_parts(family, config, block).norms) norms.push_back(std::move(norm));
  }
  if (config.final_norm) norms.push_back(final_norm_shape(family, config));
  return norms;
}

}  // namespace normtweak::model
