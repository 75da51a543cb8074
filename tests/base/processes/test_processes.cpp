// Sums, rows and copies between processes. ctest starts this program three times over, through torchrun; each process
// knows what the others have, and so what has to come out.
#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Generator.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <thread>

#include "normtweak/base/processes/rendezvous.h"

namespace normtweak {
namespace {

// The connection of this process; the order of calls is that of the tests, in all of them.
const Processes& processes() {
  static const auto connected = Rendezvous(launch_from_environment()).connect(at::kCPU);
  return connected;
}

at::Tensor random_tensor(int rank, at::IntArrayRef shape, at::ScalarType type = at::kFloat) {
  auto generator = at::globalContext().defaultGenerator(at::kCPU).clone();
  generator.set_current_seed(static_cast<std::uint64_t>(rank) + 1);
  if (!at::isFloatingType(type)) return at::randint(0, 2, shape, generator, at::kLong).to(type);
  return at::rand(shape, generator).to(type);
}

TEST(Processes, AreThree) {
  EXPECT_EQ(processes().size(), 3);
  EXPECT_EQ(processes().rank(), launch_from_environment().rank);
  EXPECT_EQ(processes().is_first(), processes().rank() == 0);
}

TEST(Processes, ShareEverythingOnce) {
  for (const std::int64_t items : {0, 1, 2, 3, 7, 100}) {
    const auto share = processes().share(items);
    const auto counts = processes().gather_rows(at::full({1}, share.count, at::kLong));
    EXPECT_EQ(counts.sum().item<std::int64_t>(), items);
    EXPECT_LE((counts.max() - counts.min()).item<std::int64_t>(), 1);
    EXPECT_EQ(share.begin, counts.narrow(0, 0, processes().rank()).sum().item<std::int64_t>());
  }
}

TEST(Processes, SumTensorsOfAnyTypeAndShape) {
  struct Part {
    std::vector<std::int64_t> shape;
    at::ScalarType type;
    double tolerance;  // of sums of three numbers below 1: exact, or the rounding of F32
  };
  const std::vector<Part> parts = {{{5, 3}, at::kFloat, 1e-6},   {{}, at::kLong, 0},   {{7}, at::kFloat, 1e-6},
                                   {{2, 2}, at::kDouble, 1e-15}, {{0}, at::kFloat, 0}, {{1000, 100}, at::kFloat, 1e-6}};
  std::vector<at::Tensor> tensors;
  for (const auto& part : parts) tensors.push_back(random_tensor(processes().rank(), part.shape, part.type));
  tensors.push_back(random_tensor(processes().rank(), {4, 6}).t());  // not contiguous
  processes().all_reduce_sum(tensors);
  processes().all_reduce_sum({});
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const bool transposed = i == parts.size();
    const auto shape = transposed ? std::vector<std::int64_t>{4, 6} : parts[i].shape;
    const auto type = transposed ? at::kFloat : parts[i].type;
    auto expected = at::zeros_like(random_tensor(0, shape, at::kDouble));
    for (int rank = 0; rank < 3; ++rank) expected += random_tensor(rank, shape, type).to(at::kDouble);
    if (transposed) expected = expected.t();
    EXPECT_EQ(tensors[i].scalar_type(), type);
    EXPECT_TRUE(tensors[i].to(at::kDouble).allclose(expected, 0, transposed ? 1e-6 : parts[i].tolerance)) << i;
  }
}

TEST(Processes, SumsAreTheSameBytesEverywhere) {
  auto sum = random_tensor(processes().rank(), {1, 4096});
  processes().all_reduce_sum({sum});
  const auto all = processes().gather_rows(sum);
  EXPECT_TRUE(all[0].equal(all[1]) && all[0].equal(all[2]));
}

TEST(Processes, GatherRowsInOrder) {
  for (const auto type : {at::kFloat, at::kLong, at::kBool, at::kBFloat16}) {
    const auto rows_of = [&](int rank) { return random_tensor(rank, {2 * rank, 3}, type); };  // rank 0 has none
    const auto all = processes().gather_rows(rows_of(processes().rank()));
    EXPECT_EQ(all.scalar_type(), type);
    EXPECT_TRUE(all.equal(at::cat({rows_of(0), rows_of(1), rows_of(2)})));
  }
}

TEST(Processes, CopyOneProcessesTensors) {
  for (const int root : {0, 2}) {
    std::vector<at::Tensor> tensors;
    for (const auto type : {at::kByte, at::kFloat, at::kBool}) {
      tensors.push_back(random_tensor(processes().rank(), {3, 5}, type));
    }
    tensors.push_back(random_tensor(processes().rank(), {3, 5}).t());
    tensors.push_back(random_tensor(processes().rank(), {}));
    processes().broadcast(tensors, root);
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_TRUE(tensors[i].equal(random_tensor(root, {3, 5}, tensors[i].scalar_type()))) << i;
    }
    EXPECT_TRUE(tensors[3].equal(random_tensor(root, {3, 5}).t()));
    EXPECT_TRUE(tensors[4].equal(random_tensor(root, {})));
  }
  processes().barrier();
}

TEST(Processes, OneThatHangsIsMissed) {
  auto launch = launch_from_environment();
  launch.attempt += " of the hanging one";  // a rendezvous of its own
  launch.timeout = std::chrono::seconds(8);
  const Rendezvous rendezvous(launch);
  const auto connected = rendezvous.connect(at::kCPU);
  if (connected.rank() == 2) {
    std::this_thread::sleep_for(2 * launch.timeout + std::chrono::seconds(5));
  } else {
    std::thread watch([&] {
      std::this_thread::sleep_for(std::chrono::seconds(5));
      EXPECT_GE(rendezvous.waited().count(), 3);
    });
    EXPECT_THROW(connected.barrier(), LostProcess);
    watch.join();
  }
  EXPECT_EQ(rendezvous.waited().count(), 0);
}

TEST(Processes, OneAloneExchangesNothing) {
  const Processes alone;
  EXPECT_EQ(alone.size(), 1);
  EXPECT_TRUE(alone.is_first());
  const auto rows = random_tensor(0, {4, 2});
  EXPECT_TRUE(alone.gather_rows(rows).equal(rows));
  alone.all_reduce_sum({rows});
  alone.broadcast({rows});
  alone.barrier();
  EXPECT_TRUE(rows.equal(random_tensor(0, {4, 2})));
  EXPECT_EQ(alone.share(9).count, 9);
}

}  // namespace
}  // namespace normtweak
