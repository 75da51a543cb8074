// No file, however damaged, does anything but throw an Error.
#include "normtweak/formats/safetensors.h"
#include "support.h"

namespace normtweak::formats {
namespace {

std::string file_with(const std::string& header, std::size_t data_bytes) {
  return raw(std::uint64_t{header.size()}) + header + std::string(data_bytes, '\1');
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

struct Malformed {
  const char* name;
  std::string bytes;
  const char* message;
};

// Names come first in each table so that a failure says which row it was.
const Malformed kMalformed[] = {
    {"Empty", "", "too few"},
    {"NotSafetensors", "PK\3\4 a zip archive, in truth", "not a safetensors file"},
    {"HugeHeader", raw(~std::uint64_t{0}) + "{}", "18446744073709551615 bytes is announced"},
    {"HeaderPastEnd", raw(std::uint64_t{3}) + "{}", "3 bytes is announced"},
    {"NotJson", file_with("{\"a\":", 0), "not valid JSON"},
    {"NotUtf8", file_with("{\"\xff\":1}", 0), "not valid JSON"},
    {"DeepJson", file_with(std::string(100'000, '['), 0), "not valid JSON"},
    {"DeepShape",
     file_with(R"({"a":{"dtype":"F32","shape":)" + std::string(200'000, '[') + std::string(200'000, ']') +
                   R"(,"data_offsets":[0,4]}})",
               4),
     "nested deeper than"},
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
