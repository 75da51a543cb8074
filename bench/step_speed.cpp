// Speed of the end-to-end step on synthetic weights of a LLaMA's shape: tokens/s, peak memory, and model FLOP
// utilisation against the bf16 product rate measured in the same run.
//
//     cmake --build build --target bench_step && build/bench_step --device cuda
//
// Counted are the products of the student's forward pass and the two products of each linear's backward pass (one for
// the head, which is not tuned), attention included, recomputation and the teacher not. --profile lists the kernels.
// With --streamed blocks are in host memory, and activations are computed again; the profile shows whether their copies
// run beside the work.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>

#include "kernel_table.h"
#include "normtweak/base/device/device.h"
#include "normtweak/base/device/memory.h"
#include "normtweak/model/families/families.h"
#include "normtweak/quantize/rtn.h"
#include "normtweak/tweak/end_to_end.h"

namespace normtweak {
namespace {

struct Shape {
  std::int64_t hidden = 4096, layers = 32, heads = 32, key_value_heads = 32, intermediate = 11008, vocabulary = 32000;
  std::int64_t tokens = 2048, rows = 16, batch = 8, steps = 6;  // rows: that the teacher reads; batch: rows of a step
  int bits = 4, group_size = 128;
  double memory_gib = 0;      // what the run may take; 0: all there is
  double activation_gib = 0;  // 0: as the program chooses
  std::string device = "cuda", type = "bf16";
  bool streamed = false, profile = false;
};

class Model {
 public:
  Model(const Shape& shape, c10::Device device, at::ScalarType type) : shape_(shape), device_(device), type_(type) {}

  model::Decoder decoder(bool quantized) const {
    model::Decoder made;
    auto& config = made.config;
    config.hidden = shape_.hidden;
    config.layers = shape_.layers;
    config.heads = shape_.heads;
    config.key_value_heads = shape_.key_value_heads;
    config.head_size = shape_.hidden / shape_.heads;
    config.intermediate = shape_.intermediate;
    config.vocabulary = shape_.vocabulary;
    config.context = shape_.tokens;
    config.stored_type = at::kBFloat16;
    config.embedding = config.hidden;
    config.attention_scale = 1 / std::sqrt(static_cast<double>(config.head_size));
    config.rotary = {{.size = config.head_size}};
    config.layer_facts.assign(static_cast<std::size_t>(config.layers), {.rotary = 0});
    made.device = device_;
    made.type = type_;
    made.embedding = random(config.vocabulary, config.hidden).to(type_);
    made.head = {
        .name = "head", .weight = weights::FloatWeight{random(config.vocabulary, config.hidden).to(type_)}, .bias = {}};
    made.final_norm = norm("final");
    made.tables = attention_tables(config, device_);
    made.blocks = shape_.streamed ? model::BlockStore(static_cast<int>(config.layers), model::Residence::host, {},
                                                      std::make_shared<model::BlockStreamer>(device_))
                                  : model::BlockStore(static_cast<int>(config.layers), model::Residence::device, {});
    for (int i = 0; i < config.layers; ++i) {
      made.blocks.put(i, std::make_shared<const model::Block>(block(i, config, quantized)));
    }
    return made;
  }

 private:
  at::Tensor random(std::int64_t out, std::int64_t in) const {
    return at::randn({out, in}, at::TensorOptions(at::kFloat).device(device_)) / std::sqrt(static_cast<double>(in));
  }

  model::Norm norm(const std::string& name) const {
    return {.name = name,
            .kind = model::NormKind::rms,
            .epsilon = 1e-5,
            .weight = at::ones({shape_.hidden}, at::TensorOptions(at::kFloat).device(device_)),
            .bias = {}};
  }

  model::Linear linear(const std::string& name, std::int64_t out, std::int64_t in, bool quantized) const {
    const auto values = random(out, in);
    model::Linear made = {.name = name, .weight = weights::FloatWeight{values.to(type_)}, .bias = {}};
    if (quantized) {
      made.weight = quantize::quantize_rtn(
          values,
          {.bits = shape_.bits, .group_size = static_cast<int>(shape_.group_size), .scale_type = at::kBFloat16});
    }
    return made;
  }

  model::Block block(int index, const model::ModelConfig& config, bool quantized) const {
    const auto kv = config.key_value_heads * config.head_size;
    model::Block made;
    made.index = index;
    made.facts = config.layer_facts.front();
    made.norms = {{model::NormRole::attention, norm("a")}, {model::NormRole::mlp, norm("m")}};
    const auto add = [&](model::LinearRole role, const char* name, std::int64_t out, std::int64_t in) {
      made.linears.push_back({.role = role, .linear = linear(name, out, in, quantized)});
    };
    add(model::LinearRole::query, "q", config.hidden, config.hidden);
    add(model::LinearRole::key, "k", kv, config.hidden);
    add(model::LinearRole::value, "v", kv, config.hidden);
    add(model::LinearRole::attention_output, "o", config.hidden, config.hidden);
    add(model::LinearRole::gate, "gate", config.intermediate, config.hidden);
    add(model::LinearRole::up, "up", config.intermediate, config.hidden);
    add(model::LinearRole::down, "down", config.hidden, config.intermediate);
    return made;
  }

  const Shape& shape_;
  c10::Device device_;
  at::ScalarType type_;
};

double flops_per_token(const Shape& shape) {
  const auto hidden = static_cast<double>(shape.hidden),
             kv = hidden * static_cast<double>(shape.key_value_heads) / static_cast<double>(shape.heads);
  const double linears = hidden * (2 * hidden + 2 * kv + 3 * static_cast<double>(shape.intermediate));
  const double attention = static_cast<double>(shape.tokens) * hidden;  // q kᵀ and its product with v, half masked
  const double head = hidden * static_cast<double>(shape.vocabulary);
  return 2 * (3 * static_cast<double>(shape.layers) * (linears + attention) + 2 * head);
}

class Clock {
 public:
  explicit Clock(c10::Device device) : device_(device) {}
  double seconds() const {
    if (device_.is_cuda()) c10::impl::VirtualGuardImpl(at::kCUDA).synchronizeDevice(device_.index());
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  }

 private:
  c10::Device device_;
};

// FLOP/s of a large product in this type: the ceiling.
double product_rate(c10::Device device, at::ScalarType type) {
  const Clock clock(device);
  const std::int64_t size = device.is_cuda() ? 8192 : 2048, repeats = device.is_cuda() ? 30 : 5;
  const auto a = at::randn({size, size}, at::TensorOptions(at::kFloat).device(device)).to(type),
             b = at::randn({size, size}, at::TensorOptions(at::kFloat).device(device)).to(type);
  for (int i = 0; i < 3; ++i) a.matmul(b);
  const double begin = clock.seconds();
  for (int i = 0; i < repeats; ++i) a.matmul(b);
  return static_cast<double>(repeats) * 2 * std::pow(static_cast<double>(size), 3) / (clock.seconds() - begin);
}

// What the weights leave of the memory that was there before them, less a sixteenth that is lost between the pieces of
// the allocator.
std::int64_t workspace(c10::Device device, std::int64_t before, std::int64_t allowed) {
  if (device.is_cuda()) c10::getDeviceAllocator(at::kCUDA)->emptyCache();
  const auto weights = before - available_memory(device);
  return (std::min(before, allowed) - weights) / 16 * 15;
}

int run(const Shape& shape) {
  const auto device = choose_device(shape.device);
  const auto type = parse_float_type(shape.type);
  const Clock clock(device);
  const double ceiling = product_rate(device, type);
  if (device.is_cuda()) c10::getDeviceAllocator(at::kCUDA)->emptyCache();
  const auto memory = available_memory(device);
  const Model model(shape, device, type);
  const auto ids = at::randint(0, shape.vocabulary, {shape.rows, shape.tokens}, at::kLong);
  const calibrate::TokenBatch text = {.ids = ids, .mask = {}, .provenance = {}};

  std::optional<tweak::TeacherStates> rows;
  double teaching = 0;
  {
    const auto teacher = model.decoder(false);
    Stage stage(silent_progress(), "float model", ids.numel(), "tokens");
    tweak::TeacherStates(teacher, {.ids = ids.narrow(0, 0, 1), .mask = {}, .provenance = {}}, stage);  // warm up
    const double begin = clock.seconds();
    rows.emplace(teacher, text, stage);
    teaching = clock.seconds() - begin;
  }
  auto quantized = model.decoder(true);
  quantized.workspace = workspace(
      device, memory, shape.memory_gib > 0 ? static_cast<std::int64_t>(shape.memory_gib * (1 << 30)) : memory);
  tweak::Student student(quantized, {tweak::TunableGroup::norms, tweak::TunableGroup::scales});
  const auto pass = tweak::pass_size(quantized, shape.tokens, shape.batch,
                                     static_cast<std::int64_t>(shape.activation_gib * (1 << 30)));
  tweak::TrainingOptions options;
  options.batch_rows = shape.batch;
  options.steps = shape.steps + 2;
  tweak::Training training(student, *rows, options, pass);
  training.step();
  const double begin = clock.seconds();
  const auto before = training.tokens();
  for (std::int64_t step = 0; step < shape.steps; ++step) training.step();
  const double seconds = clock.seconds() - begin;
  const double rate = static_cast<double>(training.tokens() - before) / seconds;
  const double flops = flops_per_token(shape);
  fmt::print(
      "rows in a pass {}, activations {}; {:.0f} tokens/s; {:.1f} GFLOP a token; {:.0f} of {:.0f} TFLOP/s: {:.1f}%; "
      "peak memory {:.1f} GiB; teacher {:.0f} tokens/s; one pass over 128 x {} tokens, teacher included: {:.1f} s\n",
      pass.rows, pass.keep_activations ? "kept" : "computed again", rate, flops / 1e9, rate * flops / 1e12,
      ceiling / 1e12, 100 * rate * flops / ceiling, static_cast<double>(peak_memory_bytes(device)) / (1 << 30),
      static_cast<double>(ids.numel()) / teaching, shape.tokens,
      128.0 * static_cast<double>(shape.tokens) * (1 / rate + teaching / static_cast<double>(ids.numel())));
  if (shape.profile) {
    start_profile();
    training.step();
    clock.seconds();
    fmt::print("\n{}", kernel_table(32));
  }
  return 0;
}

}  // namespace
}  // namespace normtweak

int main(int argc, char** argv) {
  normtweak::Shape shape;
  CLI::App app("Speed of the end-to-end step on synthetic weights of a LLaMA's shape (default: LLaMA-7B)");
  app.add_option("--hidden", shape.hidden)->capture_default_str();
  app.add_option("--layers", shape.layers)->capture_default_str();
  app.add_option("--heads", shape.heads)->capture_default_str();
  app.add_option("--kv-heads", shape.key_value_heads)->capture_default_str();
  app.add_option("--intermediate", shape.intermediate)->capture_default_str();
  app.add_option("--vocabulary", shape.vocabulary)->capture_default_str();
  app.add_option("--tokens", shape.tokens, "In a row")->capture_default_str();
  app.add_option("--rows", shape.rows)->capture_default_str();
  app.add_option("--batch", shape.batch, "Rows of a step")->capture_default_str();
  app.add_option("--steps", shape.steps)->capture_default_str();
  app.add_option("--bits", shape.bits)->capture_default_str();
  app.add_option("--group-size", shape.group_size)->capture_default_str();
  app.add_option("--memory-gib", shape.memory_gib, "Memory that the run may take")->capture_default_str();
  app.add_option("--activation-gib", shape.activation_gib, "Activations kept at most")->capture_default_str();
  app.add_option("--device", shape.device)->capture_default_str();
  app.add_option("--dtype", shape.type)->capture_default_str();
  app.add_flag("--streamed", shape.streamed, "Blocks in host memory, copied to the device one by one");
  app.add_flag("--profile", shape.profile, "List the kernels of one more step");
  CLI11_PARSE(app, argc, argv);
  return normtweak::run(shape);
}
