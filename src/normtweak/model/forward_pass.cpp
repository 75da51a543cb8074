#include "normtweak/model/forward_pass.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/embedding.h>

#include <optional>

#include "normtweak/base/device/matrix_product.h"

namespace normtweak::model {

BlockContext block_context(const Decoder& decoder) {
  return {.config = &decoder.config, .tables = decoder.tables.get(), .type = decoder.type};
}

at::Tensor embed(const Decoder& decoder, const at::Tensor& ids, const PassOptions& options) {
  auto hidden = at::embedding(decoder.embedding, ids).to(at::kFloat);
  if (decoder.config.embedding_scale != 1) hidden = hidden * decoder.config.embedding_scale;
  if (decoder.project_in.defined()) hidden = matmul_transposed(hidden, decoder.project_in);
  if (decoder.positions.defined()) {
    const auto offset = decoder.config.position_offset;
    hidden =
        hidden + (options.branches != nullptr ? at::embedding(decoder.positions, options.branches->positions + offset)
                                              : decoder.positions.narrow(0, options.start + offset, ids.size(1)));
  }
  return forward(decoder.embedding_norm, hidden, at::kFloat);
}

at::Tensor through_blocks(const Decoder& decoder, const at::Tensor& ids, const PassOptions& options) {
  auto context = block_context(decoder);
  context.start = options.start;
  std::optional<BranchMasks> branches;
  if (options.branches != nullptr) branches.emplace(*options.branches);
  const auto run = [&](int i, const at::Tensor& hidden) {
    const auto block = decoder.blocks.get(i);  // which may be the only one that holds it
    return branches ? forward(*block, hidden, context, *branches) : forward(*block, hidden, context);
  };
  auto hidden = embed(decoder, ids, options);
  for (int i = 0; i < decoder.blocks.size(); ++i) {
    if (options.cache != nullptr) context.cache = &(*options.cache)[static_cast<std::size_t>(i)];
    if (options.see) hidden = options.see(i, hidden);
    hidden = options.run ? options.run(i, hidden) : run(i, hidden);
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
