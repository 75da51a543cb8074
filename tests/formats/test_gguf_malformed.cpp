// No file, however damaged, does anything but throw an Error, and none makes the reader allocate what it announces.
#include "gguf_bytes.h"
#include "normtweak/formats/gguf.h"
#include "support.h"

namespace normtweak::formats {
namespace {
using namespace gguf_bytes;

constexpr std::uint64_t kHuge = ~std::uint64_t{0};

std::string sound_file() {
  return with_data(
      start(2, 3) + key("general.architecture", 8, gguf_text("llama")) +
          key("list", 9, raw(std::uint32_t{8}) + raw(std::uint64_t{2}) + gguf_text("a") + gguf_text("bc")) +
          key("nested", 9,
              raw(std::uint32_t{9}) + raw(std::uint64_t{1}) + raw(std::uint32_t{4}) + raw(std::uint64_t{2}) +
                  raw(std::uint32_t{7}) + raw(std::uint32_t{8})) +
          tensor("a", {32, 2}, 2, 0) + tensor("b", {3}, 0, 64),
      76);
}

TEST(MalformedGguf, SoundFileIsRead) {
  const auto bytes = sound_file();
  const GgufFile file(as_bytes(bytes), "memory");
  EXPECT_EQ(file.names(), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(file.read("a").sizes().vec(), (std::vector<std::int64_t>{2, 32}));
  EXPECT_EQ(file.metadata()["nested"], Json::parse("[[7, 8]]"));
}

TEST(MalformedGguf, CutAtEveryLength) {
  const auto bytes = sound_file();
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    const auto cut = bytes.substr(0, length);
    EXPECT_THROW(GgufFile(as_bytes(cut), "memory"), Error) << length;
  }
}

TEST(MalformedGguf, EveryByteChangedIsAnErrorOrRead) {
  const auto sound = sound_file();
  for (std::size_t at = 0; at < sound.size(); ++at) {
    for (const int change : {0x01, 0x08, 0x80, 0xff}) {
      auto bytes = sound;
      bytes[at] = static_cast<char>(bytes[at] ^ change);
      try {
        const GgufFile file(as_bytes(bytes), "memory");
        for (const auto& name : file.names()) file.read(name);
      } catch (const Error&) {
      }
    }
  }
}

std::string nested_arrays(int depth) {
  std::string bytes;
  for (int i = 0; i < depth; ++i) bytes += raw(std::uint32_t{9}) + raw(std::uint64_t{1});
  return start(0, 1) + key("k", 9, bytes);
}

// Five of 16 MiB each.
std::string much_text() {
  std::string bytes = start(0, 5);
  for (const char name : {'a', 'b', 'c', 'd', 'e'}) {
    bytes += key(std::string(1, name), 8, gguf_text(std::string(16 << 20, 'x')));
  }
  return bytes;
}

struct Malformed {
  const char* name;
  std::string bytes;
  const char* message;
};

const Malformed kMalformed[] = {
    {"Empty", "", "is empty"},
    {"Short", "GG", "the magic number needs 4 bytes"},
    {"Html", "<!DOCTYPE html><html></html>", "is an HTML page"},
    {"Safetensors", raw(std::uint64_t{2}) + "{}", "is a safetensors file"},
    {"SplitFile",
     with_data(start(0, 3) + key("split.count", 2, raw(std::uint16_t{3})) + key("split.no", 2, raw(std::uint16_t{0})) +
                   key("split.tensors.count", 5, raw(std::int32_t{9})),
               0),
     "is one of 3 files of one model"},
    {"SplitCount", with_data(start(0, 1) + key("split.count", 2, raw(std::uint16_t{3})), 0),
     "split.no is missing, beside split.count"},
    {"SplitNumber",
     with_data(start(0, 3) + key("split.count", 2, raw(std::uint16_t{3})) + key("split.no", 2, raw(std::uint16_t{3})) +
                   key("split.tensors.count", 5, raw(std::int32_t{9})),
               0),
     "split.no is 3, and there are 3 files"},
    {"ZeroByteInKey", start(0, 1) + key(std::string("a\0b", 3), 0, "1"), "a\\x00b, holds a zero byte"},
    {"ZeroByteInTensor", with_data(start(1, 0) + tensor(std::string("a\0", 2), {4}, 0, 0), 64), "holds a zero byte"},
    {"MuchText", much_text(), "the metadata fill more than"},
    {"TooManyTensors", start(1'000'001, 0) + std::string(24'000'024, '\0'), "at most 1000000 are read"},
    {"WrongMagic", "GGML" + std::string(40, '\0'), "does not begin with `GGUF`"},
    {"Version1", start(0, 0, 1), "GGUF version 1;"},
    {"BigEndian", start(0, 0, 0x03000000), "GGUF version 3 in big-endian order"},
    {"ManyTensors", start(kHuge, 0), "18446744073709551615 tensors are announced"},
    {"ManyKeys", start(0, kHuge), "18446744073709551615 keys are announced"},
    {"TooManyKeys", start(0, 5'000) + std::string(1'000'000, '\0'), "at most 4096 are read"},
    {"LongKey", start(0, 1) + raw(kHuge) + std::string(32, 'x'), "needs 18446744073709551615 bytes"},
    {"LongText", start(0, 1) + key("k", 8, raw(kHuge)), "k needs 18446744073709551615 bytes"},
    {"LongArray", start(0, 1) + key("k", 9, raw(std::uint32_t{0}) + raw(kHuge)), "values of key k are announced"},
    {"LongArrayOfText",
     start(0, 1) + key("k", 9, raw(std::uint32_t{8}) + raw(std::uint64_t{3}) + std::string(20, '\0')),
     "3 values of key k are announced"},
    {"DeepArray", nested_arrays(1000), "nested deeper"},
    {"UnknownValueType", start(0, 1) + key("k", 13, std::string(8, '\0')), "key k: value type 13 is unknown"},
    {"UnknownArrayType",
     start(0, 1) + key("k", 9, raw(std::uint32_t{77}) + raw(std::uint64_t{1}) + std::string(20, '\0')),
     "key k: value type 77 is unknown"},
    {"KeyTwice", start(0, 2) + key("k", 0, "1") + key("k", 0, "2"), "key k occurs twice"},
    {"AlignmentZero", start(0, 1) + key("general.alignment", 4, raw(std::uint32_t{0})), "power of two, found 0"},
    {"AlignmentOdd", start(0, 1) + key("general.alignment", 4, raw(std::uint32_t{33})), "power of two, found 33"},
    {"AlignmentHuge", start(1, 1) + key("general.alignment", 10, raw(std::uint64_t{1} << 63)) + tensor("a", {4}, 0, 0),
     "the file has 0"},
    {"AlignmentText", start(0, 1) + key("general.alignment", 8, gguf_text("x")), "power of two, found \"x\""},
    {"ManyDimensions", start(1, 0) + gguf_text("a") + raw(~std::uint32_t{0}) + std::string(32, '\0'),
     "4294967295 dimensions"},
    {"HugeExtent", with_data(start(1, 0) + tensor("a", {kHuge}, 0, 0), 64), "an extent of 18446744073709551615"},
    {"ShapeOverflow", with_data(start(1, 0) + tensor("a", {std::uint64_t{1} << 32, std::uint64_t{1} << 32}, 0, 0), 64),
     "larger than any memory"},
    {"PartOfBlock", with_data(start(1, 0) + tensor("a", {33}, 2, 0), 64), "not a whole number of Q4_0 blocks"},
    {"OffsetPastEnd", with_data(start(1, 0) + tensor("a", {4}, 0, 64), 64), "needs 16 bytes at byte 64"},
    {"OffsetHuge", with_data(start(1, 0) + tensor("a", {4}, 0, kHuge - 31), 64), "the file has 64"},
    {"OffsetUnaligned", with_data(start(1, 0) + tensor("a", {4}, 0, 4), 64), "offset 4 is not a multiple of 32"},
    {"Overlap", with_data(start(2, 0) + tensor("a", {16}, 0, 0) + tensor("b", {4}, 0, 32), 64), "two tensors overlap"},
    {"TensorTwice", with_data(start(2, 0) + tensor("a", {4}, 0, 0) + tensor("a", {4}, 0, 32), 64),
     "tensor a: occurs twice"},
};

class MalformedGgufFiles : public testing::TestWithParam<Malformed> {};

TEST_P(MalformedGgufFiles, AreRefused) {
  const auto message = error_of([] { GgufFile(as_bytes(GetParam().bytes), "memory"); });
  EXPECT_NE(message.find(GetParam().message), std::string::npos) << message;
  EXPECT_EQ(message.substr(0, 6), "memory");
}

INSTANTIATE_TEST_SUITE_P(Gguf, MalformedGgufFiles, testing::ValuesIn(kMalformed), by_name);

// A long array stays in the file until it is asked for.
TEST(MalformedGguf, LongArrays) {
  const auto array = [](std::uint32_t type, std::uint64_t count, const std::string& values) {
    return raw(type) + raw(count) + values;
  };
  std::string texts;
  for (int i = 0; i < 2000; ++i) texts += gguf_text(fmt::format("x{}", i));
  const auto bytes = start(0, 5) + key("x.short", 9, array(0, 1024, std::string(1024, '\3'))) +
                     key("x.bytes", 9, array(0, 1025, std::string(1025, '\3'))) +
                     key("x.texts", 9, array(8, 2000, texts)) +
                     key("y.huge", 9, array(7, 2'000'000, std::string(2'000'000, '\1'))) + key("z", 0, "1");
  const GgufFile file(as_bytes(bytes), "memory");
  EXPECT_EQ(file.metadata()["x.short"].size(), 1024U);
  for (const auto* name : {"x.bytes", "x.texts", "y.huge"}) EXPECT_TRUE(file.metadata()[name].is_null()) << name;
  EXPECT_EQ(file.metadata()["z"], '1');
  const auto all = file.metadata_with_arrays("x.");
  EXPECT_EQ(all["x.bytes"], Json(std::vector<int>(1025, 3)));
  EXPECT_EQ(all["x.texts"].size(), 2000U);
  EXPECT_EQ(all["x.texts"][1999], "x1999");
  EXPECT_TRUE(all["y.huge"].is_null());
  const auto message = error_of([&] { file.metadata_with_arrays("y."); });
  EXPECT_NE(message.find("key y.huge: 2000000 values are more than any vocabulary has"), std::string::npos) << message;
}

TEST(MalformedGguf, UnknownTensorTypeIsRefusedWhenRead) {
  const auto bytes = with_data(start(1, 0) + tensor("a", {4}, 999, 0), 64);
  const GgufFile file(as_bytes(bytes), "memory");
  EXPECT_NE(error_of([&] { file.read("a"); }).find("type 999 cannot be read"), std::string::npos);
}

}  // namespace
}  // namespace normtweak::formats
