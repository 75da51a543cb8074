#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "normtweak/base/error.h"
#include "normtweak/model/forward_pass.h"
#include "normtweak/tweak/student.h"
#include "support/explicit_model.h"
#include "support/tiny_decoder.h"

namespace normtweak::tweak {
namespace {

using tests::tiny_decoder, tests::Weights;

const std::set<TunableGroup> kAll = {TunableGroup::norms, TunableGroup::biases, TunableGroup::scales,
                                     TunableGroup::zeros, TunableGroup::codebooks};

struct StudentCase {
  const char* name;
  tests::TinyModel model;
  Weights weights;
  bool masked;
  bool packed_head = false;  // the student's own; the teacher's stays float
};
const StudentCase kStudents[] = {
    {"rotary, groups", {.llama = true, .biases = true}, Weights::groups, false},
    {"rotary, codebooks", {.llama = true}, Weights::codebook, true},
    {"rotary, codebooks of groups", {.llama = true}, Weights::codebooks_of_groups, true},
    {"learned positions, channels", {.llama = false}, Weights::channels, true},
    {"learned positions, codebooks", {.llama = false}, Weights::codebook, false},
    {"a packed head", {.llama = true}, Weights::groups, true, true},
    {"a packed head, untied", {.llama = false}, Weights::groups, false, true},
};

struct Problem {
  model::Decoder teacher, student;
  DistillationBatch batch;
};

Problem make_problem(const StudentCase& row) {
  Problem problem;
  problem.teacher = tiny_decoder(row.model);
  problem.student = tests::quantized(problem.teacher, row.weights);
  if (row.packed_head) {
    auto& head = problem.student.head.weight;
    head = tests::quantized(weights::dequantize(head), Weights::groups);
  }
  problem.batch.ids = tests::random_ids(problem.teacher, 3, 10);
  if (row.masked) {
    problem.batch.mask = at::ones({3, 10}, at::kBool);
    problem.batch.mask[2].slice(0, 4).fill_(false);
  }
  problem.batch.teacher_hidden = last_hidden_state(problem.teacher, problem.batch.ids);
  problem.batch.teacher_head = head_of(problem.teacher);
  return problem;
}

// Σ KL over each row's tokens, f64 [rows]
at::Tensor explicit_loss(const tests::ExplicitModel& student, const Problem& problem) {
  const auto teacher = tests::ExplicitModel(problem.teacher).logits(problem.batch.ids).detach();
  auto divergence = tests::explicit_divergence(teacher, student.logits(problem.batch.ids));
  if (problem.batch.mask.defined()) divergence = divergence * problem.batch.mask;
  return divergence.sum(-1);
}

// value = start + unit * change, so d / d change = unit * d / d value. f64, broadcast to the value.
at::Tensor unit_of(const Tunable& tunable) {
  if (tunable.group == TunableGroup::scales) return tunable.start.to(at::kDouble);
  if (tunable.group != TunableGroup::codebooks) return at::ones({1}, at::kDouble);
  return tunable.start.to(at::kDouble).square().mean(1, true).sqrt();
}

constexpr double kScale = 0.125;
// F32 through two blocks and a softmax, relative to the largest component of each gradient. A bias of keys shifts all
// scores of a query alike, so that its gradient is rounding alone: hence the floor.
constexpr double kTolerance = 3e-4, kFloor = 1e-5;

TEST(Student, GradientsAreThoseOfTheExplicitModelAndOfDifferences) {
  for (const auto& row : kStudents) {
    SCOPED_TRACE(row.name);
    const auto problem = make_problem(row);
    const tests::ExplicitModel exact(problem.student);
    const auto expected = explicit_loss(exact, problem);
    (expected.sum() * kScale).backward();

    Student student(problem.student, kAll);
    const auto found = student.backward(problem.batch, kScale, true);
    EXPECT_LT(tests::relative_error(found, expected), 1e-5);
    EXPECT_LT(tests::relative_error(student.divergence(problem.batch), expected), 1e-5);
    ASSERT_EQ(student.tunables().all().size(), exact.floats.size());
    student.tunables().finish_gradients();
    for (const auto& tunable : student.tunables().all()) {
      SCOPED_TRACE(tunable.name);
      const auto& leaf = exact.floats.at(tunable.name);
      const auto gradient = tunable.gradient.to(at::kDouble), wanted = leaf.grad() * unit_of(tunable);
      EXPECT_LT((gradient - wanted).abs().max().item<double>(),
                kTolerance * wanted.abs().max().item<double>() + kFloor);

      const c10::NoGradGuard no_gradients;
      const auto direction = at::randn(leaf.sizes(), at::kDouble), step = direction * unit_of(tunable) * 1e-5;
      const auto loss_at = [&](double sign) {
        leaf.add_(step, sign);
        const auto loss = explicit_loss(exact, problem).sum().item<double>();
        leaf.sub_(step, sign);
        return loss;
      };
      const double difference = kScale * (loss_at(1) - loss_at(-1)) / 2e-5;
      const double along = (gradient * direction).sum().item<double>();
      const double size = (wanted.norm() * direction.norm()).item<double>();
      EXPECT_NEAR(along, difference, kTolerance * size + kFloor * direction.norm().item<double>());
    }
  }
}

TEST(Student, GradientsDoNotDependOnWhatIsKept) {
  for (const auto& row : kStudents) {
    SCOPED_TRACE(row.name);
    const auto problem = make_problem(row);
    Student keeps(problem.student, kAll), repeats(problem.student, kAll);
    EXPECT_TRUE(keeps.backward(problem.batch, 1, true).equal(repeats.backward(problem.batch, 1, false)));
    for (std::size_t i = 0; i < keeps.tunables().all().size(); ++i) {
      const auto &kept = keeps.tunables().all()[i], &repeated = repeats.tunables().all()[i];
      EXPECT_TRUE(kept.gradient.equal(repeated.gradient)) << kept.name;
    }
  }
}

TEST(Student, GradientsOfPartsAddUp) {
  const auto problem = make_problem(kStudents[0]);
  Student whole(problem.student, kAll), parts(problem.student, kAll);
  whole.backward(problem.batch, 1, true);
  for (std::int64_t begin = 0; begin < 3; ++begin) {
    auto part = problem.batch;
    part.ids = part.ids.narrow(0, begin, 1);
    part.teacher_hidden = part.teacher_hidden.narrow(0, begin, 1);
    parts.backward(part, 1, true);
  }
  for (std::size_t i = 0; i < whole.tunables().all().size(); ++i) {
    const auto &a = parts.tunables().all()[i].gradient, &b = whole.tunables().all()[i].gradient;
    EXPECT_LT((a - b).abs().max().item<double>(), 1e-4 * b.abs().max().item<double>() + kFloor);
  }
}

TEST(Student, TunesWhereSomeBlocksHaveNothingToTune) {
  auto problem = make_problem(kStudents[0]);
  const auto floats = tiny_decoder(kStudents[0].model);
  for (const int index : {0, 1}) {
    const auto mixed =
        tests::with_block(problem.student, index, [&](auto& block) { block = *floats.blocks.get(index); });
    for (const bool keep : {true, false}) {
      Student student(mixed, {TunableGroup::scales});
      student.backward(problem.batch, 1, keep);
      EXPECT_EQ(student.tunables().all().size(), 7U);
      for (const auto& tunable : student.tunables().all()) EXPECT_GT(tunable.gradient.abs().max().item<float>(), 0);
    }
  }
  EXPECT_THROW(Student(floats, {TunableGroup::scales, TunableGroup::zeros}), Error);
}

TEST(Student, TheFinishedModelIsTheOneThatWasScored) {
  auto problem = make_problem(kStudents[0]);
  problem.student.config.stored_type = at::kBFloat16;
  Student student(problem.student, kAll);
  {
    const c10::NoGradGuard no_gradients;
    for (const auto& group : student.tunables().groups()) group.change.add_(at::randn(group.change.sizes()) * 0.02);
  }
  student.tunables().refresh();
  const auto finished = student.decoder();
  const auto& norm = find(*finished.blocks.get(1), model::NormRole::mlp)->weight;
  EXPECT_TRUE(norm.equal(norm.to(at::kBFloat16).to(at::kFloat)));
  EXPECT_FALSE(norm.requires_grad());
  EXPECT_LT(
      tests::relative_error(student.divergence(problem.batch), explicit_loss(tests::ExplicitModel(finished), problem)),
      1e-5);
  EXPECT_TRUE(std::get<weights::AffineWeight>(find(*finished.blocks.get(0), model::LinearRole::up)->weight)
                  .codes.equal(std::get<weights::AffineWeight>(
                                   find(*problem.student.blocks.get(0), model::LinearRole::up)->weight)
                                   .codes));
}

}  // namespace
}  // namespace normtweak::tweak
