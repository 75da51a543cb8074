#include "normtweak/evaluate/logits.h"

#include <ATen/ops/_log_softmax.h>

#include <algorithm>
#include <cmath>

#include "normtweak/model/activations.h"
#include "normtweak/model/branched_rows.h"
#include "normtweak/model/finite_outputs.h"

namespace normtweak::evaluate {
namespace {

constexpr std::int64_t kPassTokensCpu = 2048, kPassTokensGpu = 16384;  // with more, passes are no faster

}  // namespace

std::int64_t rows_in_pass(const model::Decoder& model, std::int64_t tokens, bool branched) {
  const auto usual = model.device.is_cuda() ? kPassTokensGpu : kPassTokensCpu;
  const auto rows = rows_in_one_pass(model, tokens, usual);
  if (!branched) return rows;
  const auto token_bytes =
      model::pass_bytes(model.config, model.device, model.type) + model::branch_bytes(model.config, model.type, tokens);
  return std::clamp<std::int64_t>(model.workspace / 2 / token_bytes / tokens, 1, rows);
}

std::int64_t tokens_in_chunk(const model::Decoder& model) {
  return model::tokens_with_logits(model.config.vocabulary, model.device, model.workspace);
}

void log_softmax_in_place(at::Tensor& logits) {
  // In place is safe: the kernels reduce a row before writing it, and write each value where they read it.
  at::_log_softmax_out(logits, logits, -1, /*half_to_float=*/false);
}

at::Tensor at_ids(const at::Tensor& values, const at::Tensor& ids) {
  return values.gather(1, ids.unsqueeze(1)).squeeze(1);
}

void check_finite(double sum, const model::Decoder& model, std::string_view whose, const at::Tensor& ids,
                  const model::BranchedRows* branches) {
  if (!std::isfinite(sum)) model::fail_where_not_finite(model, ids, whose, branches);
}

}  // namespace normtweak::evaluate
