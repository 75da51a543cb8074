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
    *places[i].linear =
        load.linear(shapes[i].name, shapes[i].out, shapes[i].in, shapes[i].has_bias, checkpoint.family->linear_layout);
  }
  return block;
}

}  // namespace

std::vector<LinearShape> linear_shapes(const Checkpoint& checkpoint, int block) {
  const auto& names = checkpoint.family->names;
  const auto& config = checkpoint.numbers;
  const auto q = config.heads * config.head_size, kv = config.key_value_heads * config.head_size;
  const bool fused = names.query_key_value.size() == 1;
  std::vector<LinearShape> shapes;
  const auto add = [&](std::string_view part, std::int64_t out, std::int64_t in, bool has_bias) {
    if (!part.empty()) shapes.push_back({part_name(names, block, part), out, in, has_bias});
  };
  for (std::size_t i = 0; i < names.query_key_value.size(); ++i) {
    add(names.query_key_value[i], fused ? q + 2 * kv : i == 0 ? q : kv, config.hidden, config.query_key_value_bias);
  }
  add(names.attention_output, config.hidden, q, config.attention_output_bias);
  add(names.gate, config.intermediate, config.hidden, config.mlp_bias);
  add(names.up, config.intermediate, config.hidden, config.mlp_bias);
  add(names.down, config.hidden, config.intermediate, config.mlp_bias);
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
  decoder.embedding =
      load.floats(fmt::format("{}.weight", names.embedding), {config.vocabulary, config.hidden}, options.type);
  if (source->family->position == Position::learned) {
    decoder.positions =
        load.floats(fmt::format("{}.weight", names.positions), {config.context, config.hidden}, at::kFloat);
  } else {
    decoder.rotary = std::make_shared<GrowingRotaryTable>(config, options.device);
  }
  decoder.final_norm = load.norm(std::string(names.final_norm));
  if (config.tied_head) {
    decoder.head = {
        .name = std::string(names.embedding), .weight = weights::FloatWeight{decoder.embedding}, .bias = {}};
  } else {
    decoder.head = load.linear(std::string(names.head), config.vocabulary, config.hidden, false, Layout::out_in);
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
