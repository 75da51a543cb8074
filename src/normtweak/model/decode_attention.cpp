#include "normtweak/model/decode_attention.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <array>
#include <vector>

#include "normtweak/model/decode_attention_kernel.h"

namespace normtweak::model {
namespace {

// All heads of a row lie one after the other; rows may lie apart, as parts of a product for several linears do.
at::Tensor with_whole_rows(const at::Tensor& heads) {
  const bool whole = heads.stride(3) == 1 && heads.stride(2) == heads.size(3);
  return whole ? heads : heads.contiguous();
}

}  // namespace

bool has_decode_kernel(const ModelConfig& config, const at::TensorOptions& type) {
  if (!type.device().is_cuda() || c10::typeMetaToScalarType(type.dtype()) != at::kBFloat16) return false;
  if (config.attention_cap > 0 || config.alibi_largest > 0) return false;
  auto* kernel = decode_attention_kernel(config.head_size, config.heads / config.key_value_heads);
  return kernel != nullptr && kernel->unavailable(type.device()).empty();
}

at::Tensor decode_attention(const DecodeAttention& attention) {
  const auto& [of_query, of_key, of_value, keys, values, rotary, position, window, scale] = attention;
  const auto query = with_whole_rows(of_query), key = with_whole_rows(of_key), value = with_whole_rows(of_value);
  const auto samples = query.size(0), heads = query.size(2), head_size = query.size(3), shared = key.size(2);
  auto output = at::empty({samples, 1, heads * head_size}, query.options());
  const auto seen = window > 0 ? std::min(window, position + 1) : position + 1;
  // In the order of the kernel's parameters.
  std::array<const void*, 8> pointers = {
      query.const_data_ptr(),
      key.const_data_ptr(),
      value.const_data_ptr(),
      rotary != nullptr ? rotary->cosine.select(0, position).const_data_ptr() : nullptr,
      rotary != nullptr ? rotary->sine.select(0, position).const_data_ptr() : nullptr,
      keys.data_ptr(),
      values.data_ptr(),
      output.data_ptr()};
  const std::array<std::int64_t, 10> wide_counts = {query.stride(0),
                                                    key.stride(0),
                                                    value.stride(0),
                                                    keys.size(2),
                                                    rotary != nullptr ? rotary->cosine.size(1) : 0,
                                                    rotary != nullptr && rotary->interleaved ? 1 : 0,
                                                    heads,
                                                    shared,
                                                    position + 1 - seen,
                                                    position};
  std::array<int, wide_counts.size()> counts = {};
  std::ranges::transform(wide_counts, counts.begin(), [](std::int64_t count) { return static_cast<int>(count); });
  auto factor = static_cast<float>(scale);
  std::vector<void*> arguments;
  for (auto& pointer : pointers) arguments.push_back(static_cast<void*>(&pointer));
  for (auto& count : counts) arguments.push_back(&count);
  arguments.push_back(&factor);
  const auto blocks = samples * shared * (heads / shared / queries_together(heads / shared));
  decode_attention_kernel(head_size, heads / shared)
      ->launch(query.device(), static_cast<unsigned>(blocks), kDecodeWarps * kWarp, arguments);
  return output;
}

}  // namespace normtweak::model
