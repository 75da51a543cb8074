// Files written by the `gguf` package are read as it wrote them, and blocks decoded as its numpy code decodes them.
#include <ATen/ops/allclose.h>

#include "normtweak/formats/gguf.h"
#include "normtweak/formats/safetensors.h"
#include "support.h"

namespace normtweak::formats {
namespace {

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
    // The same products and sums in the same order; a compiler for a machine with fused multiply-add may fuse them.
    EXPECT_TRUE(at::allclose(found.to(at::kFloat), wanted, 1e-6, 1e-6));
  }
  EXPECT_EQ(file.info("t.F16").type, at::kHalf);
  EXPECT_EQ(file.info("t.BF16").type, at::kBFloat16);
  EXPECT_EQ(file.info("t.Q4_K").type, at::kFloat);
  EXPECT_EQ(file.info("t.Q4_K").stored_as, "Q4_K");
  EXPECT_EQ(file.info("t.Q4_K").stored_bytes,
            static_cast<std::int64_t>(file.info("t.Q4_K").shape[0] * file.info("t.Q4_K").shape[1] / 256 * 144));
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
  const auto message = error_of([&] { file.read("t.IQ4_NL"); });
  EXPECT_NE(message.find("tensor t.IQ4_NL: type 20 (IQ4_NL) cannot be read"), std::string::npos) << message;
}

TEST(Gguf, TypesAreListedOnce) {
  for (const auto& type : ggml_types()) {
    EXPECT_EQ(find_ggml_type(type.id), &type) << type.name;
    EXPECT_EQ(type.dequantize != nullptr, type.block_size > 1 && type.read_as.has_value()) << type.name;
  }
}

}  // namespace
}  // namespace normtweak::formats
