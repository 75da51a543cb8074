// Copies in pieces, on the CPU; the same code runs with pinned memory and events where there is a GPU.
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <torch/cuda.h>

#include <cstring>
#include <vector>

#include "normtweak/base/device/host_transfer.h"

namespace normtweak {
namespace {

std::vector<std::byte> bytes_of(const at::Tensor& tensor) {
  std::vector<std::byte> bytes(tensor.nbytes());
  std::memcpy(bytes.data(), tensor.const_data_ptr(), bytes.size());
  return bytes;
}

// Pieces that divide the tensor, that do not, and one that holds it all.
constexpr std::int64_t kPieces[] = {4, 40, 64, 4096};

TEST(HostTransfer, PiecesAreUploadedAndConverted) {
  for (const auto type : {at::kBFloat16, at::kFloat, at::kHalf}) {
    const auto host = at::randn({7, 11}).to(at::kBFloat16);
    for (const auto piece : kPieces) {
      const auto target = at::zeros({7, 11}, type);
      upload_in_pieces(host, target, piece);
      EXPECT_TRUE(target.equal(host.to(type))) << type << ", pieces of " << piece;
    }
  }
}

TEST(HostTransfer, PiecesAreDownloadedInOrder) {
  const auto matrix = at::arange(77, at::kInt).view({7, 11});
  for (const auto& tensor : {matrix, matrix.t()}) {
    for (const auto piece : kPieces) {
      std::vector<std::byte> together;
      download_in_pieces(tensor, piece, [&](std::span<const std::byte> bytes) {
        EXPECT_LE(static_cast<std::int64_t>(bytes.size()), piece);
        together.insert(together.end(), bytes.begin(), bytes.end());
      });
      EXPECT_EQ(together, bytes_of(tensor.contiguous()));
    }
  }
}

TEST(HostTransfer, WhatIsLoadedIsACopy) {
  const auto host = at::randn({3});
  auto loaded = to_device(host, at::kCPU, at::kFloat);
  loaded.zero_();
  EXPECT_TRUE(host.any().item<bool>());
}

TEST(HostTransfer, ThereAndBackOnAGpu) {
  if (!torch::cuda::is_available()) GTEST_SKIP() << "no GPU";
  const c10::Device gpu(at::kCUDA, 0);
  const auto host = at::randn({3000, 4001}).to(at::kBFloat16);  // not a whole number of pieces
  EXPECT_TRUE(to_device(host, gpu, at::kFloat).cpu().equal(host.to(at::kFloat)));
  std::vector<std::byte> together;
  for_each_piece(to_device(host, gpu, at::kBFloat16), [&](std::span<const std::byte> bytes) {
    together.insert(together.end(), bytes.begin(), bytes.end());
  });
  EXPECT_EQ(together, bytes_of(host));
}

TEST(HostTransfer, NothingIsNothing) {
  EXPECT_EQ(to_device(at::empty({0, 4}), at::kCPU, at::kHalf).numel(), 0);
  for_each_piece(at::empty({0, 4}), [](std::span<const std::byte> bytes) { EXPECT_TRUE(bytes.empty()); });
}

}  // namespace
}  // namespace normtweak
