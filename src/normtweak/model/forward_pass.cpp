#include "normtweak/model/forward_pass.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/embedding.h>

#include "normtweak/base/device/matrix_product.h"

namespace normtweak::model {

BlockContext block_context(const Decoder& decoder) {
  return {.config = &decoder.config, .tables = decoder.tables.get(), .type = decoder.type};
}

at::Tensor embed(const Decoder& decoder, const at::Tensor& ids, std::int64_t start) {
  auto hidden = at::embedding(decoder.embedding, ids).to(at::kFloat);
  if (decoder.config.embedding_scale != 1) hidden = hidden * decoder.config.embedding_scale;
  if (decoder.project_in.defined()) hidden = matmul_transposed(hidden, decoder.project_in);
  if (decoder.positions.defined()) {
    hidden = hidden + decoder.positions.narrow(0, start + decoder.config.position_offset, ids.size(1));
  }
  return forward(decoder.embedding_norm, hidden, at::kFloat);
}

at::Tensor through_blocks(const Decoder& decoder, const at::Tensor& ids, const PassOptions& options) {
  auto context = block_context(decoder);
  context.start = options.start;
  auto hidden = embed(decoder, ids, options.start);
  for (int i = 0; i < decoder.blocks.size(); ++i) {
    if (options.cache != nullptr) context.cache = &(*options.cache)[static_cast<std::size_t>(i)];
    if (options.see) hidden = options.see(i, hidden);
    hidden = options.run ? options.run(i, hidden) : forward(*decoder.blocks.get(i), hidden, context);
  }
  return hidden;
}

at::Tensor finish(const Decoder& decoder, const Norm& final_norm, const at::Tensor& hidden) {
  const auto normed = forward(final_norm, hidden, decoder.type);
  if (!decoder.project_out.defined()) return normed;
  return matmul_transposed(normed, decoder.project_out.to(normed.scalar_type()));
}

at::Tensor last_hidden_state(const Decoder& decoder, const at::Tensor& ids, const PassOptions& options) {
  return finish(decoder, decoder.final_norm, through_blocks(decoder, ids, options));
}

}  // namespace normtweak::model
