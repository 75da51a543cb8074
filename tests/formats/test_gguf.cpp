// Files written by the `gguf` package are read as it wrote them, and blocks decoded as its numpy code decodes them.
#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>

#include <algorithm>

#include "normtweak/formats/ggml_block_floats.h"
#include "normtweak/formats/ggml_grids.h"
#include "normtweak/formats/gguf.h"
#include "normtweak/formats/safetensors.h"
#include "support.h"

namespace normtweak::formats {
namespace {

bool has_minimum(const GgmlType& type) { return type.layout && type.layout->minimum_at >= 0; }

class GgufFiles : public testing::TestWithParam<const char*> {};

TEST_P(GgufFiles, HoldTheTensors) {
  const auto folder = oracle_folder("gguf");
  REQUIRE_ORACLE(folder);
  const GgufFile file(folder / GetParam());
  const SafetensorsFile expected(folder / "expected.safetensors");
  for (const auto& name : expected.names()) {
    SCOPED_TRACE(name);
    const auto wanted = expected.read(name);
    const auto found = file.read(name);
    EXPECT_EQ(file.info(name).shape, wanted.sizes().vec());
    ASSERT_EQ(found.sizes(), wanted.sizes());
    EXPECT_EQ(found.scalar_type(), file.info(name).type);
    // Products are exact; a sum with a minimum is one rounding, or two, as the compiler may fuse it.
    const bool sums = std::ranges::any_of(ggml_types(), [&](const GgmlType& type) {
      return name == fmt::format("t.{}", type.name) && has_minimum(type);
    });
    EXPECT_TRUE(sums ? at::allclose(found, wanted, 1e-6, 1e-6) : found.to(at::kFloat).equal(wanted));
  }
  EXPECT_EQ(file.info("t.F16").type, at::kHalf);
  EXPECT_EQ(file.info("t.BF16").type, at::kBFloat16);
  EXPECT_EQ(file.info("t.Q4_K").type, at::kFloat);
  EXPECT_EQ(file.info("t.Q4_K").stored_as, "Q4_K");
  EXPECT_EQ(file.info("t.Q4_K").stored_bytes,
            static_cast<std::int64_t>(file.info("t.Q4_K").shape[0] * file.info("t.Q4_K").shape[1] / 256 * 144));
}

// The codes stand for the same values, and floats that did not change give the bytes of the file.
TEST_P(GgufFiles, KeepTheirCodes) {
  const auto folder = oracle_folder("gguf");
  REQUIRE_ORACLE(folder);
  const GgufFile file(folder / GetParam());
  const auto bytes = file.bytes();
  int kept = 0;
  for (const auto& type : ggml_types()) {
    const auto name = fmt::format("t.{}", type.name);
    if (!file.contains(name) || !type.has_floats()) continue;
    ++kept;
    const auto weight = file.read_weight(name).value();
    EXPECT_TRUE(weights::dequantize(weight).equal(file.read(name))) << name;
    const auto outline = file.outline(name).value();
    EXPECT_EQ(weights::shape(outline), weights::shape(weight)) << name;
    EXPECT_EQ(weights::bits_per_weight(outline),
              8.0 * static_cast<double>(file.info(name).stored_bytes) / static_cast<double>(file.read(name).numel()));
    EXPECT_TRUE(changes_only(bytes, file.patch(name, weight)).empty()) << name;
    // Twice the floats are twice the values: every change is an exact product, and so is every patch.
    auto doubled = weight;
    for (const auto& floats : weights::code_floats(doubled)) *floats.values = *floats.values * 2;
    std::ostringstream changed;
    write_patched(bytes, file.patch(name, doubled), changed);
    const auto text = changed.str();
    ASSERT_EQ(text.size(), bytes.size());
    const GgufFile other(std::as_bytes(std::span(text)), "changed");
    EXPECT_TRUE(other.read(name).equal(file.read(name) * 2)) << name;
    EXPECT_TRUE(weights::tensors(other.read_weight(name).value()).front().equal(weights::tensors(weight).front()));
  }
  EXPECT_EQ(kept, 21);
  EXPECT_FALSE(file.read_weight("t.F16").has_value());
  EXPECT_FALSE(file.read_weight("t.MXFP4").has_value());  // its scale is a power of two
}

// Those of floats follow from what `gguf` makes of blocks with one float 1 and the other 0.
TEST_P(GgufFiles, GradientsOfFloats) {
  const auto folder = oracle_folder("gguf");
  REQUIRE_ORACLE(folder);
  const GgufFile file(folder / GetParam());
  const SafetensorsFile gradients(folder / "gradients.safetensors");
  const auto direction = gradients.read("direction");
  int compared = 0;
  for (const auto& name : gradients.names()) {
    if (name == "direction") continue;
    SCOPED_TRACE(name);
    ++compared;
    const auto expected = gradients.read(name);  // [floats, rows, blocks]
    auto weight = file.read_weight(name).value();
    ASSERT_EQ(weights::code_floats(weight).size(), static_cast<std::size_t>(expected.size(0)));
    const auto found = weights::code_float_gradients(weight, direction, {true, true}, {});
    for (std::int64_t i = 0; i < expected.size(0); ++i) {
      const auto wanted = expected[i].to(at::kFloat);
      // Sums of up to 256 products in f32.
      EXPECT_TRUE(
          at::allclose(found[static_cast<std::size_t>(i)], wanted, 1e-5, 1e-6 * wanted.abs().max().item<float>()))
          << i;
    }
  }
  EXPECT_EQ(compared, 21);
}

TEST(Gguf, GridsAreThoseOfThePackage) {
  const auto folder = oracle_folder("gguf");
  REQUIRE_ORACLE(folder);
  const SafetensorsFile expected(folder / "grids.safetensors");
  const std::pair<const char*, const Grid&> grids[] = {
      {"IQ1_S", iq1_grid()},   {"IQ2_XXS", iq2_xxs_grid()}, {"IQ2_XS", iq2_xs_grid()},
      {"IQ2_S", iq2_s_grid()}, {"IQ3_XXS", iq3_xxs_grid()}, {"IQ3_S", iq3_s_grid()},
  };
  EXPECT_EQ(expected.names().size(), std::size(grids));
  for (const auto& [name, grid] : grids) {
    SCOPED_TRACE(name);
    const auto wanted = expected.read(name).to(at::kChar).contiguous();  // [points, length]
    ASSERT_EQ(wanted.size(0), static_cast<std::int64_t>(grid.size()));
    ASSERT_EQ(wanted.size(1), static_cast<std::int64_t>(grid.length()));
    EXPECT_TRUE(std::equal(grid[0], grid[grid.size()], wanted.const_data_ptr<std::int8_t>()));
  }
}

TEST(Gguf, PatchesOfOtherBlocksAreRefused) {
  const auto folder = oracle_folder("gguf");
  REQUIRE_ORACLE(folder);
  const GgufFile file(folder / "version3.gguf");
  const auto& type = *find_ggml_type(29);
  const auto weight = std::get<weights::BlockWeight>(file.read_weight("t.IQ1_M").value());
  EXPECT_THROW(patch_blocks(weight, type, file.bytes(), file.bytes().size() - 55), Error);
  auto large = weight;
  large.scales = weight.scales * 1e8;
  EXPECT_NE(error_of([&] { patch_blocks(large, type, file.bytes(), 0); }).find("does not fit into float16"),
            std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Gguf, GgufFiles, testing::Values("version3.gguf", "version2.gguf", "alignment128.gguf"));

TEST(Gguf, MetadataOfEveryType) {
  const auto folder = oracle_folder("gguf");
  REQUIRE_ORACLE(folder);
  const GgufFile file(folder / "version3.gguf");
  EXPECT_EQ(file.version(), 3U);
  const auto& metadata = file.metadata();
  EXPECT_EQ(metadata["general.architecture"], "llama");
  EXPECT_EQ(metadata["test.u8"], 200);
  EXPECT_EQ(metadata["test.i8"], -100);
  EXPECT_EQ(metadata["test.u16"], 60000);
  EXPECT_EQ(metadata["test.i16"], -30000);
  EXPECT_EQ(metadata["test.u32"], 4'000'000'000);
  EXPECT_EQ(metadata["test.i32"], -2'000'000'000);
  EXPECT_EQ(metadata["test.u64"], ~std::uint64_t{0});
  EXPECT_EQ(metadata["test.i64"], -(std::int64_t{1} << 62));
  EXPECT_EQ(metadata["test.f32"].get<float>(), 0.1F);
  EXPECT_EQ(metadata["test.f64"], 0.1);
  EXPECT_EQ(metadata["test.bool"], true);
  EXPECT_EQ(metadata["test.text"], "zwölf\n");
  EXPECT_EQ(metadata["test.texts"], Json({"a", "", "ß"}));
  EXPECT_EQ(metadata["test.numbers"], Json({1, -2, 3}));
  EXPECT_EQ(metadata["test.floats"], Json({0.5, 1.5}));
}

TEST(Gguf, UnreadableTypeIsRefusedOnlyWhenRead) {
  const auto folder = oracle_folder("gguf");
  REQUIRE_ORACLE(folder);
  const GgufFile file(folder / "version3.gguf");
  const auto message = error_of([&] { file.read("t.Q8_K"); });
  EXPECT_NE(message.find("tensor t.Q8_K: type 15 (Q8_K) cannot be read"), std::string::npos) << message;
}

TEST(Gguf, TypesAreListedOnce) {
  for (const auto& type : ggml_types()) {
    EXPECT_EQ(find_ggml_type(type.id), &type) << type.name;
    EXPECT_EQ(type.layout.has_value(), type.block_size > 1 && type.read_as.has_value()) << type.name;
  }
}

}  // namespace
}  // namespace normtweak::formats
