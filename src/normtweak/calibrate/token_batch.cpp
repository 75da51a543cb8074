#include "normtweak/calibrate/token_batch.h"

#include <ATen/TensorOperators.h>
#include <c10/core/ScalarType.h>

#include "normtweak/base/device/type_name.h"
#include "normtweak/base/error.h"
#include "normtweak/base/files/file_kind.h"
#include "normtweak/formats/safetensors.h"

namespace normtweak::calibrate {
namespace {

// In I64. PyTorch hardly computes in unsigned types.
at::Tensor read_ids(const at::Tensor& stored, const std::string& where, std::int64_t vocabulary) {
  if (stored.dim() != 2 || !at::isIntegralType(stored.scalar_type(), false)) {
    fail("{}: tensor input_ids: an integer matrix [samples, tokens] expected, as I64, the file has {} {}", where,
         type_name(stored.scalar_type()), c10::str(stored.sizes()));
  }
  if (stored.numel() == 0) fail("{}: tensor input_ids is empty: {}", where, c10::str(stored.sizes()));
  auto ids = stored.to(at::kLong, /*non_blocking=*/false, /*copy=*/true);  // `stored` may alias the mapped file
  const auto low = ids.min().item<std::int64_t>(), high = ids.max().item<std::int64_t>();
  if (low < 0 && stored.scalar_type() == at::kUInt64) fail("{}: tensor input_ids holds numbers above 2^63", where);
  if (low < 0 || high >= vocabulary) {
    fail("{}: tensor input_ids: ids in [0, {}) expected, the file has {} to {}; it was made for another tokenizer",
         where, vocabulary, low, high);
  }
  return ids;
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

// The likeliest mistake, of which the container would only say what it is.
void refuse_text(const std::filesystem::path& path) {
  const MappedFile file(path);
  const std::string_view bytes(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  if (mistaken_for(bytes, Expected::safetensors) != kIsText) return;
  fail("{}: is a text file, where token ids are needed; `normtweak generate` makes them of a text (--text)",
       path.string());
}

}  // namespace

TokenBatch rows(const TokenBatch& batch, std::int64_t begin, std::int64_t count) {
  return {batch.ids.narrow(0, begin, count), batch.mask.defined() ? batch.mask.narrow(0, begin, count) : at::Tensor(),
          batch.provenance};
}

TokenBatch load_token_batch(const std::filesystem::path& path, std::int64_t vocabulary) {
  refuse_text(path);
  const formats::SafetensorsFile file(path);
  TokenBatch batch;
  batch.ids = read_ids(file.read("input_ids"), path.string(), vocabulary);
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
