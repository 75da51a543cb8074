// A checkpoint whose head is packed like its other linears, as some other program wrote it, and saved again.
#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/randn.h>
#include <sys/stat.h>

#include <filesystem>
#include <iterator>

#include "formats/memory_source.h"
#include "normtweak/base/files/file.h"
#include "normtweak/formats/compressed_tensors_config.h"
#include "normtweak/formats/safetensors.h"
#include "normtweak/model/families/families.h"
#include "normtweak/model/forward_pass.h"
#include "normtweak/model/head.h"
#include "normtweak/pipeline/save_checkpoint.h"
#include "normtweak/quantize/quantizers.h"
#include "normtweak/quantize/rtn.h"
#include "support/temporary_folder.h"
#include "support/tiny_decoder.h"

namespace normtweak::pipeline {
namespace {
namespace fs = std::filesystem;

const char* const kConfig = R"({
  "architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "float32", "hidden_size": 16,
  "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
  "hidden_act": "silu", "vocab_size": 50, "max_position_embeddings": 32, "rms_norm_eps": 1e-6,
  "tie_word_embeddings": false})";

model::Checkpoint float_checkpoint(at::ScalarType type = at::kFloat) {
  at::manual_seed(1);
  model::Checkpoint checkpoint;
  checkpoint.path = "memory";
  checkpoint.family = &model::kLlama;
  checkpoint.config = parse_json(kConfig, "memory");
  checkpoint.config["dtype"] = type == at::kHalf ? "float16" : "float32";
  checkpoint.numbers = model::read_config(model::kLlama, checkpoint.config, "memory");
  formats::NamedTensors tensors;
  const auto add = [&](const std::string& name, at::IntArrayRef shape) {
    tensors.emplace_back(name + ".weight", (at::randn(shape) * 0.3).to(type));
  };
  add("model.embed_tokens", {50, 16});
  for (int block = 0; block < 2; ++block) {
    for (const auto& linear : linear_shapes(checkpoint, block)) add(linear.name, {linear.out, linear.in});
    for (const auto* norm : {"input_layernorm", "post_attention_layernorm"}) {
      add(fmt::format("model.layers.{}.{}", block, norm), {16});
    }
  }
  add("model.norm", {16});
  add("lm_head", {50, 16});
  checkpoint.tensors = std::make_shared<formats::MemorySource>(tensors);
  return checkpoint;
}

bool is_linear(const std::string& name) { return name.ends_with("_proj.weight") || name == "lm_head.weight"; }

// Every linear packed with 4 bits, the head with `head_bits`.
model::Checkpoint packed_checkpoint(int head_bits) {
  auto checkpoint = float_checkpoint();
  formats::NamedTensors tensors;
  std::vector<formats::PackedModule> modules;
  for (const auto& name : checkpoint.tensors->names()) {
    const auto values = checkpoint.tensors->read(name);
    if (!is_linear(name)) {
      tensors.emplace_back(name, values);
      continue;
    }
    const auto module = name.substr(0, name.rfind('.'));
    const weights::Weight weight =
        quantize::quantize_rtn(values, {.bits = module == "lm_head" ? head_bits : 4, .group_size = 8});
    modules.push_back({module, formats::packed_settings(weight)});
    for (const auto& tensor : formats::encode_packed(module, weight)) tensors.emplace_back(tensor.name, tensor.load());
  }
  checkpoint.config["quantization_config"] = formats::make_packed_config(modules, {});
  checkpoint.tensors = std::make_shared<formats::MemorySource>(tensors);
  set_quantization(checkpoint, checkpoint.config["quantization_config"], "memory");
  return checkpoint;
}

class SaveCheckpoint : public tests::TemporaryFolder {
 protected:
  model::Checkpoint saved(const model::Checkpoint& original, const model::Decoder& decoder, const char* format) const {
    save_checkpoint(original, decoder, folder() / "saved", find_save_format(format));
    return model::open_checkpoint((folder() / "saved").string());
  }
};

TEST_F(SaveCheckpoint, KeepsAPackedHead) {
  for (const int head_bits : {4, 8}) {
    SCOPED_TRACE(head_bits);
    const auto original = packed_checkpoint(head_bits);
    const auto decoder = load_decoder(original, {});
    const auto reopened = saved(original, decoder, "compressed-tensors");
    ASSERT_EQ(reopened.tensors->names().size(), original.tensors->names().size());
    for (const auto& name : original.tensors->names()) {
      EXPECT_TRUE(reopened.tensors->read(name).equal(original.tensors->read(name))) << name;
    }
    const formats::PackedConfig config(reopened.config.at("quantization_config"), "saved");
    EXPECT_EQ(config.settings_of("lm_head"), formats::packed_settings(decoder.head.weight));
    const auto ids = tests::random_ids(decoder, 2, 8), hidden = last_hidden_state(decoder, ids);
    EXPECT_TRUE(logits(load_decoder(reopened, {}), hidden).equal(logits(decoder, hidden)));
  }
}

TEST_F(SaveCheckpoint, DequantizesAPackedHeadForAnExport) {
  const auto original = packed_checkpoint(8);
  const auto decoder = load_decoder(original, {});
  const auto reopened = saved(original, decoder, "hf");
  EXPECT_FALSE(model::is_quantized(reopened));
  EXPECT_EQ(reopened.tensors->names().size(), float_checkpoint().tensors->names().size());
  EXPECT_TRUE(reopened.tensors->read("lm_head.weight").equal(weights::dequantize(decoder.head.weight)));
}

TEST_F(SaveCheckpoint, AFloatHeadIsNamedAsOne) {
  const auto original = float_checkpoint();
  const auto decoder = tests::with_block(load_decoder(original, {}), 0, [](model::Block& block) {
    auto& weight = find(block, model::LinearRole::up)->weight;
    weight = quantize::quantize_rtn(weights::dequantize(weight), {.bits = 4, .group_size = 8});
  });
  const auto reopened = saved(original, decoder, "compressed-tensors");
  const formats::PackedConfig config(reopened.config.at("quantization_config"), "saved");
  EXPECT_FALSE(config.settings_of("lm_head"));
  EXPECT_TRUE(config.settings_of("model.layers.0.mlp.up_proj"));
}

// A folder that becomes the result of other floats: the same bytes as written anew, in the file that was there.
TEST_F(SaveCheckpoint, AnotherFolderBecomesIt) {
  const auto original = packed_checkpoint(4);
  const auto decoder = load_decoder(original, {});
  const auto tweaked = tests::with_block(decoder, 1, [](model::Block& block) {
    block.norms.front().norm.weight = block.norms.front().norm.weight * 1.5;
    auto& weight = find(block, model::LinearRole::up)->weight;
    auto& affine = std::get<weights::AffineWeight>(weight);
    affine.scales = affine.scales * 2;
  });
  const auto& format = find_save_format("compressed-tensors");
  const auto start = folder() / "start", fresh = folder() / "fresh", output = folder() / "output";
  save_checkpoint(original, tweaked, fresh, format);
  save_checkpoint(original, decoder, start, format);
  write(start / "model-00001-of-00002.safetensors", "a shard of another split");
  EXPECT_NE(read_file(start / "model.safetensors"), read_file(fresh / "model.safetensors"));
  struct stat before = {}, after = {};
  ::stat((start / "model.safetensors").c_str(), &before);
  save_checkpoint(original, tweaked, output, format, start);
  ::stat((output / "model.safetensors").c_str(), &after);
  EXPECT_EQ(before.st_ino, after.st_ino);
  for (const auto* name : {"model.safetensors", "config.json"}) {
    EXPECT_EQ(read_file(output / name), read_file(fresh / name)) << name;
  }
  EXPECT_EQ(std::distance(fs::directory_iterator(output), fs::directory_iterator()), 2);
  EXPECT_FALSE(fs::exists(start));
}

// Blocks in host memory, where codes are packed, give the files that blocks on the device do.
TEST_F(SaveCheckpoint, OfBlocksInHostMemoryIsTheSame) {
  struct Case {
    const char* format;
    quantize::LinearPlan plan;
  };
  const Case cases[] = {
      {"compressed-tensors", {.method = "rtn", .bits = 4, .group_size = 8}},
      {"compressed-tensors", {.method = "kmeans", .bits = 2}},
      {"awq", {.method = "rtn", .bits = 4, .group_size = 8, .scale_type = at::kHalf}},
      {"hf", {.method = "rtn", .bits = 4, .group_size = 8}},
  };
  const auto original = float_checkpoint(at::kHalf);
  for (const auto& row : cases) {
    SCOPED_TRACE(row.format);
    auto decoder = load_decoder(original, {});
    for (int i = 0; i < decoder.blocks.size(); ++i) {
      decoder = tests::with_block(decoder, i, [&](model::Block& block) {
        for (auto& part : block.linears) {
          const auto values = weights::dequantize(part.linear.weight);
          part.linear.weight = quantize::find_quantizer(row.plan.method).quantize(values, {}, row.plan);
        }
      });
    }
    auto streamed = decoder;
    const auto streamer = std::make_shared<model::BlockStreamer>(at::kCPU);
    streamed.blocks = model::BlockStore(
        decoder.blocks.size(), model::Residence::host, [&](int index) { return *decoder.blocks.get(index); }, streamer);
    const auto& linear = streamed.blocks.get(0)->linears.front().linear.weight;
    EXPECT_EQ(weights::tensors(linear).front().scalar_type(), at::kByte);
    const auto on_host = streamer->to_host(*streamed.blocks.get(0));
    EXPECT_EQ(weights::tensors(on_host->linears.front().linear.weight).front().scalar_type(), at::kInt);
    const auto& format = find_save_format(row.format);
    save_checkpoint(original, decoder, folder() / "device", format);
    save_checkpoint(original, streamed, folder() / "host", format);
    EXPECT_EQ(saved_bytes(original, streamed, format), saved_bytes(original, decoder, format));
    for (const auto* name : {"model.safetensors", "config.json"}) {
      EXPECT_EQ(read_file(folder() / "host" / name), read_file(folder() / "device" / name)) << name;
    }
  }
}

// What the disk must have room for, against the files that are written. The headers, here of tiny tensors, are theirs.
TEST_F(SaveCheckpoint, TakesTheRoomThatWasEstimated) {
  struct Case {
    const char *name, *format, *rule;
    at::ScalarType stored;
  };
  const Case cases[] = {
      {"export", "hf", "*=group:8", at::kHalf},
      {"export in another type", "hf", "*=group:8", at::kFloat},
      {"4 bits", "compressed-tensors", "*=group:8", at::kHalf},
      {"2 bits, symmetric", "compressed-tensors", "*=bits:2,group:0,symmetric", at::kHalf},
      {"3 bits, float zeros", "compressed-tensors", "*=bits:3,group:8,float-zeros", at::kHalf},
      {"codebooks", "compressed-tensors", "*=method:kmeans,bits:3", at::kHalf},
      {"some stay float", "compressed-tensors", "*mlp*=skip", at::kHalf},
  };
  for (const auto& row : cases) {
    SCOPED_TRACE(row.name);
    const auto original = float_checkpoint(at::kHalf);
    quantize::QuantizationPlan plan;
    plan.standard.method = "rtn";
    plan.standard.group_size = 8;
    plan.rules.push_back(quantize::parse_rule(row.rule));
    const auto linears = planned_linears(plan, original);
    auto decoder = load_decoder(original, {});
    decoder.config.stored_type = row.stored;
    for (const auto& [shape, block, linear_plan] : linears) {
      if (!linear_plan) continue;
      decoder =
          tests::with_block(decoder, block, [&, &name = shape.name, &wanted = *linear_plan](model::Block& changed) {
            for (auto& [role, expert, linear] : changed.linears) {
              if (linear.name != name) continue;
              linear.weight =
                  quantize::find_quantizer(wanted.method).quantize(weights::dequantize(linear.weight), {}, wanted);
            }
          });
    }
    const auto& format = find_save_format(row.format);
    const auto estimate = estimated_bytes(original, row.stored, format, linears);
    EXPECT_EQ(saved_bytes(original, decoder, format), estimate);
    const auto reopened = saved(original, decoder, row.format);
    std::int64_t bytes = 0;
    for (const auto& name : reopened.tensors->names()) bytes += reopened.tensors->info(name).stored_bytes;
    for (const auto& [name, content] : reopened.side_files) bytes += static_cast<std::int64_t>(content.size());
    EXPECT_EQ(bytes, estimate);
  }
}

}  // namespace
}  // namespace normtweak::pipeline
