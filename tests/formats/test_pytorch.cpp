// Files of torch.save are read as torch.load reads them.
#include "normtweak/base/device/type_name.h"
#include "normtweak/base/json/json.h"
#include "normtweak/formats/pytorch_source.h"
#include "pickle_bytes.h"
#include "support.h"

namespace normtweak::formats {
namespace {

class FilesOfTorch : public testing::TestWithParam<const char*> {};

TEST_P(FilesOfTorch, AreReadByteForByte) {
  const auto folder = oracle_folder("pytorch");
  REQUIRE_ORACLE(folder);
  const auto expected = read_json(folder / "expected.json").at(GetParam());
  const PytorchFile file(folder / GetParam());
  EXPECT_EQ(file.names().size(), expected.size());
  for (const auto& [name, tensor] : expected.items()) {
    SCOPED_TRACE(name);
    ASSERT_TRUE(file.contains(name));
    const auto read = file.read(name);
    EXPECT_EQ(read.sizes().vec(), tensor["shape"].get<std::vector<std::int64_t>>());
    EXPECT_EQ(type_name(read.scalar_type()), tensor["dtype"].get<std::string>());
    EXPECT_EQ(hex(read), tensor["hex"].get<std::string>());
    EXPECT_TRUE(read.is_contiguous());
    const auto info = file.info(name);
    EXPECT_EQ(info.type, read.scalar_type());
    EXPECT_EQ(info.shape, read.sizes().vec());
    EXPECT_EQ(info.stored_bytes, static_cast<std::int64_t>(read.nbytes()));
  }
}

INSTANTIATE_TEST_SUITE_P(Pytorch, FilesOfTorch,
                         testing::Values("types-2.bin", "types-3.bin", "types-4.bin", "types-5.bin",
                                         "types-2-older.bin", "types-3-older.bin", "types-4-older.bin",
                                         "types-5-older.bin", "views.bin", "views-older.bin", "parameters.bin",
                                         "parameters-older.bin", "others.bin", "others-older.bin", "others-5.bin",
                                         "big-endian.bin", "early.pt"));

TEST(Pytorch, SharedStorageIsReadOnce) {
  const auto folder = oracle_folder("pytorch");
  REQUIRE_ORACLE(folder);
  const PytorchFile file(folder / "views.bin");
  EXPECT_EQ(file.read("tied").const_data_ptr(), file.read("also tied").const_data_ptr());
}

TEST(Pytorch, WhatIsNoTensorIsNamed) {
  const auto folder = oracle_folder("pytorch");
  REQUIRE_ORACLE(folder);
  const PytorchFile file(folder / "others.bin");
  EXPECT_EQ(file.not_tensors(),
            (std::vector<std::string>{"epoch", "loss", "large", "none", "yes", "text", "bytes", "list", "tuple", "set",
                                      "dtype", "size", "device", "numpy", "layout", "inner"}));
}

TEST(Pytorch, UnreadableTensorIsRefusedOnlyWhenRead) {
  const auto folder = oracle_folder("pytorch");
  REQUIRE_ORACLE(folder);
  const PytorchFile file(folder / "unread.bin");
  EXPECT_EQ(file.read("a").numel(), 3);
  for (const auto& [name, words] :
       {std::pair("complex", "type ComplexFloat is not supported"), std::pair("meta", "without its data"),
        std::pair("sparse", "is sparse"), std::pair("negated", "is a negated or conjugated view"),
        std::pair("far", "is expanded")}) {
    const auto message = error_of([&] { file.read(name); });
    EXPECT_NE(message.find(fmt::format("tensor {}", name)), std::string::npos) << message;
    EXPECT_NE(message.find(words), std::string::npos) << message;
    EXPECT_EQ(error_of([&] { file.info(name); }), message);
  }
}

// As PyTorch saved them, between names and strides of every kind that stay in the storage.
TEST(Pytorch, HandMadeFileIsRead) {
  const auto bytes =
      older_file(dict({text("a"), tensor(storage("0", 4), 0, integers({2, 2}), integers({1, 2})), text("b"),
                       tensor(storage("0", 4), 4, integers({0, 9}), integers({9, 1})), text("c"),
                       tensor(storage("0", 4), 3, integers({1, 1}), integers({1LL << 62, 7}))}));
  const PytorchFile file(as_bytes(bytes), "memory");
  EXPECT_EQ(file.names(), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(file.read("a")[1][0].item<float>(), 2);
  EXPECT_EQ(file.read("b").sizes(), at::IntArrayRef({0, 9}));
  EXPECT_EQ(file.read("c").item<float>(), 4);
}

}  // namespace
}  // namespace normtweak::formats
