// Weights packed by the `compressed_tensors` package are read, and packed again to the same bytes.
#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/zeros.h>

#include "memory_source.h"
#include "normtweak/base/device/device.h"
#include "normtweak/base/json/json.h"
#include "normtweak/formats/bit_packing.h"
#include "normtweak/formats/compressed_tensors.h"
#include "normtweak/formats/safetensors.h"
#include "support.h"

namespace normtweak::formats {
namespace {

TEST(CompressedTensors, IsReadAndWrittenAsThePackageDoes) {
  const auto folder = oracle_folder("compressed_tensors");
  REQUIRE_ORACLE(folder);
  const SafetensorsFile packed(folder / "packed.safetensors"), expected(folder / "expected.safetensors");
  for (const auto& row : read_json(folder / "cases.json")) {
    const auto name = row["name"].get<std::string>();
    SCOPED_TRACE(name);
    const PackedSettings settings = {row["bits"], row["group_size"], row["symmetric"]};
    const auto weight = decode_packed(packed, name, settings);
    const auto& affine = std::get<weights::AffineWeight>(weight);
    EXPECT_TRUE(affine.codes.equal(expected.read(name + ".codes")));
    EXPECT_TRUE(affine.zeros.equal(expected.read(name + ".zeros")));
    EXPECT_EQ(affine.scale_type, parse_float_type(row["scale"].get<std::string>()));
    auto found = settings;
    if (affine.scales.size(1) == 1) found.group_size = 0;  // a group of all columns is a channel
    EXPECT_EQ(packed_settings(weight), found);
    // The package multiplies in the type of the scales: a step of 2^-8 for bf16, which has the fewest bits.
    EXPECT_TRUE(at::allclose(weights::dequantize(weight), expected.read(name + ".weight"), 1.0 / 256, 0));

    const auto written = made(encode_packed(name, weight));
    EXPECT_EQ(written.size(), settings.symmetric ? 3U : 4U);
    for (const auto& [tensor_name, tensor] : written) {
      const auto original = packed.read(tensor_name);
      EXPECT_EQ(tensor.scalar_type(), original.scalar_type()) << tensor_name;
      EXPECT_TRUE(tensor.equal(original)) << tensor_name;
    }
  }
}

weights::AffineWeight some_affine(int bits = 4, bool float_zeros = false) {
  weights::AffineWeight weight;
  weight.codes = at::randint(0, 1 << bits, {6, 16}, at::kByte);
  weight.scales = at::rand({6, 2}).to(at::kHalf).to(at::kFloat);
  weight.zeros = at::randint(0, 1 << bits, {6, 2}, at::kFloat) + (float_zeros ? 0.25 : 0.0);
  weight.bits = bits;
  weight.group_size = 8;
  weight.float_zeros = float_zeros;
  return weight;
}

TEST(CompressedTensors, FractionalZeroPointsComeBack) {
  const auto weight = some_affine(3, /*float_zeros=*/true);
  EXPECT_EQ(packed_settings(weight).kind, PackedKind::float_zero_points);
  const MemorySource source(made(encode_packed("m", weight)));
  const auto read = std::get<weights::AffineWeight>(decode_packed(source, "m", packed_settings(weight)));
  EXPECT_TRUE(read.codes.equal(weight.codes));
  EXPECT_TRUE(read.zeros.equal(weight.zeros));
  EXPECT_TRUE(read.float_zeros);
}

TEST(CompressedTensors, CodebooksComeBack) {
  weights::CodebookWeight weight;
  weight.codes = at::randint(0, 8, {6, 21}, at::kByte);
  weight.codebook = at::rand({6, 8}).to(at::kBFloat16).to(at::kFloat);
  weight.bits = 3;
  weight.codebook_type = at::kBFloat16;
  const MemorySource source(made(encode_packed("m", weight)));
  const auto read = std::get<weights::CodebookWeight>(decode_packed(source, "m", packed_settings(weight)));
  EXPECT_TRUE(read.codes.equal(weight.codes));
  EXPECT_TRUE(read.codebook.equal(weight.codebook));
  EXPECT_EQ(read.codebook_type, at::kBFloat16);
}

TEST(CompressedTensors, CodebooksOfGroupsComeBack) {
  weights::CodebookWeight weight;
  weight.codes = at::randint(0, 4, {6, 24}, at::kByte);
  weight.codebook = at::rand({6, 3 * 4}).to(at::kHalf).to(at::kFloat);
  weight.bits = 2;
  auto settings = packed_settings(weight);
  EXPECT_EQ(settings.group_size, 8);
  const MemorySource source(made(encode_packed("m", weight)));
  const auto read = std::get<weights::CodebookWeight>(decode_packed(source, "m", settings));
  EXPECT_TRUE(read.codes.equal(weight.codes));
  EXPECT_TRUE(read.codebook.equal(weight.codebook));
  EXPECT_EQ(weights::describe(outline_packed(source, "m", settings)).group_size, 8);
  settings.group_size = 12;
  EXPECT_THROW(decode_packed(source, "m", settings), Error);
}

// A model larger than memory can be written: only the tensor whose turn it is exists, and codes are read then.
TEST(CompressedTensors, NothingIsPackedBeforeItsTurn) {
  weights::CodebookWeight codebook;
  codebook.codes = at::randint(0, 8, {6, 21}, at::kByte);
  codebook.codebook = at::rand({6, 8});
  codebook.bits = 3;
  for (const weights::Weight& weight :
       {weights::Weight(some_affine()), weights::Weight(some_affine(3, /*float_zeros=*/true)),
        weights::Weight(codebook)}) {
    const auto later = encode_packed("m", weight);
    weights::tensors(weight).front().zero_();  // the codes
    EXPECT_FALSE(later.front().load().any().item<bool>());
    for (const auto& tensor : later) {
      const auto loaded = tensor.load();
      EXPECT_EQ(loaded.scalar_type(), tensor.type) << tensor.name;
      EXPECT_EQ(loaded.sizes(), tensor.shape) << tensor.name;
    }
  }
}

TEST(CompressedTensors, WhatCannotBeStoredIsRefused) {
  const auto refuse = [](const weights::Weight& weight, const char* expected) {
    const auto message = error_of([&] { made(encode_packed("m", weight)); });
    EXPECT_NE(message.find(expected), std::string::npos) << message;
    EXPECT_EQ(message.substr(0, 8), "linear m");
  };
  auto weight = some_affine();
  weight.zeros = weight.zeros + 0.5;
  refuse(weight, "zero-points must be whole numbers from 0 to 15");
  weight.zeros = at::full({6, 2}, 16.0);
  refuse(weight, "zero-points must be whole numbers from 0 to 15");
  weight = some_affine();
  weight.symmetric = true;
  refuse(weight, "the zero-points of a symmetric weight of 4 bits must be 8");
  weight = some_affine();
  weight.scales = weight.scales + 70000;
  refuse(weight, "a scale does not fit F16");
  weight = some_affine();
  weight.codes = weight.codes + 16;
  refuse(weight, "a code that needs more than 4 bits");
  weight = some_affine();
  weight.group_size = 5;
  refuse(weight, "group size 5 does not divide");
  refuse(weights::FloatWeight{at::zeros({2, 2})}, "this weight is float");
}

struct Damage {
  const char* name;
  void (*apply)(NamedTensors& tensors);  // weight_packed, weight_scale, weight_zero_point, weight_shape
  PackedSettings settings;
  const char* message;
};

constexpr PackedSettings kSettings = {4, 8, false};
const Damage kDamages[] = {
    {"NoCodes", [](auto& t) { t.erase(t.begin()); }, kSettings, "m.weight_packed"},
    {"NoScale", [](auto& t) { t.erase(t.begin() + 1); }, kSettings, "m.weight_scale"},
    {"NoZeroPoint", [](auto& t) { t.erase(t.begin() + 2); }, kSettings, "m.weight_zero_point"},
    {"NoShape", [](auto& t) { t.erase(t.begin() + 3); }, kSettings, "m.weight_shape"},
    {"FewCodes", [](auto& t) { t[0].second = t[0].second.narrow(1, 0, 1); }, kSettings,
     "m.weight_packed: 1 words for 16 codes of 4 bits, 2 expected"},
    {"CodesFlat", [](auto& t) { t[0].second = t[0].second.reshape({12}); }, kSettings, "shape [6, -1] expected"},
    {"CodesLong", [](auto& t) { t[0].second = t[0].second.to(at::kLong); }, kSettings,
     "I32 expected, the file has I64"},
    {"ScaleInteger", [](auto& t) { t[1].second = t[1].second.to(at::kInt); }, kSettings, "F16, BF16 or F32 expected"},
    {"ScalesFew", [](auto& t) { t[1].second = t[1].second.narrow(1, 0, 1); }, kSettings,
     "m.weight_scale: holds 1 groups"},
    {"ZerosUnpacked",
     [](auto& t) {
       t[2].second = at::zeros({6, 2}, at::kShort);
     },
     kSettings, "m.weight_zero_point: I32 expected, the file has I16"},
    {"ShapeNegative", [](auto& t) { t[3].second = -t[3].second; }, kSettings, "holds [-6, -16]"},
    {"ShapeHuge", [](auto& t) { t[3].second = t[3].second * (std::int64_t{1} << 40); }, kSettings, "not the shape"},
    {"ShapeScalar", [](auto& t) { t[3].second = t[3].second[0]; }, kSettings, "m.weight_shape: shape [2] expected"},
    {"OtherBits", [](auto&) {}, {8, 8, false}, "m.weight_packed: 2 words for 16 codes of 8 bits, 4 expected"},
    {"OtherGroup", [](auto&) {}, {4, 4, false}, "m.weight_scale: holds 2 groups, but the config has groups of 4"},
    {"UnevenGroup", [](auto&) {}, {4, 5, false}, "group size 5 does not divide the 16 input columns"},
    {"Reordered", [](auto& t) { t.emplace_back("m.weight_g_idx", at::zeros({16}, at::kInt)); }, kSettings,
     "m.weight_g_idx: its groups have different numbers"},
    {"IndexOut", [](auto& t) { t.emplace_back("m.weight_g_idx", at::full({16}, 2, at::kInt)); }, kSettings,
     "holds groups from 2 to 2, and the linear has 2"},
};

class DamagedLinears : public testing::TestWithParam<Damage> {};

TEST_P(DamagedLinears, AreRefused) {
  auto tensors = made(encode_packed("m", some_affine()));
  GetParam().apply(tensors);
  const MemorySource source(tensors);
  const auto message = error_of([&] { decode_packed(source, "m", GetParam().settings); });
  EXPECT_NE(message.find(GetParam().message), std::string::npos) << message;
  EXPECT_EQ(message.substr(0, 6), "memory");
}

INSTANTIATE_TEST_SUITE_P(CompressedTensors, DamagedLinears, testing::ValuesIn(kDamages), by_name);

// Ten codes of 3 bits in a word, as compressed-tensors packed them before 0.18.
at::Tensor packed_whole(const at::Tensor& codes) {
  auto words = at::zeros({codes.size(0), (codes.size(1) + 9) / 10}, at::kInt);
  for (std::int64_t row = 0; row < codes.size(0); ++row) {
    for (std::int64_t i = 0; i < codes.size(1); ++i) {
      words[row][i / 10] += codes[row][i].to(at::kInt) * (1 << (3 * (i % 10)));
    }
  }
  return words;
}

TEST(CompressedTensors, OlderLayoutIsRead) {
  auto weight = some_affine(3);
  weight.codes = at::randint(0, 8, {6, 64}, at::kByte);
  weight.scales = weight.scales.repeat({1, 4});
  weight.zeros = weight.zeros.repeat({1, 4});
  auto tensors = made(encode_packed("m", weight));
  tensors[0].second = packed_whole(weight.codes);
  const auto read = decode_packed(MemorySource(tensors), "m", {3, 8, false});
  EXPECT_TRUE(weights::dequantize(read).equal(weights::dequantize(weight)));
}

}  // namespace
}  // namespace normtweak::formats
