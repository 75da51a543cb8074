// Files of the `gguf` package, written again from what was read, have the same bytes.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include "normtweak/formats/ggml_pack.h"
#include "normtweak/formats/gguf.h"
#include "normtweak/formats/gguf_writer.h"
#include "support.h"

namespace normtweak::formats {
namespace {

std::string content(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<GgufTensorToWrite> tensors_of(const GgufFile& file) {
  std::vector<GgufTensorToWrite> tensors;
  for (const auto& name : file.names()) {
    const auto bytes = file.tensor_bytes(name);
    // in two pieces, of which one may be empty
    const auto write = [bytes](const GgufSink& sink) {
      sink(bytes.first(bytes.size() / 2));
      sink(bytes.subspan(bytes.size() / 2));
    };
    tensors.push_back({name, &file.tensor_type(name), file.tensor_shape(name), write});
  }
  return tensors;
}

GgufTensorToWrite four_floats(const std::string& name, std::size_t bytes) {
  const auto write = [data = std::string(bytes, '\1')](const GgufSink& sink) { sink(as_bytes(data)); };
  return {name, find_ggml_type(0), {2, 2}, write};
}

// `path` as this program writes it from what it reads: keys as stored, tensors by `tensors`.
void expect_same_bytes(const std::filesystem::path& path, const GgufFile& file,
                       const std::vector<GgufTensorToWrite>& tensors) {
  GgufKeys keys;
  for (const auto& key : file.keys()) keys.put_stored(key, file.stored_key(key));
  const TemporaryFolder there;
  write_gguf(there.path() / "again.gguf", keys, tensors);
  EXPECT_TRUE(content(there.path() / "again.gguf") == content(path)) << path;
  EXPECT_EQ(gguf_file_bytes(keys, tensors), std::filesystem::file_size(path)) << path;
}

// As tensors_of(), but weights with codes are unpacked and packed again.
std::vector<GgufTensorToWrite> packed_tensors_of(const GgufFile& file) {
  auto tensors = tensors_of(file);
  for (auto& tensor : tensors) {
    if (!tensor.type->layout || tensor.type->layout->pack == nullptr) continue;
    tensor.write = [&file, name = tensor.name, type = tensor.type](const GgufSink& sink) {
      sink(pack_blocks(std::get<weights::BlockWeight>(file.read_weight(name).value()), *type));
    };
  }
  return tensors;
}

std::vector<std::filesystem::path> real_models() {
  const char* listed = std::getenv("NORMTWEAK_REAL_MODELS");
  std::istringstream list(listed == nullptr ? "" : listed);
  std::vector<std::filesystem::path> paths;
  for (std::string path; std::getline(list, path, ':');) {
    if (!path.empty()) paths.emplace_back(path);
  }
  return paths;
}

TEST(RealGgufFiles, HaveTheSameBytesWhenWrittenAgain) {
  const auto paths = real_models();
  if (paths.empty()) GTEST_SKIP() << "NORMTWEAK_REAL_MODELS names no GGUF files";
  for (const auto& path : paths) {
    const GgufFile file(path);
    expect_same_bytes(path, file, packed_tensors_of(file));
  }
}

class RewrittenGgufFiles : public testing::TestWithParam<const char*> {};

TEST_P(RewrittenGgufFiles, HaveTheSameBytes) {
  const auto folder = oracle_folder("gguf");
  REQUIRE_ORACLE(folder);
  const GgufFile file(folder / GetParam());
  expect_same_bytes(folder / GetParam(), file, tensors_of(file));
}

INSTANTIATE_TEST_SUITE_P(Gguf, RewrittenGgufFiles, testing::Values("version3.gguf", "alignment128.gguf"));

// Every kind of value, made anew, is stored as the package stores it.
TEST(GgufKeys, AreStoredAsThePackageStoresThem) {
  const auto folder = oracle_folder("gguf");
  REQUIRE_ORACLE(folder);
  const GgufFile file(folder / "version3.gguf");
  const auto expect_stored = [&](const std::string& key, const auto& value) {
    GgufKeys made, read;
    made.put(key, value);
    read.put_stored(key, file.stored_key(key));
    EXPECT_EQ(made.bytes(), read.bytes()) << key;
  };
  expect_stored("test.u32", std::uint32_t{4'000'000'000});
  expect_stored("test.i32", std::int32_t{-2'000'000'000});
  expect_stored("test.f32", 0.1F);
  expect_stored("test.bool", true);
  expect_stored("test.text", "zwölf\n");
  expect_stored("test.texts", std::vector<std::string>{"a", "", "ß"});
  expect_stored("test.numbers", std::vector<std::int32_t>{1, -2, 3});
  expect_stored("test.floats", std::vector<float>{0.5F, 1.5F});
  expect_stored("test.bytes", std::vector<std::uint8_t>{1, 255});
  expect_stored("test.flags", std::vector<bool>{true, false});
}

TEST(GgufKeys, LastValueCountsInThePlaceOfTheFirst) {
  GgufKeys keys;
  keys.put("a", true);
  keys.put("b", "text");
  keys.put("a", std::uint32_t{3});
  keys.remove("b");
  GgufKeys expected;
  expected.put("a", std::uint32_t{3});
  EXPECT_EQ(keys.bytes(), expected.bytes());
  EXPECT_FALSE(keys.contains("b"));
  EXPECT_EQ(keys.size(), 1U);
}

TEST(GgufWriter, RefusesWhatReadersWouldRefuse) {
  const TemporaryFolder there;
  const auto path = there.path() / "model.gguf";
  const auto error = [&](const GgufKeys& keys, const std::vector<GgufTensorToWrite>& tensors) {
    return error_of([&] { write_gguf(path, keys, tensors); });
  };
  GgufKeys odd;
  odd.put("general.alignment", std::uint32_t{24});
  EXPECT_NE(error(odd, {}).find("general.alignment must be a power of two"), std::string::npos);
  EXPECT_NE(error({}, {four_floats("a", 16), four_floats("a", 16)}).find("tensor a: the name is taken"),
            std::string::npos);
  EXPECT_NE(error({}, {four_floats("a", 15)}).find("tensor a: 16 bytes were announced, 15 came"), std::string::npos);
  auto deep = four_floats("a", 16);
  deep.shape = {1, 1, 1, 2, 2};
  EXPECT_NE(error({}, {deep}).find("tensor a: 5 dimensions, GGUF has at most 4"), std::string::npos);
  auto blocks = four_floats("a", 16);
  blocks.type = find_ggml_type(8);
  EXPECT_NE(error({}, {blocks}).find("tensor a: rows of 2 are not a whole number of Q8_0 blocks"), std::string::npos);
  EXPECT_TRUE(std::filesystem::is_empty(there.path()));
}

}  // namespace
}  // namespace normtweak::formats
