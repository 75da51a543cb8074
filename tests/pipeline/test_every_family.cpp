// Whatever the rows of a family name is loaded, counted, mapped, tuned and saved, for every family of the table. The
// expected names and shapes are those of the rows alone; whether the rows are right is for tests/cli/test_families.py.
#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <c10/util/accumulate.h>

#include <map>
#include <numeric>
#include <set>

#include "formats/memory_source.h"
#include "normtweak/model/forward_pass.h"
#include "normtweak/model/hyperparameters.h"
#include "normtweak/model/parts.h"
#include "normtweak/pipeline/planned_linears.h"
#include "normtweak/pipeline/save_checkpoint.h"
#include "normtweak/pipeline/tuned_floats.h"
#include "normtweak/quantize/rtn.h"
#include "normtweak/transform/fold.h"
#include "normtweak/tweak/tunables.h"
#include "support/temporary_folder.h"

namespace normtweak::pipeline {
namespace {

using Config = model::ModelConfig;
using Tensors = std::map<std::string, at::Tensor>;

constexpr std::int64_t kHead = 8;

// Sizes that fit every family. Four blocks hold each kind of block that one has.
Json tiny_config(const model::Family& family) {
  const std::pair<model::Hyperparameter::Field, std::int64_t> sizes[] = {{&Config::hidden, 4 * kHead},
                                                                         {&Config::layers, 4},
                                                                         {&Config::heads, 4},
                                                                         {&Config::key_value_heads, 2},
                                                                         {&Config::vocabulary, 50},
                                                                         {&Config::head_size, kHead},
                                                                         {&Config::intermediate, 48},
                                                                         {&Config::context, 64},
                                                                         {&Config::experts, 4},
                                                                         {&Config::experts_per_token, 2},
                                                                         {&Config::expert_intermediate, 16}};
  Json config = {{"architectures", {family.architectures.front()}}, {"model_type", family.name}};
  for (const auto& [field, size] : sizes) {
    const auto key = model::key_of(family, field);
    if (!key.empty()) config[std::string(key)] = size;
  }
  if (!family.rotary.size_key.empty()) config[std::string(family.rotary.size_key)] = kHead / 2;
  return config;
}

std::vector<std::int64_t> sizes_of(const std::vector<model::Dimension>& dimensions, const Config& numbers) {
  std::vector<std::int64_t> sizes;
  for (const auto dimension : dimensions) sizes.push_back(size_of(dimension, numbers));
  return sizes;
}

// All tensors that the rows name, with random values.
class RandomTensors {
 public:
  RandomTensors(const model::Family& family, const Config& numbers) : family_(family) {
    for (const auto& table : table_shapes(family, numbers)) {
      add(std::string(table.name.name) + ".weight", {size_of(table.rows, numbers), size_of(table.columns, numbers)});
    }
    auto norms = all_norms(family, numbers);
    if (!family.embedding_norm.name.empty()) norms.push_back(embedding_norm_shape(family, numbers));
    for (const auto& norm : norms) {
      add(norm.name + ".weight", sizes_of(norm.dimensions, numbers));
      if (norm.has_bias) add(norm.name + ".bias", sizes_of(norm.dimensions, numbers));
    }
    for (int block = 0; block < numbers.layers; ++block) {
      for (const auto& linear : block_parts(family, numbers, block).linears) add(linear, family.linear_layout);
    }
    if (!numbers.tied_head) add(head_shape(family, numbers), model::Layout::out_in);
  }

  const Tensors& all() const { return tensors_; }

 private:
  void add(const std::string& name, const std::vector<std::int64_t>& shape) {
    ASSERT_TRUE(tensors_.emplace(name, at::randn(shape)).second) << family_.name << " names " << name << " twice";
  }
  void add(const model::LinearShape& linear, model::Layout layout) {
    const bool turned = layout == model::Layout::in_out;
    add(linear.name + ".weight", {turned ? linear.in : linear.out, turned ? linear.out : linear.in});
    if (linear.has_bias) add(linear.name + ".bias", {linear.out});
  }

  const model::Family& family_;
  Tensors tensors_;
};

model::Checkpoint checkpoint_of(const model::Family& family) {
  at::manual_seed(1);
  model::Checkpoint checkpoint;
  checkpoint.path = std::string(family.name);
  checkpoint.family = &family;
  checkpoint.config = tiny_config(family);
  checkpoint.numbers = model::read_config(family, checkpoint.config, checkpoint.path);
  const auto tensors = RandomTensors(family, checkpoint.numbers).all();
  checkpoint.tensors = std::make_shared<formats::MemorySource>(formats::NamedTensors(tensors.begin(), tensors.end()));
  return checkpoint;
}

// Elements of every tensor of the block that the rows name.
std::int64_t elements_of(const model::BlockParts& parts, const Config& numbers) {
  std::int64_t all = 0;
  for (const auto& norm : parts.norms) {
    all += (norm.has_bias ? 2 : 1) * c10::multiply_integers(sizes_of(norm.dimensions, numbers));
  }
  for (const auto& linear : parts.linears) all += linear.out * linear.in + (linear.has_bias ? linear.out : 0);
  return all;
}

const std::set<tweak::TunableGroup> kNormsAndBiases = {tweak::TunableGroup::norms, tweak::TunableGroup::router_norms,
                                                       tweak::TunableGroup::biases};

class EveryFamily : public tests::TemporaryFolder, public testing::WithParamInterface<const model::Family*> {
 protected:
  const model::Family& family_ = *GetParam();
  const model::Checkpoint checkpoint_ = checkpoint_of(family_);
  const Config& numbers_ = checkpoint_.numbers;

  model::BlockParts parts(int block) const { return block_parts(family_, numbers_, block); }
};

TEST_P(EveryFamily, LoadsAndMapsEachPart) {
  const auto decoder = load_decoder(checkpoint_, {});
  for (int i = 0; i < decoder.blocks.size(); ++i) {
    const auto block = decoder.blocks.get(i);
    const auto expected = parts(i);
    ASSERT_EQ(block->norms.size(),
              std::ranges::count_if(expected.norms, [](const auto& norm) { return norm.head <= 0; }));
    ASSERT_EQ(block->linears.size(), expected.linears.size());
    for (std::size_t j = 0; j < expected.linears.size(); ++j) {
      const auto& linear = block->linears[j].linear;
      EXPECT_EQ(linear.name, expected.linears[j].name);
      const auto stored = checkpoint_.tensors->read(linear.name + ".weight");
      EXPECT_TRUE(weights::dequantize(linear.weight)
                      .equal(family_.linear_layout == model::Layout::in_out ? stored.t() : stored))
          << linear.name;
      EXPECT_EQ(linear.bias.defined(), expected.linears[j].has_bias) << linear.name;
    }
    std::int64_t elements = 0;
    map_tensors(*block, [&](const at::Tensor& tensor) {
      elements += tensor.numel();
      return tensor;
    });
    EXPECT_EQ(elements, elements_of(expected, numbers_)) << "block " << i;
  }
}

TEST_P(EveryFamily, CountsAndTunesEachPart) {
  quantize::QuantizationPlan plan;
  plan.standard.group_size = kHead;
  const auto linears = planned_linears(plan, checkpoint_);
  const auto decoder = load_decoder(checkpoint_, {});
  TunableCounts tuned;
  std::size_t next = 0;
  const auto count = [&](const auto& part) {
    for (const auto& field : tweak::tunable_fields(part, kNormsAndBiases, at::kFloat)) {
      tuned[field.group] += field.start.numel();
    }
  };
  for (int i = 0; i < decoder.blocks.size(); ++i) {
    for (const auto& linear : parts(i).linears) {
      ASSERT_LT(next, linears.size());
      EXPECT_EQ(linears[next].shape.name, linear.name);
      EXPECT_EQ(linears[next++].plan.has_value(), linear.role != model::LinearRole::router) << linear.name;
    }
    count(*decoder.blocks.get(i));
  }
  EXPECT_EQ(next, linears.size());
  count(decoder.final_norm);
  auto counted = tunable_floats(checkpoint_, linears);
  counted.erase(tweak::TunableGroup::scales);
  EXPECT_EQ(counted, tuned);
}

// Norms and biases that were raised by 1, and linears that were quantized.
TEST_P(EveryFamily, SavesEachPart) {
  auto decoder = load_decoder(checkpoint_, {});
  Tensors changed;
  for (int i = 0; i < decoder.blocks.size(); ++i) {
    auto block = map_tensors(*decoder.blocks.get(i), [](const at::Tensor& tensor) { return tensor + 1; });
    for (auto& [role, expert, linear] : block.linears) {
      if (stays_float(role)) continue;
      linear.weight = quantize::quantize_rtn(weights::dequantize(linear.weight), {.bits = 4, .group_size = kHead});
      const auto values = weights::dequantize(linear.weight);
      changed[linear.name + ".weight"] = family_.linear_layout == model::Layout::in_out ? values.t() : values;
    }
    decoder.blocks.put(i, std::make_shared<const model::Block>(std::move(block)));
    const auto expected = parts(i);
    const auto raise = [&](const std::string& name) { changed[name] = checkpoint_.tensors->read(name) + 1; };
    for (const auto& norm : expected.norms) {
      raise(norm.name + ".weight");
      if (norm.has_bias) raise(norm.name + ".bias");
    }
    for (const auto& linear : expected.linears) {
      if (linear.has_bias) raise(linear.name + ".bias");
    }
  }
  save_checkpoint(checkpoint_, decoder, folder() / "saved", find_save_format("hf"));
  const auto saved = model::open_checkpoint((folder() / "saved").string());
  ASSERT_EQ(saved.tensors->names().size(), checkpoint_.tensors->names().size());
  for (const auto& name : checkpoint_.tensors->names()) {
    const auto expected = changed.contains(name) ? changed.at(name) : checkpoint_.tensors->read(name);
    EXPECT_TRUE(saved.tensors->read(name).equal(expected)) << name;
  }
}

at::Tensor last_hidden(const model::Checkpoint& checkpoint) {
  const auto ids = at::arange(24, at::kLong).view({2, 12});
  return last_hidden_state(load_decoder(checkpoint, {}), ids);
}

// Whatever factors are folded: what is divided and what is multiplied cancel, and both are saved.
TEST_P(EveryFamily, FoldsKeepWhatTheModelComputes) {
  auto decoder = load_decoder(checkpoint_, {});
  std::size_t folded = 0;
  std::set<std::string> touched;
  for (int i = 0; i < decoder.blocks.size(); ++i) {
    auto block = *decoder.blocks.get(i);
    for (const auto& fold : transform::folds_of(family_, numbers_, i, true).folds) {
      ASSERT_FALSE(fold.readers.empty());
      const auto columns = weights::shape(block.linears[fold.readers.front()].linear.weight)[1];
      apply(fold, at::rand({columns}) * 2 + 0.2, numbers_, at::kFloat, block);
      ++folded;
      touched.insert(fold.from + ".weight");
      for (const auto& reader : fold.to) touched.insert(reader + ".weight");
    }
    decoder.blocks.put(i, std::make_shared<const model::Block>(std::move(block)));
  }
  const bool norms_follow =
      numbers_.topology == model::Topology::output_norm || numbers_.topology == model::Topology::post_norm;
  EXPECT_GE(folded, norms_follow ? 4 : numbers_.topology == model::Topology::parallel && !numbers_.two_norms ? 4 : 8);
  save_checkpoint(checkpoint_, decoder, folder() / "saved", find_save_format("hf"));
  const auto saved = model::open_checkpoint((folder() / "saved").string());
  for (const auto& name : saved.tensors->names()) {
    if (name.ends_with(".bias")) continue;
    EXPECT_EQ(saved.tensors->read(name).equal(checkpoint_.tensors->read(name)), !touched.contains(name)) << name;
  }
  const auto expected = last_hidden(checkpoint_), found = last_hidden(saved);
  const auto tolerance = numbers_.experts > 0 ? 4e-5 : 1e-5;  // shares of random experts have steep gradients
  EXPECT_LT((found - expected).abs().max().item<double>(), tolerance * expected.abs().max().item<double>());
}

INSTANTIATE_TEST_SUITE_P(Table, EveryFamily, testing::ValuesIn(model::families().begin(), model::families().end()),
                         [](const auto& row) { return std::string(row.param->name); });

}  // namespace
}  // namespace normtweak::pipeline
