// No file, however damaged or hostile, does anything but throw an Error, soon and in little memory.
#include "normtweak/formats/pytorch_source.h"
#include "pickle_bytes.h"
#include "support.h"

namespace normtweak::formats {
namespace {

constexpr std::int64_t kHuge = std::int64_t{1} << 62;

std::string repeated(std::string_view part, int count) {
  std::string bytes;
  for (int i = 0; i < count; ++i) bytes += part;
  return bytes;
}

// A state dict with one tensor in the storage of four numbers.
std::string shaped(std::int64_t offset, const std::string& sizes, const std::string& strides) {
  return older_file(dict({text("a"), tensor(storage("0", 4), offset, sizes, strides)}));
}

const std::string kTensor = tensor(storage("0", 4), 0, integers({4}), integers({1}));
const std::string kSound = older_file(dict({text("a"), kTensor}));

TEST(MalformedPytorch, CutAtEveryLength) {
  for (std::size_t length = 0; length < kSound.size(); ++length) {
    const auto cut = kSound.substr(0, length);
    EXPECT_THROW(PytorchFile(as_bytes(cut), "memory"), Error) << length;
  }
}

TEST(MalformedPytorch, EveryByteChangedIsAnErrorOrRead) {
  for (std::size_t at = 0; at < kSound.size(); ++at) {
    for (const int change : {0x01, 0x20, 0x80, 0xff}) {
      auto bytes = kSound;
      bytes[at] = static_cast<char>(bytes[at] ^ change);
      try {
        const PytorchFile file(as_bytes(bytes), "memory");
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

const Malformed kMalformed[] = {
    {"Empty", "", "is empty"},
    {"Html", "<!DOCTYPE html><html>", "is an HTML page"},
    {"Text", "words, no weights", "is a text file"},
    {"Unknown", "\1\2\3\4", "not a file of torch.save"},
    {"OtherPickle", pickle("}"), "torch.save did not write"},
    {"OtherMagic", pickle(integer(3)), "torch.save did not write"},
    {"OtherVersion", kMagic + pickle(integer(1002)), "not version 1001"},
    {"Protocol", "\x80\x06}.", "pickle protocol 6 is not read"},
    {"Tensor", older_file(kTensor), "holds no state dict"},
    {"List", older_file("](" + kTensor + "e"), "holds no state dict"},
    {"Number", older_file(integer(3)), "holds no state dict"},
    {"System", older_file(global("posix", "system") + tuple({text("true")}) + "R"), "Python object posix.system"},
    {"Eval", older_file(global("builtins", "eval") + tuple({text("1")}) + "R"), "Python object builtins.eval"},
    {"StackGlobal", older_file(text("os") + text("system") + "\x93"), "Python object os.system"},
    {"AttributeOfKnown", older_file(global("torch", "load") + tuple({text("f")}) + "R"), "Python object torch.load"},
    {"Module", older_file(tuple({text("module"), "N", text("f"), text("s")}) + "Q"), "a whole Python module"},
    {"Instance", older_file(integer(1) + "iposix\nsystem\n"), "opcode 0x69"},
    {"Extension", older_file("\x82\x01"), "opcode 0x82"},
    {"OldOpcode", older_file("I01\n"), "opcode 0x49"},
    {"CallOfText", older_file(text("a") + ")R"), "calls what cannot be called"},
    {"CallWithoutTuple", older_file(global("torch", "Size") + "]R"), "calls what cannot be called"},
    {"CallOfType", older_file(global("torch", "float32") + ")R"), "describes a call"},
    {"Inner", older_file(dict({text("state_dict"), dict({text("a"), kTensor}), text("epoch"), integer(3)})),
     "inside `state_dict`"},
    {"TensorOfNumber", older_file(dict({integer(1), kTensor})), "whose name is no text"},
    {"Twice", older_file(dict({text("a"), kTensor, text("a"), kTensor})), "tensor a occurs twice"},
    {"ZeroByte", older_file(dict({text(std::string_view("a\0b", 3)), kTensor})), "holds a zero byte"},
    {"Beyond", shaped(0, integers({5}), integers({1})), "tensor a: shape [5] with strides [1] from element 0"},
    {"OffsetBeyond", shaped(1, integers({4}), integers({1})), "reaches beyond"},
    {"OffsetFarBeyond", shaped(kHuge, integers({0}), integers({1})), "reaches beyond"},
    {"OffsetNegative", shaped(-1, integers({2}), integers({1})), "reaches beyond"},
    {"StrideBeyond", shaped(0, integers({2, 2}), integers({3, 1})), "reaches beyond"},
    {"StrideNegative", shaped(3, integers({2}), integers({-1})), "reaches beyond"},
    {"StrideOverflow", shaped(0, integers({5, 5}), integers({kHuge, kHuge})), "reaches beyond"},
    {"SizeNegative", shaped(0, integers({-1}), integers({1})), "reaches beyond"},
    {"SizeOverflow", shaped(0, integers({kHuge, kHuge}), integers({0, 0})), "reaches beyond"},
    {"SizeOverflowOfEmpty", shaped(0, integers({kHuge, kHuge, 0}), integers({0, 0, 0})), "reaches beyond"},
    {"FewerStrides", shaped(0, integers({2, 2}), integers({1})), "describes a tensor"},
    {"SizeOfText", shaped(0, tuple({text("4")}), integers({1})), "describes a tensor"},
    {"ManyDimensions",
     shaped(0, std::string("(") + repeated(integer(1), 65) + "t", std::string("(") + repeated(integer(1), 65) + "t"),
     "has 65 dimensions"},
    {"LongKey",
     older_file(dict({text("a"), tensor(storage(std::string(2000, '0'), 4), 0, integers({4}), integers({1}))})),
     "describes a storage"},
    {"StorageOfText", older_file(dict({text("a"), tensor(text("0"), 0, integers({4}), integers({1}))})),
     "describes a tensor"},
    {"StorageLarger", older_file(dict({text("a"), tensor(storage("0", 5), 0, integers({4}), integers({1}))})),
     "storage 0 has 4 elements, 5 are announced"},
    {"StorageHuge", older_file(dict({text("a"), tensor(storage("0", kHuge), 0, integers({4}), integers({1}))})),
     "storage 0 has 4 elements"},
    {"StorageNegative", older_file(dict({text("a"), tensor(storage("0", -4), 0, integers({4}), integers({1}))})),
     "describes a storage"},
    {"StorageTwice",
     older_file(dict({text("a"), kTensor, text("b"), tensor(storage("0", 2), 0, integers({2}), integers({1}))})),
     "storage 0 is described twice"},
    {"StorageMissing",
     older_file(dict({text("a"), kTensor, text("b"), tensor(storage("1", 2), 0, integers({2}), integers({1}))})),
     "has no storage 1"},
    {"StorageUnused", older_file(dict({})), "lists a storage that no tensor has"},
    {"PartBeyond",
     older_file(dict({text("a"), tensor(storage("0", 4, tuple({text("1"), integer(2), integer(3)})), 0, integers({2}),
                                        integers({1}))})),
     "describes a part of a storage"},
    {"Persistent", older_file(integer(1) + "Q"), "describes a storage"},
    {"Underflow", older_file("R"), "empty stack"},
    {"UnderMark", older_file(integer(1) + "(0"), "empty stack"},
    {"NoMark", older_file("t"), "a mark that is not there"},
    {"AddToNumber", older_file(integer(1) + integer(2) + "a"), "adds to what is no list"},
    {"KeyWithoutValue", older_file(std::string("}(") + text("a") + "u"), "a key without a value"},
    {"NotKept", older_file("h\x05"), "has not kept"},
    {"UsedFar", older_file("}j\xff\xff\xff\x7f"), "has not kept"},
    {"LongText", older_file("X\xff\xff\xff\xff"), "a value in a pickle needs 4294967295 bytes"},
    {"LongerText", older_file("\x8d\xff\xff\xff\xff\xff\xff\xff\xff"), "a value in a pickle needs"},
    {"LongInteger", older_file("\x8b\xff\xff\xff\xff"), "a value in a pickle needs"},
    {"Frame", older_file("\x95\xff\xff\xff\xff\xff\xff\xff\x7f"), "bytes of a frame"},
    {"EndlessName", kMagic + pickle(integer(1001)) + pickle("}") + "\x80\x02" + "ctorch", "a name without an end"},
    {"DeepList", older_file(repeated("]", 200'000) + repeated("a", 199'999)), "holds no state dict"},
    {"DeepTuple", older_file(std::string("}") + repeated("\x85", 200'000)), "holds no state dict"},
    {"DeepMarks", older_file(repeated("(", 200'000)), "empty stack"},
    {"DeepClass",
     older_file(repeated(global("torch._tensor", "_rebuild_from_type_v2") + global("torch", "Tensor"), 3) + "\x87"),
     "holds no state dict"},
    {"HoldsItself", older_file("]q\1h\1a"), "holds no state dict"},
    {"DoublingTuples", older_file(std::string(")") + repeated("2\x86", 100'000)), "holds no state dict"},
};

class MalformedPytorchFiles : public testing::TestWithParam<Malformed> {};

TEST_P(MalformedPytorchFiles, AreRefused) {
  const auto message = error_of([&] { PytorchFile(as_bytes(GetParam().bytes), "memory"); });
  EXPECT_TRUE(message.starts_with("memory")) << message;
  EXPECT_NE(message.find(GetParam().message), std::string::npos) << message;
  EXPECT_LE(message.size(), 300U);
}

INSTANTIATE_TEST_SUITE_P(Pytorch, MalformedPytorchFiles, testing::ValuesIn(kMalformed), by_name);

// Tensors without end in one storage would take forever to read.
TEST(MalformedPytorch, StorageIsSharedSoOften) {
  const auto large = tensor(storage("0", 1 << 20), 0, integers({1 << 20}), integers({1}));
  auto items = std::string("}(").append(text("0")).append(large).append("q\1");
  for (int i = 1; i < 1500; ++i) items += text(std::to_string(i)) + "h\1";
  const auto bytes = kMagic + pickle(integer(1001)) + pickle("}") + pickle(items + "u") +
                     pickle(std::string("](") + text("0") + "e") + raw(std::int64_t{1} << 20) +
                     std::string(std::size_t{4} << 20, '\1');
  const auto message = error_of([&] { PytorchFile(as_bytes(bytes), "memory"); });
  EXPECT_NE(message.find("share their storages 256 times over"), std::string::npos) << message;
}

// Each byte makes an object of some hundred: what they may take grows with the file alone.
TEST(MalformedPytorch, ObjectsTakeBoundedMemory) {
  const std::string bytes = older_file(repeated("]", 20'000'000));
  const auto message = error_of([&] { PytorchFile(as_bytes(bytes), "memory"); });
  EXPECT_NE(message.find("far more objects"), std::string::npos) << message;
}

}  // namespace
}  // namespace normtweak::formats
