#include "normtweak/calibrate/token_batch.h"

#include <ATen/TensorOperators.h>
#include <c10/core/ScalarType.h>

#include "normtweak/base/error.h"
#include "normtweak/formats/safetensors.h"

namespace normtweak::calibrate {
namespace {

void check_ids(const at::Tensor& ids, const std::string& where, std::int64_t vocabulary) {
  if (ids.dim() != 2 || !at::isIntegralType(ids.scalar_type(), false)) {
    fail("{}: tensor input_ids: an integer matrix [samples, tokens] expected, the file has {} {}", where,
         c10::toString(ids.scalar_type()), c10::str(ids.sizes()));
  }
  if (ids.numel() == 0) fail("{}: tensor input_ids is empty: {}", where, c10::str(ids.sizes()));
  const auto low = ids.min().item<std::int64_t>(), high = ids.max().item<std::int64_t>();
  if (low < 0 || high >= vocabulary) {
    fail("{}: tensor input_ids: ids in [0, {}) expected, the file has {} to {}; it was made for another tokenizer",
         where, vocabulary, low, high);
  }
}

at::Tensor check_mask(const at::Tensor& stored, const at::Tensor& ids, const std::string& where) {
  if (stored.sizes() != ids.sizes()) {
    fail("{}: tensor attention_mask: shape {} expected, as input_ids; the file has {}", where, c10::str(ids.sizes()),
         c10::str(stored.sizes()));
  }
  auto mask = stored.to(at::kBool).clone();  // `stored` may alias the mapped file
  const auto rises = mask.narrow(1, 1, mask.size(1) - 1).logical_and(mask.narrow(1, 0, mask.size(1) - 1).logical_not());
  if (rises.any().item<bool>() || !mask.select(1, 0).all().item<bool>()) {
    fail("{}: tensor attention_mask: every row must start with a token and be padded on the right only", where);
  }
  return mask.all().item<bool>() ? at::Tensor() : mask;
}

}  // namespace

TokenBatch rows(const TokenBatch& batch, std::int64_t begin, std::int64_t count) {
  return {batch.ids.narrow(0, begin, count), batch.mask.defined() ? batch.mask.narrow(0, begin, count) : at::Tensor(),
          batch.provenance};
}

TokenBatch load_token_batch(const std::filesystem::path& path, std::int64_t vocabulary) {
  const formats::SafetensorsFile file(path);
  const auto stored = file.read("input_ids");
  check_ids(stored, path.string(), vocabulary);
  TokenBatch batch;
  batch.ids = stored.to(at::kLong).clone();
  if (file.contains("attention_mask")) batch.mask = check_mask(file.read("attention_mask"), batch.ids, path.string());
  batch.provenance = file.metadata();
  return batch;
}

void save_token_batch(const std::filesystem::path& path, const TokenBatch& batch) {
  formats::NamedTensors tensors = {{"input_ids", batch.ids.contiguous()}};
  if (batch.mask.defined()) tensors.emplace_back("attention_mask", batch.mask.to(at::kLong).contiguous());
  formats::write_safetensors(path, formats::to_write(tensors), batch.provenance);
}

}  // namespace normtweak::calibrate
