#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <numeric>

#include "normtweak/base/error.h"
#include "normtweak/calibrate/self_generated.h"
#include "normtweak/calibrate/token_batch.h"
#include "normtweak/formats/safetensors.h"
#include "support/temporary_folder.h"

namespace normtweak::calibrate {
namespace {

using tests::message_of;

class TokenBatchFile : public tests::TemporaryFolder {
 protected:
  std::filesystem::path path() const { return folder() / "batch.safetensors"; }
  void write_tensors(const formats::NamedTensors& tensors) const {
    formats::write_safetensors(path(), formats::to_write(tensors));
  }
};

at::Tensor matrix(const std::vector<std::vector<std::int64_t>>& rows_of_ids) {
  std::vector<std::int64_t> flat;
  for (const auto& row : rows_of_ids) flat.insert(flat.end(), row.begin(), row.end());
  return at::tensor(flat, at::kLong).view({static_cast<std::int64_t>(rows_of_ids.size()), -1});
}

TEST_F(TokenBatchFile, ComesBackAsItWas) {
  const auto ids = at::randint(50, {4, 3}, at::TensorOptions(at::kLong));
  const auto mask = matrix({{1, 1, 1}, {1, 1, 0}, {1, 0, 0}, {1, 1, 1}}).to(at::kBool);
  const std::map<std::string, std::string> provenance = {{"seed", "7"}, {"strategy", "language"}};
  for (const auto& wanted : {at::Tensor(), mask}) {
    save_token_batch(path(), {.ids = ids, .mask = wanted, .provenance = provenance});
    const auto found = load_token_batch(path(), 50);
    EXPECT_TRUE(found.ids.equal(ids));
    EXPECT_EQ(found.mask.defined(), wanted.defined());
    EXPECT_TRUE(!wanted.defined() || found.mask.equal(wanted));
    EXPECT_EQ(found.provenance, provenance);
    EXPECT_EQ(entries(), 1U);
  }
}

TEST_F(TokenBatchFile, IntegersOfAnyWidthAndMasksOfAnyType) {
  const auto ids = matrix({{5, 6, 7}, {8, 9, 0}}), mask = matrix({{1, 1, 1}, {1, 1, 0}});
  for (const auto type :
       {at::kInt, at::kShort, at::kChar, at::kByte, at::kLong, at::kUInt16, at::kUInt32, at::kUInt64}) {
    for (const auto mask_type : {at::kLong, at::kFloat, at::kBool}) {
      write_tensors({{"input_ids", ids.to(type)}, {"attention_mask", mask.to(mask_type)}});
      const auto found = load_token_batch(path(), 10);
      EXPECT_TRUE(found.ids.equal(ids));
      EXPECT_TRUE(found.mask.equal(mask.to(at::kBool)));
    }
  }
  write_tensors({{"input_ids", ids}, {"attention_mask", matrix({{1, 1, 1}, {1, 1, 1}})}});
  EXPECT_FALSE(load_token_batch(path(), 10).mask.defined());  // every token counts
}

struct BadFile {
  const char* message;
  formats::NamedTensors tensors;
};

TEST_F(TokenBatchFile, ErrorsNameFileAndTensor) {
  const auto ids = matrix({{5, 6, 7}, {8, 1, 0}});
  const auto with_mask = [&](const at::Tensor& mask) {
    return formats::NamedTensors{{"input_ids", ids}, {"attention_mask", mask}};
  };
  const BadFile cases[] = {
      {"input_ids", {{"tokens", ids}}},
      {"ids in [0, 9) expected, the file has 1 to 9", {{"input_ids", ids + 1}}},
      {"the file has -5 to 3", {{"input_ids", ids - 5}}},
      {"an integer matrix", {{"input_ids", ids.to(at::kFloat)}}},
      {"an integer matrix", {{"input_ids", ids.flatten()}}},
      {"input_ids is empty", {{"input_ids", ids.narrow(0, 0, 0)}}},
      {"input_ids is empty", {{"input_ids", ids.narrow(1, 0, 0)}}},
      {"attention_mask: shape [2, 3] expected", with_mask(matrix({{1, 1}, {1, 1}}))},
      {"padded on the right only", with_mask(matrix({{1, 1, 1}, {0, 1, 1}}))},
      {"padded on the right only", with_mask(matrix({{1, 0, 1}, {1, 1, 1}}))},
      {"padded on the right only", with_mask(matrix({{1, 1, 1}, {0, 0, 0}}))},
  };
  for (const auto& row : cases) {
    write_tensors(row.tensors);
    const auto message = message_of<Error>([&] { load_token_batch(path(), 9); });
    EXPECT_NE(message.find(row.message), std::string::npos) << message;
    EXPECT_TRUE(message.starts_with(path().string())) << message;
  }
}

TEST(TokenBatch, RowsTakeTheirMaskAlong) {
  const TokenBatch batch = {.ids = matrix({{1, 2}, {3, 4}, {5, 6}}),
                            .mask = matrix({{1, 1}, {1, 0}, {1, 1}}).to(at::kBool),
                            .provenance = {{"seed", "1"}}};
  const auto part = rows(batch, 1, 2);
  EXPECT_TRUE(part.ids.equal(matrix({{3, 4}, {5, 6}})));
  EXPECT_TRUE(part.mask.equal(matrix({{1, 0}, {1, 1}}).to(at::kBool)));
  EXPECT_EQ(part.provenance, batch.provenance);
}

struct CutCase {
  std::int64_t found, samples, tokens;
  std::vector<std::int64_t> starts;
};

TEST(CutText, RowsAreSpreadEvenlyAndDoNotOverlap) {
  const CutCase cases[] = {{12, 3, 4, {0, 4, 8}}, {100, 3, 4, {0, 33, 66}}, {13, 3, 4, {0, 4, 8}}, {5, 1, 5, {0}}};
  for (const auto& row : cases) {
    std::vector<std::int64_t> ids(static_cast<std::size_t>(row.found));
    std::iota(ids.begin(), ids.end(), 0);
    const auto batch = cut_text(ids, row.samples, row.tokens, "text");
    const auto expected = at::tensor(row.starts, at::kLong).unsqueeze(1) + at::arange(row.tokens);
    EXPECT_TRUE(batch.ids.equal(expected)) << row.found << ": " << batch.ids;
  }
}

TEST(CutText, RefusesATextThatIsTooShort) {
  const std::vector<std::int64_t> ids(11);
  const auto message = message_of<Error>([&] { cut_text(ids, 3, 4, "book.txt"); });
  EXPECT_EQ(message, "book.txt: 11 tokens, and 3 rows of 4 need 12; give more text or ask for less");
  EXPECT_THROW(cut_text(ids, 0, 4, "book.txt"), Error);
  EXPECT_THROW(cut_text(ids, 1, 0, "book.txt"), Error);
}

}  // namespace
}  // namespace normtweak::calibrate
