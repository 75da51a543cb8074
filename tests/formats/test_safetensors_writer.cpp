// What is written is read back; that other readers agree is checked by check_written.py.
#include <ATen/ops/arange.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include "normtweak/base/json/json.h"
#include "normtweak/formats/model_weights.h"
#include "normtweak/formats/safetensors.h"
#include "support.h"

namespace normtweak::formats {
namespace {

NamedTensors mixed_tensors() {
  return {{"odd", at::arange(5, at::kByte)},
          {"b.weight", at::arange(6, at::kFloat).view({2, 3})},
          {"transposed", at::arange(6, at::kFloat).view({2, 3}).t()},
          {"half", at::arange(3, at::kFloat).to(at::kBFloat16)},
          {"flags", at::ones({3}, at::kBool)},
          {"empty", at::zeros({0, 4}, at::kHalf)},
          {"scalar", at::ones({}, at::kLong)}};
}

TEST(WriteSafetensors, IsReadBack) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "model.safetensors";
  write_safetensors(path, to_write(mixed_tensors()), {{"note", "\"quoted\" ß"}});
  const SafetensorsFile file(path);
  EXPECT_EQ(file.metadata(), (Metadata{{"note", "\"quoted\" ß"}}));
  for (const auto& [name, tensor] : mixed_tensors()) {
    SCOPED_TRACE(name);
    EXPECT_EQ(file.info(name).type, tensor.scalar_type());
    EXPECT_TRUE(file.read(name).equal(tensor));
  }
}

// Tensors larger than memory come row by row.
TEST(WriteSafetensors, RowsMakeTheSameFile) {
  const TemporaryFolder folder;
  const auto whole = at::arange(24, at::kFloat).view({4, 3, 2});
  const auto row_of = [&](std::int64_t row) { return whole[row]; };
  write_safetensors(folder.path() / "whole", to_write({{"a", whole}}));
  write_safetensors(folder.path() / "rows", {{"a", at::kFloat, {4, 3, 2}, {}, row_of}});
  EXPECT_EQ(read_file(folder.path() / "rows"), read_file(folder.path() / "whole"));
  const auto path = folder.path() / "wrong";
  const auto message = error_of([&] { write_safetensors(path, {{"a", at::kFloat, {4, 2}, {}, row_of}}); });
  EXPECT_NE(message.find("tensor a: F32 [2] was announced, F32 [3, 2] came"), std::string::npos) << message;
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(WriteSafetensors, MistakesLeaveNoFile) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "x.safetensors";
  const auto refuse = [&](const std::vector<TensorToWrite>& tensors, const char* expected) {
    const auto message = error_of([&] { write_safetensors(path, tensors); });
    EXPECT_NE(message.find(expected), std::string::npos) << message;
    EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  };
  const auto ones = [] { return at::ones({2}); };
  refuse({{"a", at::kFloat, {2}, ones}, {"a", at::kFloat, {2}, ones}}, "tensor a: the name is taken");
  refuse({{"__metadata__", at::kFloat, {2}, ones}}, "the name is taken");
  refuse({{"a", at::kFloat, {3}, ones}}, "tensor a: F32 [3] was announced, F32 [2] came");
  refuse({{"a", at::kHalf, {2}, ones}}, "tensor a: F16 [2] was announced, F32 [2] came");
  refuse({{"a", at::kComplexFloat, {2}, ones}}, "type ComplexFloat cannot be stored");
  refuse({{"a", at::kFloat, {-1}, ones}}, "shape [-1] cannot be written");
}

TEST(WriteShardedSafetensors, OneFileWhereItFits) {
  const TemporaryFolder folder;
  write_sharded_safetensors(folder.path(), to_write(mixed_tensors()));
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "model.safetensors.index.json"));
  EXPECT_EQ(SafetensorsFile(folder.path() / "model.safetensors").metadata(), kModelMetadata);
}

TEST(WriteShardedSafetensors, SeveralWhereNot) {
  const TemporaryFolder folder;
  // 5 | 24 | 24 | 6 + 3 + 0 + 8 bytes
  write_sharded_safetensors(folder.path(), to_write(mixed_tensors()), kModelMetadata, 24);
  const auto index = read_json(folder.path() / "model.safetensors.index.json");
  EXPECT_EQ(index["metadata"]["total_size"], 70);
  EXPECT_EQ(index["weight_map"]["odd"], "model-00001-of-00004.safetensors");
  EXPECT_EQ(index["weight_map"]["scalar"], "model-00004-of-00004.safetensors");
  const auto source = open_weights(folder.path());
  EXPECT_EQ(source->names().size(), mixed_tensors().size());
  for (const auto& [name, tensor] : mixed_tensors()) EXPECT_TRUE(source->read(name).equal(tensor)) << name;
}

}  // namespace
}  // namespace normtweak::formats
