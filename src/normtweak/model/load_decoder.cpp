#include <map>
#include <memory>

#include "normtweak/base/error.h"
#include "normtweak/model/decoder.h"
#include "normtweak/model/tensor_loader.h"
#include "normtweak/model/unread_tensors.h"

namespace normtweak::model {
namespace {

Block load_block(const Checkpoint& checkpoint, const TensorLoader& load, int index) {
  const auto parts = block_parts(*checkpoint.family, checkpoint.numbers, index);
  Block block;
  block.index = index;
  block.facts = checkpoint.numbers.layer_facts[static_cast<std::size_t>(index)];
  for (const auto& shape : parts.norms) block.norms.push_back({shape.role, load.norm(shape)});
  for (const auto& shape : parts.linears) {
    block.linears.push_back({shape.role, shape.expert, load.linear(shape, checkpoint.family->linear_layout)});
  }
  return block;
}

void load_outside(const Checkpoint& checkpoint, const TensorLoader& load, Decoder& decoder) {
  const auto& family = *checkpoint.family;
  const auto& config = checkpoint.numbers;
  std::map<std::string_view, at::Tensor*> places = {{family.embedding.name, &decoder.embedding},
                                                    {family.positions.name, &decoder.positions},
                                                    {family.project_in.name, &decoder.project_in},
                                                    {family.project_out.name, &decoder.project_out}};
  for (const auto& [name, rows, columns] : table_shapes(family, config)) {
    const auto type = name.name == family.embedding.name ? decoder.type : at::kFloat;
    *places.at(name.name) = load.floats(fmt::format("{}.weight", name.name), {rows, columns}, type);
  }
  if (!family.embedding_norm.name.empty()) decoder.embedding_norm = load.norm(embedding_norm_shape(family, config));
  if (config.final_norm) decoder.final_norm = load.norm(final_norm_shape(family, config));
  const auto head = head_shape(family, config);
  if (config.tied_head) {
    decoder.head = {.name = std::string(family.embedding.name),
                    .weight = weights::FloatWeight{decoder.embedding},
                    .bias = head.has_bias ? load.floats(head.name + ".bias", {head.rows}, at::kFloat) : at::Tensor()};
  } else {
    decoder.head = load.linear(head, Layout::out_in);
    if (decoder.head.input_quantizer) {
      fail(
          "{}: the input of {} is to be rounded, which this program does for linears of blocks alone; take it out of "
          "input_activations in the config",
          checkpoint.path, head.name);
    }
  }
}

}  // namespace

std::vector<LinearShape> linear_shapes(const Checkpoint& checkpoint, int block) {
  return block_parts(*checkpoint.family, checkpoint.numbers, block).linears;
}

Decoder load_decoder(const Checkpoint& checkpoint, const LoadOptions& options) {
  // Blocks are read lazily, so their source must live as long as the decoder.
  const auto source = std::make_shared<const Checkpoint>(checkpoint);
  const TensorLoader load(*source, options.device, options.type);  // first, since it refuses unsupported quantization
  refuse_unread_tensors(checkpoint);
  const bool streams = options.residence != Residence::device && !options.device.is_cpu();
  const auto block_device = options.residence == Residence::host ? c10::Device(at::kCPU) : options.device;
  const auto load_part = std::make_shared<const TensorLoader>(*source, block_device, options.type);

  Decoder decoder;
  decoder.family = source->family;
  decoder.config = source->numbers;
  decoder.origin = source->path;
  decoder.device = options.device;
  decoder.type = options.type;
  load_outside(*source, load, decoder);
  decoder.tables = attention_tables(decoder.config, options.device);
  decoder.workspace = options.workspace;
  decoder.blocks = BlockStore(
      static_cast<int>(source->numbers.layers), options.residence,
      [source, load_part](int index) { return load_block(*source, *load_part, index); },
      streams ? std::make_shared<BlockStreamer>(options.device) : nullptr);
  for (int i = 0; options.residence != Residence::file && i < decoder.blocks.size(); ++i) decoder.blocks.load(i);
  return decoder;
}

}  // namespace normtweak::model
