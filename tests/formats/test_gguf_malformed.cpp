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

struct Malformed {
  const char* name;
  std::string bytes;
  const char* message;
};

const Malformed kMalformed[] = {
    {"Empty", "", "the magic number needs 4 bytes"},
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

TEST(MalformedGguf, UnknownTensorTypeIsRefusedWhenRead) {
  const auto bytes = with_data(start(1, 0) + tensor("a", {4}, 999, 0), 64);
  const GgufFile file(as_bytes(bytes), "memory");
  EXPECT_NE(error_of([&] { file.read("a"); }).find("type 999 cannot be read"), std::string::npos);
}

}  // namespace
}  // namespace normtweak::formats
