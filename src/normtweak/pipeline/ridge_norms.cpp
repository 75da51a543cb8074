#include "normtweak/pipeline/ridge_norms.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/ones_like.h>

namespace normtweak::pipeline {
namespace {

// The normalised input of mlp_norm on this stream: [samples, tokens, hidden].
at::Tensor normalised_before_mlp(const model::Block& block, const Stream& stream) {
  auto unscaled = block;
  unscaled.mlp_norm.weight = at::ones_like(block.mlp_norm.weight);
  unscaled.mlp_norm.bias.reset();
  std::vector<at::Tensor> parts;
  stream.in_parts([&](std::int64_t begin, std::int64_t count) {
    const auto rows = stream.hidden().narrow(0, begin, count);
    parts.push_back(forward_to(model::LinearInput::mlp, unscaled, rows, stream.context()).input);
  });
  return at::cat(parts);
}

std::vector<tweak::ReadingLinear> attention_readers(const model::Block& block, const model::Block& floats) {
  std::vector<tweak::ReadingLinear> all;
  for (std::size_t i = 0; i < block.query_key_value.size(); ++i) {
    all.push_back({&block.query_key_value[i], &floats.query_key_value[i]});
  }
  return all;
}

std::vector<tweak::ReadingLinear> mlp_readers(const model::Block& block, const model::Block& floats) {
  std::vector<tweak::ReadingLinear> all = {{&block.up, &floats.up}};
  if (block.gate) all.push_back({&*block.gate, &*floats.gate});
  return all;
}

model::Norm solved(const model::Norm& norm, const model::Norm& float_norm,
                   const std::vector<tweak::ReadingLinear>& linears, const at::Tensor& n, const at::Tensor& float_n,
                   const RidgeRun& run) {
  tweak::RidgeMoments moments(n.size(-1), float_n.defined(), n.device());
  run.stream.in_parts([&](std::int64_t begin, std::int64_t count) {
    const auto part = [&](const at::Tensor& all) { return all.defined() ? all.narrow(0, begin, count) : all; };
    moments.add(part(n), part(float_n), part(run.mask));
  });
  moments.sum_over(run.processes);
  auto result = tweak::ridge_norm(norm, float_norm, linears, moments.means(), run.options.lambda, run.stored,
                                  &run.reports.emplace_back());
  // Rank 0's result is used, since other hardware may round differently.
  std::vector<at::Tensor> floats = {result.weight};
  if (result.bias.defined()) floats.push_back(result.bias);
  run.processes.broadcast(floats);
  return result;
}

}  // namespace

model::Block ridge_block(const model::Block& block, const model::Block& floats, const RidgeRun& run) {
  auto result = block;
  const auto at_attention = [&](const model::Block& at, const Stream& stream) {
    return tweak::normalised(at.attention_norm, stream.hidden());
  };
  const auto* aim = run.float_stream;
  result.attention_norm = solved(block.attention_norm, floats.attention_norm, attention_readers(block, floats),
                                 at_attention(block, run.stream), aim ? at_attention(floats, *aim) : at::Tensor(), run);
  result.mlp_norm =
      solved(block.mlp_norm, floats.mlp_norm, mlp_readers(block, floats), normalised_before_mlp(result, run.stream),
             aim ? normalised_before_mlp(floats, *aim) : at::Tensor(), run);
  return result;
}

model::Norm ridge_final_norm(const model::Norm& norm, const model::Norm& float_norm, const model::Linear& head,
                             const model::Linear& float_head, const RidgeRun& run) {
  return solved(norm, float_norm, {{&head, &float_head}}, tweak::normalised(norm, run.stream.hidden()),
                tweak::normalised(float_norm, run.float_stream->hidden()), run);
}

}  // namespace normtweak::pipeline
