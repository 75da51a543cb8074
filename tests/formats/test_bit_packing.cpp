#include <ATen/ops/full.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "normtweak/formats/bit_packing.h"
#include "support.h"

namespace normtweak::formats {
namespace {

// By the definition, bit by bit: code i of a row starts at bit i * bits of its words.
at::Tensor in_plain_words(const at::Tensor& codes, int bits) {
  const auto words = (codes.size(1) * bits + 31) / 32;
  auto packed = at::zeros({codes.size(0), words}, at::kInt);
  const auto from = codes.accessor<std::uint8_t, 2>();
  auto to = packed.accessor<std::int32_t, 2>();
  for (std::int64_t row = 0; row < codes.size(0); ++row) {
    for (std::int64_t bit = 0; bit < codes.size(1) * bits; ++bit) {
      const std::uint32_t value = from[row][bit / bits] >> (bit % bits) & 1;
      to[row][bit / 32] = static_cast<std::int32_t>(static_cast<std::uint32_t>(to[row][bit / 32]) | value << bit % 32);
    }
  }
  return packed;
}

// That the words are the library's is checked in test_compressed_tensors.cpp; here that nothing is lost.
TEST(BitPacking, AnyWidthAndLengthComesBack) {
  for (int bits = 1; bits <= 8; ++bits) {
    for (std::int64_t columns = 0; columns <= 70; ++columns) {
      const auto codes = at::randint(0, 1 << bits, {3, columns}, at::kByte);
      const auto packed = pack_rows(codes, bits);
      EXPECT_EQ(packed.size(1), (columns * bits + 31) / 32);
      EXPECT_TRUE(unpack_rows(packed, bits, columns).equal(codes)) << bits << " bits, " << columns << " columns";
      EXPECT_TRUE(unpack_with_operators(packed, bits, columns).equal(codes))
          << bits << " bits, " << columns << " columns";
      EXPECT_TRUE(packed.equal(in_plain_words(codes, bits))) << bits << " bits, " << columns << " columns";
      EXPECT_TRUE(packed.equal(pack_with_operators(codes, bits))) << bits << " bits, " << columns << " columns";
    }
  }
}

TEST(BitPacking, CodesCrossTheEndsOfWords) {
  auto codes = at::zeros({1, 11}, at::kByte);
  codes[0][10] = 5;  // 0b101: its two low bits end the first word
  EXPECT_TRUE(pack_rows(codes, 3).equal(at::tensor({1 << 30, 1}, at::kInt).view({1, 2})));
}

TEST(BitPacking, MistakesAreNamed) {
  EXPECT_EQ(error_of([] {
              pack_rows(at::full({2, 3}, 4, at::kByte), 2);
            }),
            "row 0 holds a code that needs more than 2 bits");
  EXPECT_EQ(error_of([] {
              pack_with_operators(at::tensor({1, 2, 3, 4}, at::kByte).view({2, 2}), 2);
            }),
            "row 1 holds a code that needs more than 2 bits");
  EXPECT_EQ(error_of([] { pack_rows(at::zeros({2, 3}, at::kByte), 9); }), "9 bits cannot be packed; 1 to 8 can");
  EXPECT_EQ(error_of([] {
              unpack_rows(at::zeros({2, 3}, at::kInt), 4, 32);
            }),
            "32 codes of 4 bits a row are 4 words of 32 bits; found I32 of shape [2, 3]");
}

}  // namespace
}  // namespace normtweak::formats
