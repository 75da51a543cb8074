// Packed blocks are the bytes that they were unpacked from: of the `gguf` package, and of random bytes, which hold
// every integer that a type has.
#include <ATen/TensorOperators.h>
#include <ATen/ops/_unique.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <random>

#include "normtweak/formats/ggml_pack.h"
#include "normtweak/formats/gguf.h"
#include "support.h"

namespace normtweak::formats {
namespace {

const GgmlType& type_named(std::string_view name) { return *std::ranges::find(ggml_types(), name, &GgmlType::name); }

std::vector<std::byte> random_blocks(const GgmlType& type, std::int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::byte> bytes(static_cast<std::size_t>(count * type.block_bytes));
  std::ranges::generate(bytes, [&random] { return static_cast<std::byte>(random()); });
  for (std::int64_t i = 0; i < count; ++i) {
    for (const auto at : {type.layout->scale_at, type.layout->minimum_at}) {
      if (at < 0) continue;
      const c10::Half value = std::normal_distribution<float>(0, 0.01F)(random);
      std::memcpy(bytes.data() + i * type.block_bytes + at, &value, sizeof value);
    }
  }
  return bytes;
}

class PackedBlocks : public testing::TestWithParam<weights::BlockType> {};

TEST_P(PackedBlocks, AreTheBytesTheyWere) {
  const auto& type = type_named(GetParam().name);
  for (const std::int64_t rows : {1, 3, 40}) {
    const auto bytes = random_blocks(type, rows * 2, 5);
    EXPECT_EQ(pack_blocks(unpack_blocks(type, bytes, rows), type), bytes) << rows;
  }
}

TEST_P(PackedBlocks, AreThoseOfTheGgufPackage) {
  const auto folder = oracle_folder("gguf");
  REQUIRE_ORACLE(folder);
  const GgufFile file(folder / "version3.gguf");
  const auto name = fmt::format("t.{}", GetParam().name);
  const auto weight = std::get<weights::BlockWeight>(file.read_weight(name).value());
  const auto packed = pack_blocks(weight, type_named(GetParam().name));
  EXPECT_EQ(static_cast<std::int64_t>(packed.size()), file.info(name).stored_bytes);
  const auto found = std::ranges::search(file.bytes(), packed);
  EXPECT_FALSE(found.empty());
}

// The table says what the bytes can hold, and random bytes reach both ends of every range.
TEST_P(PackedBlocks, HoldTheIntegersOfTheTable) {
  const auto& table = GetParam();
  const auto& type = type_named(table.name);
  const auto weight = unpack_blocks(type, random_blocks(type, 500, 6), 500);
  const auto range_of = [](const at::Tensor& integers, int offset) {
    if (!integers.defined()) return weights::IntegerRange{};
    return weights::IntegerRange{integers.min().item<int>() - offset, integers.max().item<int>() - offset};
  };
  EXPECT_EQ(range_of(weight.codes, 128), table.codes);
  EXPECT_EQ(range_of(weight.sub_scales, 0), table.sub_scales);
  EXPECT_EQ(range_of(weight.sub_minima, 0), table.sub_minima);
  EXPECT_EQ(weight.minima.defined(), table.has_minimum);
  EXPECT_EQ(std::get<0>(at::_unique(weight.codes)).numel(), table.code_count());
  EXPECT_EQ(weight.bits, table.bits());
  EXPECT_EQ(weight.sub_size, table.sub_size);
}

TEST_P(PackedBlocks, RefuseWhatDoesNotFit) {
  const auto& table = GetParam();
  const auto& type = type_named(table.name);
  const auto whole = unpack_blocks(type, random_blocks(type, 4, 7), 2);
  const auto refusal = [&](auto change) {
    auto weight = whole;
    change(weight);
    return error_of([&] { pack_blocks(weight, type); });
  };
  const auto set = [](at::Tensor& all, int value) {
    all = all.clone();
    all[1][2] = value;
  };
  if (table.codes.highest < 127) {
    const auto message = refusal([&](auto& weight) { set(weight.codes, 128 + table.codes.highest + 1); });
    EXPECT_NE(message.find(fmt::format("code {} at row 1, column 2", table.codes.highest + 1)), std::string::npos)
        << message;
  }
  if (table.has_sub_blocks() && table.sub_scales.highest < 127) {
    const auto message = refusal([&](auto& weight) { set(weight.sub_scales, table.sub_scales.highest + 1); });
    EXPECT_NE(message.find("scale of a sub-block"), std::string::npos) << message;
  }
  if (table.has_sub_blocks() && table.has_minimum) {
    const auto message = refusal([&](auto& weight) { set(weight.sub_minima, 1); });
    EXPECT_NE(message.find("minimum of a sub-block 1 at row 1, column 2"), std::string::npos) << message;
  }
  EXPECT_NE(refusal([](auto& weight) { weight.scales = weight.scales * 1e9; }).find("float16"), std::string::npos);
  const auto message = refusal([](auto& weight) { weight.scales = weight.scales.slice(1, 0, 1); });
  EXPECT_NE(message.find("scales of shape [2, 1]"), std::string::npos) << message;
  const auto shape = refusal([](auto& weight) { weight.codes = weight.codes.slice(1, 0, 16); });
  EXPECT_NE(shape.find("whole blocks"), std::string::npos) << shape;
}

INSTANTIATE_TEST_SUITE_P(Types, PackedBlocks, testing::ValuesIn(weights::kBlockTypes),
                         [](const auto& row) { return std::string(row.param.name); });

TEST(Packing, IsOnlyForTypesThatWeightsAreQuantizedTo) {
  const auto& type = type_named("TQ2_0");
  const auto weight = unpack_blocks(type, random_blocks(type, 1, 8), 1);
  EXPECT_EQ(error_of([&] { pack_blocks(weight, type); }), "no weight is quantized to type TQ2_0");
}

}  // namespace
}  // namespace normtweak::formats
