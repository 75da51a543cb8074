// No file, however damaged, does anything but throw an Error.
#include "normtweak/formats/safetensors.h"
#include "support.h"

namespace normtweak::formats {
namespace {

std::string file_with(const std::string& header, std::size_t data_bytes) {
  return raw(std::uint64_t{header.size()}) + header + std::string(data_bytes, '\1');
}

std::string many_ones(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += ",1";
  return text;
}

const std::string kSound = R"({"__metadata__":{"format":"pt"},)"
                           R"("a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},)"
                           R"("b":{"dtype":"U8","shape":[3],"data_offsets":[16,19]}})";

TEST(MalformedSafetensors, SoundFileIsRead) {
  const auto bytes = file_with(kSound, 19);
  const SafetensorsFile file(as_bytes(bytes), "memory");
  EXPECT_EQ(file.names(), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(file.read("b").sum().item<int>(), 3);
}

TEST(MalformedSafetensors, CutAtEveryLength) {
  const auto bytes = file_with(kSound, 19);
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    const auto cut = bytes.substr(0, length);
    EXPECT_THROW(SafetensorsFile(as_bytes(cut), "memory"), Error) << length;
  }
}

TEST(MalformedSafetensors, EveryByteChangedIsAnErrorOrRead) {
  const auto sound = file_with(kSound, 19);
  for (std::size_t at = 0; at < sound.size(); ++at) {
    for (const int change : {0x01, 0x20, 0x80, 0xff}) {
      auto bytes = sound;
      bytes[at] = static_cast<char>(bytes[at] ^ change);
      try {
        const SafetensorsFile file(as_bytes(bytes), "memory");
        for (const auto& name : file.names()) file.read(name);
      } catch (const Error& error) {
        EXPECT_EQ(std::string_view(error.what()).substr(0, 6), "memory");
      }
    }
  }
}

TEST(MalformedSafetensors, WhatTheReferenceReadsToo) {
  for (const auto* header :
       {R"( {"b":{"dtype":"U8","x":[1,{"y":[]}],"shape":[2],"data_offsets":[0,2]}}  )",
        R"({"__metadata__":null,"b":{"data_offsets":[0,2],"shape":[2],"dtype":"U8","dtype2":{"shape":[3]}}})"}) {
    const auto bytes = file_with(header, 2);
    EXPECT_EQ(SafetensorsFile(as_bytes(bytes), "memory").read("b").sizes(), at::IntArrayRef({2})) << header;
  }
}

struct Malformed {
  const char* name;
  std::string bytes;
  const char* message;
};

// Names come first in each table so that a failure says which row it was.
const Malformed kMalformed[] = {
    {"Empty", "", "is empty"},
    {"Short", "\1\2\3", "too few"},
    {"Zip", "PK\3\4 a zip archive, in truth", "is a zip archive"},
    {"Text", "words, no numbers", "is a text file"},
    {"Json", R"({"error": "Not Found"})", "is JSON, not weights"},
    {"Pointer", "version https://git-lfs.github.com/spec/v1\noid", "is a git-lfs pointer"},
    {"HugeHeader", raw(~std::uint64_t{0}) + "{}", "18446744073709551615 bytes is announced"},
    {"HeaderPastEnd", raw(std::uint64_t{3}) + "{}", "3 bytes is announced"},
    {"NotJson", file_with("{\"a\":", 0), "not valid JSON"},
    {"NotUtf8", file_with("{\"\xff\":1}", 0), "not valid JSON"},
    {"DeepJson", file_with(std::string(100'000, '['), 0), "expected a JSON object"},
    {"DeepUnknown", file_with(R"({"a":{"x":)" + std::string(100'000, '['), 0), "nested deeper than"},
    {"DeepShape",
     file_with(R"({"a":{"dtype":"F32","shape":)" + std::string(200'000, '[') + std::string(200'000, ']') +
                   R"(,"data_offsets":[0,4]}})",
               4),
     "`shape` must hold whole numbers from 0 to 2^62, found array"},
    {"NotObject", file_with("[]", 0), "expected a JSON object"},
    {"MetadataList", file_with(R"({"__metadata__":[]})", 0), "__metadata__ must be an object"},
    {"MetadataNumber", file_with(R"({"__metadata__":{"a":1}})", 0), "__metadata__.a must be text"},
    {"TensorNumber", file_with(R"({"a":1})", 0), "tensor a: must be an object"},
    {"NoType", file_with(R"({"a":{"shape":[],"data_offsets":[0,4]}})", 4), "tensor a: must be an object"},
    {"TypeNumber", file_with(R"({"a":{"dtype":1,"shape":[],"data_offsets":[0,4]}})", 4), "must be an object"},
    {"NoShape", file_with(R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", 4), "`shape` must be a list"},
    {"ShapeText", file_with(R"({"a":{"dtype":"F32","shape":["1"],"data_offsets":[0,4]}})", 4), "`shape` must hold"},
    {"ShapeNegative", file_with(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4), "`shape` must hold"},
    {"ShapeFraction", file_with(R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", 4), "`shape` must hold"},
    {"ShapeHuge", file_with(R"({"a":{"dtype":"F32","shape":[9223372036854775807],"data_offsets":[0,4]}})", 4),
     "`shape` must hold"},
    {"ShapeOverflow", file_with(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}})", 4),
     "larger than any memory"},
    {"ShapeOverflowOfEmpty",
     file_with(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296,0],"data_offsets":[0,0]}})", 0),
     "larger than any memory"},
    {"SizeOverflow", file_with(R"({"a":{"dtype":"F64","shape":[4611686018427387903],"data_offsets":[0,4]}})", 4),
     "does not fill the 4 bytes"},
    {"WrongSize", file_with(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8), "does not fill"},
    {"OneOffset", file_with(R"({"a":{"dtype":"F32","shape":[],"data_offsets":[0]}})", 4), "must be [begin, end]"},
    {"OffsetsReversed", file_with(R"({"a":{"dtype":"F32","shape":[],"data_offsets":[4,0]}})", 4), "[begin, end]"},
    {"OffsetPastEnd", file_with(R"({"a":{"dtype":"F32","shape":[],"data_offsets":[4,8]}})", 4),
     "ends at byte 8 of the data, the file has 4"},
    {"Overlap",
     file_with(
         R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})",
         6),
     "tensor b: its data overlaps"},
    {"Same",
     file_with(
         R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
         4),
     "tensor b: its data overlaps"},
    {"Hole", file_with(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})", 3), "begins after a hole"},
    {"NaN", file_with(R"({"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}})", 4), "not valid JSON"},
    {"ZeroByteBehind", file_with(std::string("{}\0", 3), 0), "not valid JSON"},
    {"ByteOrderMark", file_with("\xef\xbb\xbf{}", 0), "not valid JSON"},
    {"ZeroByteInName", file_with(R"({"a\u0000":{"dtype":"U8","shape":[],"data_offsets":[0,1]}})", 1), "a zero byte"},
    {"NameTwice",
     file_with(
         R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"a":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})",
         8),
     "tensor a occurs twice"},
    {"FieldTwice", file_with(R"({"a":{"dtype":"U8","dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 4),
     "`dtype` occurs twice"},
    {"ShapeTwice", file_with(R"({"a":{"dtype":"U8","shape":[2],"shape":[2],"data_offsets":[0,4]}})", 4),
     "`shape` occurs twice"},
    {"MetadataTwice", file_with(R"({"__metadata__":{},"__metadata__":{}})", 0), "__metadata__ occurs twice"},
    {"MetadataHuge", file_with(R"({"__metadata__":{"a":")" + std::string(17 << 20, 'x') + "\"}}", 0),
     "a text of 17825792 bytes"},
    {"ManyDimensions",
     file_with(R"({"a":{"dtype":"U8","shape":[1)" + many_ones(100) + R"(],"data_offsets":[0,1]}})", 1),
     "more than 64 dimensions"},
    {"ManyOffsets", file_with(R"({"a":{"dtype":"U8","shape":[],"data_offsets":[0,1)" + many_ones(100) + "]}}", 1),
     "[begin, end]"},
    {"Trailing", file_with(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", 3), "1 bytes after"},
};

class MalformedSafetensorsFiles : public testing::TestWithParam<Malformed> {};

TEST_P(MalformedSafetensorsFiles, AreRefused) {
  const auto message = error_of([] { SafetensorsFile(as_bytes(GetParam().bytes), "memory"); });
  EXPECT_NE(message.find(GetParam().message), std::string::npos) << message;
}

INSTANTIATE_TEST_SUITE_P(Safetensors, MalformedSafetensorsFiles, testing::ValuesIn(kMalformed), by_name);

}  // namespace
}  // namespace normtweak::formats
