// Learned codes: their start and steps against the equations in F64, and the passes that they see.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/randn_like.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "normtweak/base/error.h"
#include "normtweak/base/progress.h"
#include "normtweak/model/block_streamer.h"
#include "normtweak/model/forward_pass.h"
#include "normtweak/quantize/block_search.h"
#include "normtweak/tweak/code_positions.h"
#include "normtweak/tweak/end_to_end.h"
#include "normtweak/tweak/student.h"
#include "normtweak/tweak/training.h"
#include "support/devices.h"
#include "support/tiny_decoder.h"

namespace normtweak::tweak {
namespace {

using tests::tiny_decoder, tests::Weights;

const std::set<TunableGroup> kFloats = {TunableGroup::norms, TunableGroup::scales, TunableGroup::zeros};

// Positions in F64, one weight at a time.
struct Reference {
  std::int64_t out = 0, in = 0;
  double most = 0;
  std::vector<double> positions, momentum, rows, columns;
  std::vector<double> first = {};  // positions
  int steps = 0;

  void step(const at::Tensor& gradient, double rate, const CodeOptions& options) {
    const auto g = [&](std::int64_t o, std::int64_t i) { return gradient[o][i].item<double>(); };
    const auto mean_square = [&](std::int64_t count, const auto& value) {
      double sum = 0;
      for (std::int64_t k = 0; k < count; ++k) sum += value(k) * value(k);
      return sum / static_cast<double>(count);
    };
    const auto keep = [&](double& mean, double now, double beta) { mean = beta * mean + (1 - beta) * now; };
    ++steps;
    double all = 0;
    for (std::int64_t o = 0; o < out; ++o) {
      auto& row = rows[static_cast<std::size_t>(o)];
      keep(row, mean_square(in, [&](std::int64_t i) { return g(o, i); }), options.beta2);
      all += row / static_cast<double>(out);
    }
    for (std::int64_t i = 0; i < in; ++i) {
      keep(columns[static_cast<std::size_t>(i)], mean_square(out, [&](std::int64_t o) { return g(o, i); }),
           options.beta2);
    }
    for (std::int64_t o = 0; o < out; ++o) {
      for (std::int64_t i = 0; i < in; ++i) {
        const auto at = static_cast<std::size_t>(o * in + i);
        keep(momentum[at], g(o, i), options.beta1);
        const double second = rows[static_cast<std::size_t>(o)] * columns[static_cast<std::size_t>(i)] / all;
        const double change = momentum[at] / (1 - std::pow(options.beta1, steps)) /
                              std::sqrt(second / (1 - std::pow(options.beta2, steps)));
        const double back = options.decay * (positions[at] - first[at]);
        positions[at] = std::clamp(positions[at] - rate * (change + back), -0.5, most + 0.5);
      }
    }
  }
};

// Without momentum, at these positions.
Reference reference_at(const at::Tensor& positions, double most) {
  const auto flat = positions.to(at::kCPU, at::kDouble).contiguous();
  Reference made;
  made.out = flat.size(0);
  made.in = flat.size(1);
  made.most = most;
  made.positions.assign(flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel());
  made.first = made.positions;
  made.momentum.resize(made.positions.size());
  made.rows.resize(static_cast<std::size_t>(made.out));
  made.columns.resize(static_cast<std::size_t>(made.in));
  return made;
}

at::Tensor positions_of(const PositionState& state) {
  return points_of(state.grid, state.codes).to(at::kDouble) + state.fractions.to(at::kDouble) / 65534;
}

void expect_near(const at::Tensor& positions, const Reference& reference, double tolerance) {
  const auto flat = positions.cpu().flatten();
  for (std::int64_t i = 0; i < flat.size(0); ++i) {
    ASSERT_NEAR(flat[i].item<double>(), reference.positions[static_cast<std::size_t>(i)], tolerance) << i;
  }
}

void expect_moves_as_adam(c10::Device device, at::ScalarType type, std::int64_t in, bool in_chunks, double decay) {
  const std::int64_t out = 32;  // so many that some change even where decay keeps them near the start
  const auto codes = at::randint(4, {out, in}, at::kByte).to(device);
  const auto distance = (at::rand({out, in}) * 0.9 - 0.45).to(device);
  const CodeOptions options = {.decay = decay};
  auto state = start_positions(codes, distance, {.points = 4}, decay > 0);
  const auto start = codes.to(at::kDouble) + distance;
  EXPECT_LT((positions_of(state) - start).abs().max().item<double>(), 1e-5);
  auto reference = reference_at(start, 3);
  auto finite = at::ones({}, codes.options().dtype(at::kBool));
  const auto workspace = in_chunks ? std::int64_t{16 * 24 * 10 * 4} : std::numeric_limits<std::int64_t>::max();
  for (int step = 0; step < 12; ++step) {
    const auto gradient = (at::randn({out, in}) * at::rand({in}) * 1e-4).to(device, type);
    move_positions(state, gradient, position_step(step + 1, 0.1, options, device), finite, workspace);
    reference.step(gradient.cpu(), 0.1, options);
  }
  EXPECT_TRUE(finite.item<bool>());
  expect_near(positions_of(state), reference, 12 * 0.1 * 0.02);  // the momentum has the 8 bits of bf16
  EXPECT_TRUE(state.codes.ne(codes).any().item<bool>());
  EXPECT_LE(state.codes.max().item<int>(), 3);
}

TEST(CodePositions, MoveByAdamWithAFactoredSecondMoment) {
  for (const auto device : test::devices()) {
    for (const std::int64_t in : {10, 16}) {  // a GPU has kernels for multiples of 8
      for (const auto type : {at::kFloat, at::kBFloat16, at::kHalf}) {
        for (const auto& [in_chunks, decay] : {std::pair(false, 0.0), std::pair(true, 0.0), std::pair(true, 3.0)}) {
          SCOPED_TRACE(fmt::format("{} columns of {} on {}", in, c10::toString(type), device.str()));
          expect_moves_as_adam(device, type, in, in_chunks, decay);
        }
      }
    }
  }
}

TEST(CodePositions, StayWhereNoGradientIsAndWhereItIsNotFinite) {
  for (const auto device : test::devices()) {
    const auto codes = at::full({4, 8}, 2, at::TensorOptions(at::kByte).device(device));
    const auto distance = at::full({4, 8}, 0.25, codes.options().dtype(at::kFloat));
    auto state = start_positions(codes, distance, {.points = 8});
    auto finite = at::ones({}, codes.options().dtype(at::kBool));
    move_positions(state, at::zeros_like(distance), position_step(1, 1, {}, device), finite, 1 << 20);
    EXPECT_TRUE(finite.item<bool>());
    EXPECT_LT((positions_of(state) - 2.25).abs().max().item<double>(), 1e-5);
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      finite.fill_(true);
      auto gradient = at::randn_like(distance);
      gradient[1][2] = bad;
      move_positions(state, gradient, position_step(2, 1, {}, device), finite, 1 << 20);
      EXPECT_FALSE(finite.item<bool>());
      EXPECT_LT((positions_of(state) - 2.25).abs().max().item<double>(), 1e-5);
    }
  }
}

// A weight of a block type with scales of either sign and some of 0, and what it stands for, one weight at a time.
struct BlockCase {
  weights::BlockWeight weight;
  at::Tensor points, scales, minima;  // f64 [out, in]

  static BlockCase random(const weights::BlockType& type) {
    constexpr std::int64_t kOut = 3, kIn = 512;
    const auto integers = [](const weights::IntegerRange& range, std::int64_t columns) {
      return at::randint(range.lowest, range.highest + 1, {kOut, columns}, at::kChar);
    };
    const auto floats = [&] {  // not so close to 0 that F32 would hide positions between two codes
      const auto either = at::rand({kOut, kIn / type.block_size}) - 0.5;
      return (either + 0.5 * either.sign()).to(at::kHalf).to(at::kFloat);
    };
    const auto of_columns = [](const at::Tensor& each) { return each.repeat_interleave(kIn / each.size(1), 1); };
    BlockCase made;
    auto& weight = made.weight;
    made.points = at::randint(type.code_count(), {kOut, kIn}, at::kLong);
    const auto curve = at::tensor(std::vector<std::int64_t>(type.curve.begin(), type.curve.end()), at::kLong);
    const auto values = type.curve.empty() ? made.points + type.codes.lowest : curve.index({made.points});
    weight.codes = (values + 128).to(at::kByte);
    weight.scales = floats();
    weight.scales[1][0] = 0;
    if (type.has_minimum) weight.minima = floats();
    if (type.has_sub_blocks()) weight.sub_scales = integers(type.sub_scales, kIn / type.sub_size);
    if (type.has_sub_blocks() && type.has_minimum) weight.sub_minima = integers(type.sub_minima, kIn / type.sub_size);
    weight.sub_size = type.sub_size;
    weight.block_size = type.block_size;
    weight.type_name = type.name;
    const auto one = at::ones({kOut, 1});
    const auto factors = [&](const at::Tensor& sub) { return of_columns(sub.defined() ? sub : one).to(at::kDouble); };
    made.scales = of_columns(weight.scales).to(at::kDouble) * factors(weight.sub_scales);
    made.minima = type.has_minimum ? of_columns(weight.minima).to(at::kDouble) * factors(weight.sub_minima)
                                   : at::zeros({kOut, kIn}, at::kDouble);
    return made;
  }

  // The float weight whose positions are these ([out, in]): on a curve, linear between two codes.
  at::Tensor floats_at(const at::Tensor& positions, const weights::BlockType& type) const {
    auto values = positions.clone();
    auto* value = values.data_ptr<double>();
    for (std::int64_t i = 0; i < values.numel(); ++i) {
      if (type.curve.empty()) {
        value[i] += type.codes.lowest;
        continue;
      }
      const auto below = static_cast<std::size_t>(std::clamp(std::floor(value[i]), 0.0, 14.0));
      const double share = value[i] - static_cast<double>(below);
      value[i] = (1 - share) * type.curve[below] + share * type.curve[below + 1];
    }
    return (values * scales + minima).to(at::kFloat);
  }
};

TEST(CodePositions, OfBlocksStartAtTheFloatWeights) {
  for (const auto& type : weights::kBlockTypes) {
    SCOPED_TRACE(type.name);
    const auto block = BlockCase::random(type);
    ASSERT_TRUE(has_code_grid(block.weight));
    const auto distance = at::rand(block.points.sizes(), at::kDouble) * 0.9 - 0.45;
    const auto floats = block.floats_at(block.points + distance, type);
    const auto found = distance_from_codes(block.weight, floats);
    const auto zero = block.scales.eq(0);
    EXPECT_GT(zero.sum().item<int>(), 0);
    EXPECT_TRUE((block.scales < 0).any().item<bool>());
    EXPECT_TRUE(found.masked_select(zero).eq(0).all().item<bool>());
    EXPECT_LT((found - distance).masked_fill(zero, 0).abs().max().item<double>(), 1e-3);
    const auto state = start_positions(block.weight.codes, found, code_grid(block.weight));
    EXPECT_LT((positions_of(state) - block.points - distance).masked_fill(zero, 0).abs().max().item<double>(), 1e-3);
    EXPECT_TRUE(state.codes.equal(block.weight.codes));
    EXPECT_TRUE(codes_at(state.grid, block.points.to(at::kFloat)).equal(block.weight.codes));
  }
}

TEST(CodePositions, OfBlocksMoveByTheSignOfTheScale) {
  for (const auto& type : weights::kBlockTypes) {
    SCOPED_TRACE(type.name);
    const auto block = BlockCase::random(type);
    const auto distance = at::rand(block.points.sizes()) * 0.9 - 0.45;
    const auto grid = code_grid(block.weight);
    auto state = start_positions(block.weight.codes, distance, grid);
    const auto before = positions_of(state);
    auto reference = reference_at(before, type.code_count() - 1);
    auto finite = at::ones({}, at::kBool);
    for (int step = 0; step < 3; ++step) {
      const auto gradient = at::randn(block.points.sizes());
      move_positions(state, toward_codes(block.weight, gradient.clone()), position_step(step + 1, 0.4, {}, at::kCPU),
                     finite, 16 * 2 * 36 * 512);
      reference.step(gradient * block.scales.sign(), 0.4, {});
    }
    const auto after = positions_of(state);
    expect_near(after, reference, 3 * 0.4 * 0.05);
    const auto zero = block.scales.eq(0);
    EXPECT_TRUE(after.masked_select(zero).equal(before.masked_select(zero)));
    EXPECT_GT(state.codes.ne(block.weight.codes).sum().item<int>(), 100);
    // All codes are those of the type.
    const auto codes = state.codes.to(at::kLong) - 128;
    EXPECT_GE(codes.min().item<int>(), type.codes.lowest);
    EXPECT_LE(codes.max().item<int>(), type.codes.highest);
    if (type.curve.empty()) continue;
    const auto curve = at::tensor(std::vector<std::int64_t>(type.curve.begin(), type.curve.end()), at::kLong);
    EXPECT_TRUE((codes.unsqueeze(-1) == curve).any(-1).all().item<bool>());
  }
}

struct Problem {
  model::Decoder teacher, student;
  DistillationBatch batch;
};

// Columns sorted by group, here from the last to the first.
void sort_columns(weights::AffineWeight& weight) {
  const auto in = weight.codes.size(1);
  weight.order = at::arange(in - 1, -1, -1, at::kLong);
  weight.codes = weight.codes.flip(1);
  weight.scales = weight.scales.flip(1);
  weight.zeros = weight.zeros.flip(1);
}

// kind: "affine", "ordered" or a block type
Problem make_problem(std::string_view kind = "affine") {
  const auto* type = weights::find_block_type(kind);
  Problem problem;
  const auto size = type != nullptr ? type->block_size : 16;
  problem.teacher = tiny_decoder(
      {.biases = true, .hidden = size, .head_size = size / 4, .intermediate = type != nullptr ? 2 * size : 24});
  problem.student = problem.teacher;
  for (const int index : {0, 1}) {
    problem.student = tests::with_block(problem.student, index, [&](model::Block& block) {
      for (auto& part : block.linears) {
        auto& weight = part.linear.weight;
        const auto floats = weights::dequantize(weight);
        weight = type != nullptr ? quantize::quantize_blocks(floats, *type) : tests::quantized(floats, Weights::groups);
        if (kind == "ordered") sort_columns(std::get<weights::AffineWeight>(weight));
      }
    });
  }
  problem.batch.ids = tests::random_ids(problem.teacher, 4, 10);
  problem.batch.teacher_hidden = last_hidden_state(problem.teacher, problem.batch.ids);
  problem.batch.teacher_head = head_of(problem.teacher);
  return problem;
}

std::vector<DistillationBatch> in_rows(const DistillationBatch& batch) {
  std::vector<DistillationBatch> rows;
  for (std::int64_t row = 0; row < batch.ids.size(0); ++row) {
    rows.push_back(batch);
    rows.back().ids = batch.ids.narrow(0, row, 1);
    rows.back().teacher_hidden = batch.teacher_hidden.narrow(0, row, 1);
  }
  return rows;
}

std::int64_t different(const std::vector<at::Tensor>& some, const std::vector<at::Tensor>& others) {
  std::int64_t count = 0;
  for (std::size_t i = 0; i < some.size(); ++i) count += some[i].ne(others[i]).sum().item<std::int64_t>();
  return count;
}

// One step of all codes; the tunable floats stay.
void step(Student& student, std::span<const DistillationBatch> parts, bool keep, double factor = 1) {
  student.codes()->begin_step(factor);
  student.backward(parts, 1, keep, [&](int block) { student.codes()->step(block); });
}

TEST(CodePositions, FloatsHaveTheGradientsThatTheyHaveWithoutThem) {
  for (const auto* kind : {"affine", "ordered", "Q5_1"}) {
    const auto problem = make_problem(kind);
    for (const bool keep : {true, false}) {
      Student floats(problem.student, kFloats), both(problem.student, kFloats);
      both.learn_codes(problem.teacher, {});
      const auto expected = floats.backward(problem.batch, 1, keep);
      EXPECT_LT((both.backward(problem.batch, 1, keep) - expected).abs().max().item<double>(), 1e-5);
      for (std::size_t i = 0; i < floats.tunables().all().size(); ++i) {
        const auto &wanted = floats.tunables().all()[i], &found = both.tunables().all()[i];
        EXPECT_LT((wanted.gradient - found.gradient).abs().max().item<double>(),
                  1e-4 * wanted.gradient.abs().max().item<double>() + 1e-6)
            << wanted.name;
      }
    }
  }
}

// The divergence falls only if positions start and move in the right columns.
TEST(CodePositions, StepsLowerTheDivergence) {
  for (const auto* kind : {"affine", "ordered", "Q4_0", "IQ4_NL"}) {
    SCOPED_TRACE(kind);
    const auto problem = make_problem(kind);
    Student student(problem.student, {TunableGroup::norms});
    student.learn_codes(problem.teacher, {.rate = 0.02});
    const auto start = student.codes()->codes();
    EXPECT_EQ(different(start, student.codes()->start_codes()), 0);
    const auto before = student.divergence(problem.batch).sum().item<double>();
    for (int i = 0; i < 20; ++i) step(student, {&problem.batch, 1}, i % 2 == 0);
    EXPECT_TRUE(student.codes()->finite_gradients());
    const auto after = student.divergence(problem.batch).sum().item<double>();
    EXPECT_LT(after, 0.8 * before);
    const auto learned = student.codes()->codes();
    EXPECT_GT(different(learned, start), 0);
    // The model that was given keeps its codes; the finished one has those that were scored.
    EXPECT_EQ(different(student.codes()->start_codes(), start), 0);
    Student finished(student.decoder(), {TunableGroup::norms});
    EXPECT_NEAR(finished.divergence(problem.batch).sum().item<double>(), after, 1e-5 * after);
    student.codes()->start_over();
    EXPECT_EQ(different(student.codes()->codes(), start), 0);
    EXPECT_NEAR(student.divergence(problem.batch).sum().item<double>(), before, 1e-6 * before);
    EXPECT_NEAR(finished.divergence(problem.batch).sum().item<double>(), after, 1e-5 * after);
  }
}

TEST(CodePositions, StepsInPartsAreTheSame) {
  const auto problem = make_problem();
  const auto rows = in_rows(problem.batch);
  Student whole(problem.student, kFloats), parts(problem.student, kFloats);
  for (auto* student : {&whole, &parts}) student->learn_codes(problem.teacher, {.rate = 0.02});
  for (int i = 0; i < 10; ++i) {
    step(whole, {&problem.batch, 1}, true);
    step(parts, rows, false);
  }
  const auto learned = whole.codes()->codes();
  EXPECT_GT(different(learned, whole.codes()->start_codes()), 40);
  EXPECT_LE(different(learned, parts.codes()->codes()), 4);  // sums are rounded in another order
}

std::vector<at::Tensor> codes_of(const model::Decoder& decoder) {
  std::vector<at::Tensor> all;
  for (int i = 0; i < decoder.blocks.size(); ++i) {
    for (const auto& part : decoder.blocks.get(i)->linears) {
      all.push_back(std::get<weights::AffineWeight>(part.linear.weight).codes);
    }
  }
  return all;
}

TEST(CodePositions, AWholeTweakIsTheSameInParts) {
  const auto teacher = tiny_decoder();
  const auto student = tests::quantized(teacher, Weights::groups);
  const auto text = split_text({.ids = tests::random_ids(teacher, 24, 16), .mask = {}, .provenance = {}});
  EndToEndOptions options;
  options.norm_rate = options.scale_rate = 1e-3;
  options.codes = CodeOptions{.rate = 0.06};
  options.passes = 4;
  options.batch_rows = 8;
  const auto run = [&](std::int64_t activation_bytes) {
    options.activation_bytes = activation_bytes;
    return tweak_end_to_end(teacher, student, text, options, silent_progress(), {}, &teacher);
  };
  const auto whole = run(0), parts = run(1), again = run(0);  // 1: a row at a time
  EXPECT_NE(whole.chosen, "untouched");
  const auto start = codes_of(student), learned = codes_of(whole.decoder);
  double all = 0;
  for (const auto& codes : start) all += static_cast<double>(codes.numel());
  const auto changed = different(learned, start);
  EXPECT_GT(changed, 10);
  EXPECT_NEAR(whole.changed_codes.value(), static_cast<double>(changed) / all, 1e-9);
  EXPECT_EQ(different(learned, codes_of(again.decoder)), 0);
  EXPECT_EQ(parts.chosen, whole.chosen);
  EXPECT_LE(different(learned, codes_of(parts.decoder)), 2);  // sums are rounded in another order
  options.codes.reset();
  EXPECT_FALSE(run(0).changed_codes.has_value());
}

TEST(CodePositions, AreNoneOfCodebooks) {
  const auto teacher = tiny_decoder();
  Student student(tests::quantized(teacher, Weights::codebook), {TunableGroup::codebooks});
  EXPECT_THROW(student.learn_codes(teacher, {}), Error);
}

// On the GPU, with all blocks there.
model::Decoder on_gpu(const model::Decoder& decoder, c10::Device gpu) {
  auto moved = decoder;
  moved.device = gpu;
  moved.embedding = decoder.embedding.to(gpu);
  moved.final_norm.weight = decoder.final_norm.weight.to(gpu);
  auto& head = std::get<weights::FloatWeight>(moved.head.weight).values;
  head = head.to(gpu);
  moved.tables = model::attention_tables(decoder.config, gpu);
  moved.blocks =
      model::BlockStore(
          decoder.blocks.size(), model::Residence::host, [&](int index) { return *decoder.blocks.stored(index); },
          std::make_shared<model::BlockStreamer>(gpu))
          .brought_to_device();
  return moved;
}

struct Run {
  std::vector<double> divergences = {};
  std::vector<at::Tensor> codes = {};
  std::string failed_recording = {};
};

// Nine steps over 11 rows, four at a time.
Run run_of(const model::Decoder& teacher, const model::Decoder& student, const at::Tensor& ids, bool learns,
           bool records, std::int64_t pass_rows) {
  Student learning(student, kFloats);
  if (learns) learning.learn_codes(teacher, {.rate = 0.05, .decay = 0.1});
  Stage stage(silent_progress(), "float model", 1, "tokens");
  const TeacherStates rows(teacher, {.ids = ids, .mask = {}, .provenance = {}}, stage);
  Training training(learning, rows, {.batch_rows = 4, .steps = 9, .records = records}, {.rows = pass_rows});
  Run run;
  for (int step = 0; step < 9; ++step) {
    if (step == 7) training.drop_recorded();
    run.divergences.push_back(training.step().divergence);
  }
  if (learns) run.codes = learning.codes()->codes();
  run.failed_recording = training.failed_recording();
  return run;
}

TEST(Training, RecordedPassesDoWhatOthersDo) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU here";
  const c10::Device gpu(at::kCUDA, 0);
  ASSERT_TRUE(can_record_work(gpu));
  const auto problem = make_problem("affine");
  const auto teacher = on_gpu(problem.teacher, gpu), student = on_gpu(problem.student, gpu);
  const auto ids = tests::random_ids(problem.teacher, 11, 16);
  for (const bool learns : {false, true}) {
    for (const std::int64_t pass_rows : {4, 2}) {
      SCOPED_TRACE(fmt::format("learns {}, {} rows a pass", learns, pass_rows));
      const auto expected = run_of(teacher, student, ids, learns, false, pass_rows);
      const auto found = run_of(teacher, student, ids, learns, true, pass_rows);
      EXPECT_EQ(found.failed_recording, "");
      for (std::size_t i = 0; i < expected.divergences.size(); ++i) {
        EXPECT_NEAR(found.divergences[i], expected.divergences[i], 1e-4 * expected.divergences[i]) << i;
      }
      EXPECT_LT(expected.divergences.back(), expected.divergences.front());
      std::int64_t all = 0;
      for (const auto& codes : found.codes) all += codes.numel();
      EXPECT_LE(different(found.codes, expected.codes), all / 100);  // sums on a GPU differ in the last bits
    }
  }
}

}  // namespace
}  // namespace normtweak::tweak
