// Files written by the `safetensors` package are read as it wrote them.
#include <ATen/ops/zeros.h>

#include <fstream>

#include "normtweak/base/json/json.h"
#include "normtweak/formats/model_weights.h"
#include "normtweak/formats/safetensors.h"
#include "support.h"

namespace normtweak::formats {
namespace {

class FilesOfEveryType : public testing::TestWithParam<const char*> {};

TEST_P(FilesOfEveryType, AreReadByteForByte) {
  const auto folder = oracle_folder("safetensors");
  REQUIRE_ORACLE(folder);
  const auto expected = read_json(folder / "expected.json");
  const SafetensorsFile file(folder / GetParam());
  EXPECT_EQ(file.names().size(), expected.size());
  for (const auto& [name, tensor] : expected.items()) {
    SCOPED_TRACE(name);
    ASSERT_TRUE(file.contains(name));
    const auto read = file.read(name);
    EXPECT_EQ(read.sizes().vec(), tensor["shape"].get<std::vector<std::int64_t>>());
    EXPECT_EQ(hex(read), tensor["hex"].get<std::string>());
    EXPECT_EQ(file.info(name).type, read.scalar_type());
    const auto address = reinterpret_cast<std::uintptr_t>(read.const_data_ptr());
    EXPECT_EQ(address % read.element_size(), 0U);
  }
  EXPECT_EQ(file.metadata(), (Metadata{{"format", "pt"}, {"note", "two\nlines"}}));
}

INSTANTIATE_TEST_SUITE_P(Safetensors, FilesOfEveryType, testing::Values("types.safetensors", "unaligned.safetensors"));

TEST(Safetensors, TypesAreTheirs) {
  const auto folder = oracle_folder("safetensors");
  REQUIRE_ORACLE(folder);
  const SafetensorsFile file(folder / "types.safetensors");
  EXPECT_EQ(file.info("t.BF16").type, at::kBFloat16);
  EXPECT_EQ(file.info("t.F64").type, at::kDouble);
  EXPECT_EQ(file.info("t.BOOL").type, at::kBool);
  EXPECT_EQ(file.info("t.U8").type, at::kByte);
  EXPECT_EQ(file.read("scalar").item<float>(), 2.5F);
}

TEST(Safetensors, UnsupportedTypeIsRefusedOnlyWhenRead) {
  const auto folder = oracle_folder("safetensors");
  REQUIRE_ORACLE(folder);
  const SafetensorsFile file(folder / "complex.safetensors");
  EXPECT_EQ(file.read("small").numel(), 2);
  const auto message = error_of([&] { file.read("complex"); });
  EXPECT_NE(message.find("tensor complex: type C64 is not supported"), std::string::npos) << message;
}

TEST(Safetensors, AbsentTensorIsNamed) {
  const auto folder = oracle_folder("safetensors");
  REQUIRE_ORACLE(folder);
  const SafetensorsFile file(folder / "types.safetensors");
  EXPECT_FALSE(file.contains("__metadata__"));
  const auto message = error_of([&] { file.read("lm_head.weight"); });
  EXPECT_NE(message.find("types.safetensors: has no tensor lm_head.weight"), std::string::npos) << message;
}

TEST(Safetensors, WrongShapeIsNamed) {
  const auto folder = oracle_folder("safetensors");
  REQUIRE_ORACLE(folder);
  const SafetensorsFile file(folder / "types.safetensors");
  EXPECT_EQ(read_with_shape(file, "t.F32", {3, 5}).numel(), 15);
  const auto message = error_of([&] { read_with_shape(file, "t.F32", {5, 3}); });
  EXPECT_NE(message.find("tensor t.F32: shape [5, 3] expected, the file has [3, 5]"), std::string::npos) << message;
}

TEST(ShardedSafetensors, IsOneSource) {
  const auto folder = oracle_folder("safetensors");
  REQUIRE_ORACLE(folder);
  const auto source = open_weights(folder / "sharded");
  EXPECT_EQ(source->names(), (std::vector<std::string>{"a.weight", "b.weight"}));
  EXPECT_FALSE(source->contains("stray"));
  EXPECT_EQ(source->read("a.weight").sizes().vec(), (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(source->info("b.weight").type, at::kBFloat16);
  EXPECT_NE(source->file_of("b.weight").find("model-00002-of-00002.safetensors"), std::string::npos);
}

struct BrokenIndex {
  const char* name;
  std::string index;
  const char* message;
};

class BrokenIndexes : public testing::TestWithParam<BrokenIndex> {};

TEST_P(BrokenIndexes, AreRefused) {
  const TemporaryFolder folder;
  write_safetensors(folder.path() / "one.safetensors", {});
  for (const auto* name : {"full.safetensors", "also.safetensors"}) {
    write_safetensors(folder.path() / name, to_write({{"a", at::zeros({2})}}));
  }
  std::ofstream(folder.path() / "model.safetensors.index.json") << GetParam().index;
  const auto message = error_of([&] { open_weights(folder.path()); });
  EXPECT_NE(message.find(GetParam().message), std::string::npos) << message;
}

INSTANTIATE_TEST_SUITE_P(
    Safetensors, BrokenIndexes,
    testing::Values(
        BrokenIndex{"MissingShard", R"({"weight_map": {"x": "two.safetensors"}})", "two.safetensors: missing"},
        BrokenIndex{"MissingTensor", R"({"weight_map": {"x": "one.safetensors"}})", "one.safetensors: has no tensor x"},
        BrokenIndex{"Outside", R"({"weight_map": {"x": "../one.safetensors"}})", "not the name of a file beside it"},
        BrokenIndex{"Parent", R"({"weight_map": {"x": ".."}})", "is a folder"},
        BrokenIndex{"LongName", R"({"weight_map": {"x": ")" + std::string(5000, 'a') + R"("}})",
                    "not the name of a file beside it"},
        BrokenIndex{"Number", R"({"weight_map": {"x": 3}})", "must be the name of a file"},
        BrokenIndex{"NoMap", R"({"metadata": {}})", "`weight_map` must be"},
        BrokenIndex{"List", "[1]", "expected a JSON object"},
        BrokenIndex{"NullMap", R"({"weight_map": null})", "`weight_map` must be"},
        BrokenIndex{"NestedEntry", R"({"weight_map": {"x": ["one.safetensors"]}})", "weight_map.x must be"},
        BrokenIndex{"TensorTwice", R"({"weight_map": {"a": "full.safetensors", "a": "full.safetensors"}})",
                    "names tensor a twice"},
        BrokenIndex{"TwoFiles", R"({"weight_map": {"a": "full.safetensors", "a": "also.safetensors"}})",
                    "two files for tensor a"},
        BrokenIndex{"MapTwice", R"({"weight_map": {}, "weight_map": {}})", "`weight_map` occurs twice"},
        BrokenIndex{"ZeroByte", R"({"weight_map": {"a": "full.safetensors\u0000x"}})", "not the name of a file"},
        BrokenIndex{"Behind", R"({"weight_map": {}} {})", "not valid JSON"},
        BrokenIndex{"Cut", R"({"weight_map": {)", "not valid JSON"}),
    by_name);

TEST(OpenWeights, SaysWhatIsMissing) {
  const TemporaryFolder folder;
  EXPECT_NE(error_of([&] { open_weights(folder.path()); }).find("holds neither"), std::string::npos);
  EXPECT_NE(error_of([&] { open_weights(folder.path() / "no"); }).find("no such folder"), std::string::npos);
}

}  // namespace
}  // namespace normtweak::formats
