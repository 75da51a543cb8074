#include <memory>

#include "normtweak/base/error.h"
#include "normtweak/model/decoder.h"
#include "normtweak/model/tensor_loader.h"
#include "normtweak/model/unread_tensors.h"

namespace normtweak::model {
namespace {

// "model.layers.{}" and 3 → "model.layers.3"
std::string block_name(std::string_view pattern, int index) { return fmt::format(fmt::runtime(pattern), index); }

// "model.layers.3" and "mlp" → "model.layers.3.mlp"
std::string part_name(const TensorNames& names, int index, std::string_view part) {
  return fmt::format("{}.{}", block_name(names.block, index), part);
}

Block load_block(const Checkpoint& checkpoint, const TensorLoader& load, int index) {
  const auto& names = checkpoint.family->names;
  Block block;
  block.index = index;
  block.attention_norm = load.norm(part_name(names, index, names.attention_norm));
  block.mlp_norm = load.norm(part_name(names, index, names.mlp_norm));
  block.query_key_value.resize(names.query_key_value.size());
  if (!names.gate.empty()) block.gate.emplace();
  const auto places = linears(block);
  const auto shapes = linear_shapes(checkpoint, index);
  for (std::size_t i = 0; i < places.size(); ++i) {
    *places[i].linear = load.linear(shapes[i], checkpoint.family->linear_layout);
  }
  return block;
}

// The sizes of a block, with the keys of the config that give them.
struct Sizes {
  explicit Sizes(const Checkpoint& checkpoint) {
    const auto& config = checkpoint.numbers;
    const auto& keys = checkpoint.family->keys;
    const auto name = [&](std::string_view key) { return key_name(checkpoint, key); };
    const auto q = config.heads * config.head_size, kv = config.key_value_heads * config.head_size;
    const auto head =
        keys.head_size.empty() ? fmt::format("{} / {}", name(keys.hidden), name(keys.heads)) : name(keys.head_size);
    const auto key_value_from = fmt::format("{} * {}", name(keys.key_value_heads), head);
    hidden = {config.hidden, name(keys.hidden)};
    intermediate = {config.intermediate, name(keys.intermediate)};
    query = {q, fmt::format("{} * {}", name(keys.heads), head)};
    key_value = {kv, key_value_from};
    query_key_value = {q + 2 * kv,
                       fmt::format("({} + 2 * {}) * {}", name(keys.heads), name(keys.key_value_heads), head)};
  }

  Extent hidden, intermediate, query, key_value, query_key_value;
};

}  // namespace

std::vector<LinearShape> linear_shapes(const Checkpoint& checkpoint, int block) {
  const auto& names = checkpoint.family->names;
  const auto& config = checkpoint.numbers;
  const Sizes sizes(checkpoint);
  const bool fused = names.query_key_value.size() == 1;
  std::vector<LinearShape> shapes;
  const auto add = [&](std::string_view part, const Extent& out, const Extent& in, bool has_bias) {
    if (!part.empty()) {
      shapes.push_back({part_name(names, block, part), out.size, in.size, has_bias, out.from, in.from});
    }
  };
  for (std::size_t i = 0; i < names.query_key_value.size(); ++i) {
    const auto& out = fused ? sizes.query_key_value : i == 0 ? sizes.query : sizes.key_value;
    add(names.query_key_value[i], out, sizes.hidden, config.query_key_value_bias);
  }
  add(names.attention_output, sizes.hidden, sizes.query, config.attention_output_bias);
  add(names.gate, sizes.intermediate, sizes.hidden, config.mlp_bias);
  add(names.up, sizes.intermediate, sizes.hidden, config.mlp_bias);
  add(names.down, sizes.hidden, sizes.intermediate, config.mlp_bias);
  return shapes;  // in the order of linears(Block&)
}

Decoder load_decoder(const Checkpoint& checkpoint, const LoadOptions& options) {
  // Blocks are read lazily, so their source must live as long as the decoder.
  const auto source = std::make_shared<const Checkpoint>(checkpoint);
  const TensorLoader load(*source, options.device, options.type);  // first, since it refuses unsupported quantization
  refuse_unread_tensors(checkpoint);
  const bool streams = options.residence != Residence::device && !options.device.is_cpu();
  const auto block_device = options.residence == Residence::host ? c10::Device(at::kCPU) : options.device;
  const auto load_part = std::make_shared<const TensorLoader>(*source, block_device, options.type);
  const auto& names = source->family->names;
  const auto& config = source->numbers;

  Decoder decoder;
  decoder.family = source->family;
  decoder.config = config;
  decoder.origin = source->path;
  decoder.device = options.device;
  decoder.type = options.type;
  const auto extent = [&](std::int64_t size, std::string_view key) { return Extent{size, key_name(*source, key)}; };
  const auto& keys = source->family->keys;
  const auto vocabulary = extent(config.vocabulary, "vocab_size"), hidden = extent(config.hidden, keys.hidden);
  decoder.embedding = load.floats(fmt::format("{}.weight", names.embedding), {vocabulary, hidden}, options.type);
  if (source->family->position == Position::learned) {
    decoder.positions = load.floats(fmt::format("{}.weight", names.positions),
                                    {extent(config.context, keys.context), hidden}, at::kFloat);
  } else {
    decoder.rotary = std::make_shared<GrowingRotaryTable>(config, options.device);
  }
  decoder.final_norm = load.norm(std::string(names.final_norm));
  if (config.tied_head) {
    decoder.head = {
        .name = std::string(names.embedding), .weight = weights::FloatWeight{decoder.embedding}, .bias = {}};
  } else {
    decoder.head = load.linear({.name = std::string(names.head),
                                .out = vocabulary.size,
                                .in = hidden.size,
                                .out_from = vocabulary.from,
                                .in_from = hidden.from},
                               Layout::out_in);
  }
  decoder.workspace = options.workspace;
  decoder.blocks = BlockStore(
      static_cast<int>(config.layers), options.residence,
      [source, load_part](int index) { return load_block(*source, *load_part, index); },
      streams ? std::make_shared<BlockStreamer>(options.device) : nullptr);
  for (int i = 0; options.residence != Residence::file && i < decoder.blocks.size(); ++i) decoder.blocks.stored(i);
  return decoder;
}

}  // namespace normtweak::model
