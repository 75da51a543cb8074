#include "normtweak/model/block.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros_like.h>

#include "normtweak/base/error.h"
#include "normtweak/model/branched_rows.h"
#include "normtweak/model/decode_attention.h"

namespace normtweak::model {
namespace {

at::Tensor activate(const at::Tensor& x, Activation activation) {
  switch (activation) {
    case Activation::silu:
      return at::silu(x);
    case Activation::gelu:
      return at::gelu(x);
    case Activation::gelu_tanh:
      return at::gelu(x, "tanh");
    case Activation::relu:
      return at::relu(x);
  }
  return x;
}

// Appends the new keys and values [samples, heads, tokens, head_size] to the cache; returns all so far.
void extend(KeyValueCache& cache, std::int64_t start, at::Tensor& key, at::Tensor& value) {
  const auto tokens = key.size(2);
  cache.keys.narrow(2, start, tokens).copy_(key);
  cache.values.narrow(2, start, tokens).copy_(value);
  key = cache.keys.narrow(2, 0, start + tokens);
  value = cache.values.narrow(2, 0, start + tokens);
}

struct QueryKeyValue {
  at::Tensor query, key, value;  // [samples, tokens, heads, head_size]
};

// One pass through a block. Each step returns an undefined tensor once the tap has ended the pass.
class BlockPass {
 public:
  // branches: of branched rows; otherwise null.
  BlockPass(const Block& block, const BlockContext& context, const BranchMasks* branches = nullptr)
      : block_(block), context_(context), config_(*context.config), branches_(branches), from_(context.from) {}

  at::Tensor run(const at::Tensor& hidden) {
    if (config_.topology == Topology::parallel) return parallel(hidden);
    const auto middle =
        begins_in_mlp() ? hidden : half(hidden, NormRole::attention, NormRole::attention_output, &BlockPass::attention);
    return ended_ ? at::Tensor() : half(middle, NormRole::mlp, NormRole::mlp_output, &BlockPass::mlp);
  }

 private:
  using Part = at::Tensor (BlockPass::*)(const at::Tensor& input, const at::Tensor& stream);

  bool begins_in_mlp() const { return from_ != nullptr && from_->place.kind >= PlaceKind::mlp; }
  bool begins_at(PlaceKind kind) const { return from_ != nullptr && from_->place.kind == kind; }

  at::Tensor parallel(const at::Tensor& stream) {
    const bool one_norm = find(block_, NormRole::mlp) == nullptr;
    at::Tensor input, middle;
    if (begins_in_mlp()) {
      middle = from_->stream;
    } else {
      input = normed(NormRole::attention, stream);
      middle = sum(stream, attention(from_ != nullptr ? from_->input : input, stream));
      if (ended_) return {};
    }
    const auto read = begins_in_mlp() ? from_->input : one_norm ? input : normed(NormRole::mlp, stream);
    return sum(middle, mlp(read, middle));
  }

  // The first half that is computed begins where an earlier pass ended, if there was one.
  at::Tensor half(const at::Tensor& stream, NormRole before, NormRole after, Part part) {
    const auto topology = config_.topology;
    const bool norm_before = topology == Topology::pre_norm || topology == Topology::sandwich;
    const bool norm_output = topology == Topology::sandwich || topology == Topology::output_norm;
    const bool begins_here = from_ != nullptr && begins_in_mlp() == (before == NormRole::mlp);
    const auto base = begins_here                 ? from_->stream
                      : config_.residual_of_norms ? forward(part_in(before), stream, at::kFloat)
                                                  : stream;
    const auto input = begins_here ? from_->input : norm_before ? normed(before, stream) : stream.to(context_.type);
    const auto output = (this->*part)(input, base);
    if (ended_) return {};
    const auto added = sum(base, norm_output ? normed(after, output) : output);
    return topology == Topology::post_norm ? forward(part_in(after), added, at::kFloat) : added;
  }

  at::Tensor sum(const at::Tensor& stream, const at::Tensor& output) const {
    if (ended_) return {};
    return config_.residual_scale == 1 ? stream + output : stream + output * config_.residual_scale;
  }

  const Norm& part_in(NormRole role) const { return *find(block_, role); }
  const Linear& part_in(LinearRole role, int expert = -1) const { return *find(block_, role, expert); }
  at::Tensor normed(NormRole role, const at::Tensor& x) const { return forward(part_in(role), x, context_.type); }

  // Shows the input of a place; returns whether the pass ends here.
  bool ends_at(const Place& place, const at::Tensor& input, const at::Tensor& stream, const at::Tensor& tokens = {}) {
    if (!context_.tap) return false;
    at::Tensor residual;
    if (adds_to_stream(place, config_.topology)) {
      residual = config_.residual_scale == 1 ? stream : stream / config_.residual_scale;
    }
    ended_ = context_.tap({.place = place, .input = input, .tokens = tokens, .residual = residual, .stream = stream});
    return ended_;
  }

  at::Tensor apply(LinearRole role, const at::Tensor& input, int expert = -1, const at::Tensor& tokens = {}) const {
    const auto& linear = part_in(role, expert);
    auto output = forward(linear, input);
    if (context_.tap) {
      context_.tap({.place = place_of(role, expert),
                    .input = input,
                    .tokens = tokens,
                    .residual = {},
                    .stream = {},
                    .role = role,
                    .linear = &linear,
                    .output = output});
    }
    return output;
  }

  at::Tensor attention(const at::Tensor& input, const at::Tensor& stream) {
    const bool is_mixed = begins_at(PlaceKind::attention_output);
    if (!is_mixed && ends_at({PlaceKind::attention}, input, stream)) return {};
    const auto mixed = is_mixed ? input : mix(input);
    if (ends_at({PlaceKind::attention_output}, mixed, stream)) return {};
    return apply(LinearRole::attention_output, mixed);
  }

  at::Tensor mix(const at::Tensor& input) const {
    auto [query, key, value] = project(input);
    query = normed_heads(NormRole::query, query);
    key = normed_heads(NormRole::key, key);
    auto* cache = context_.cache;
    if (cache != nullptr && query.size(1) == 1 && has_decode_kernel(config_, query.options())) {
      return decode_attention({.query = query,
                               .key = key,
                               .value = value,
                               .keys = cache->keys,
                               .values = cache->values,
                               .rotary = has_rotary() ? &rotary_table(context_.start + 1) : nullptr,
                               .position = context_.start,
                               .window = block_.facts.window,
                               .scale = config_.attention_scale});
    }
    if (has_rotary()) rotate_both(query, key);
    query = query.transpose(1, 2);  // [samples, heads, tokens, head_size]
    key = key.transpose(1, 2);
    value = value.transpose(1, 2);
    if (cache != nullptr) extend(*cache, context_.start, key, value);
    if (branches_ != nullptr) return attend(query, key, value, config_, block_.facts, *branches_);
    return attend(query, key, value, config_, block_.facts, context_.tables->masks);
  }

  bool has_rotary() const { return block_.facts.rotary >= 0; }

  const RotaryTable& rotary_table(std::int64_t length) const {
    return context_.tables->rotary[static_cast<std::size_t>(block_.facts.rotary)].for_length(length);
  }

  // [samples, tokens, heads, head_size]
  void rotate_both(at::Tensor& query, at::Tensor& key) const {
    if (branches_ == nullptr) {
      const auto& table = rotary_table(context_.start + query.size(1));
      query = rotate(query, table, context_.start);
      key = rotate(key, table, context_.start);
      return;
    }
    // A table of the positions that the tokens have, one row after the other.
    const auto& table = rotary_table(branches_->rows().length);
    const auto positions = branches_->rows().positions.flatten();
    const RotaryTable own = {.cosine = table.cosine.index_select(0, positions),
                             .sine = table.sine.index_select(0, positions),
                             .interleaved = table.interleaved};
    const auto rotated = [&](const at::Tensor& heads) {
      return rotate(heads.flatten(0, 1).unsqueeze(0), own, 0).view(heads.sizes());
    };
    query = rotated(query);
    key = rotated(key);
  }

  QueryKeyValue project(const at::Tensor& input) const {
    const auto clipped = [&](const at::Tensor& x) {
      const auto limit = config_.query_key_value_clip;
      return limit > 0 ? x.clamp(-limit, limit) : x;
    };
    const auto split = [&](const at::Tensor& flat, std::int64_t heads) {
      return flat.view({flat.size(0), flat.size(1), heads, config_.head_size});
    };
    const auto heads = config_.heads, shared = config_.key_value_heads;
    if (find(block_, LinearRole::query_key_value) == nullptr) {
      const auto output = [&](LinearRole role) { return clipped(apply(role, input)); };
      return {split(output(LinearRole::query), heads), split(output(LinearRole::key), shared),
              split(output(LinearRole::value), shared)};
    }
    const auto all = clipped(apply(LinearRole::query_key_value, input));
    if (config_.query_key_value_order == RowOrder::groups) {
      const auto queries = heads / shared;  // of each key-value head
      const auto groups = all.view({all.size(0), all.size(1), shared, queries + 2, config_.head_size});
      return {groups.narrow(3, 0, queries).flatten(2, 3), groups.select(3, queries), groups.select(3, queries + 1)};
    }
    const auto q = heads * config_.head_size, kv = shared * config_.head_size;
    const auto parts = all.split_with_sizes({q, kv, kv}, -1);
    return {split(parts[0], heads), split(parts[1], shared), split(parts[2], shared)};
  }

  // heads: [samples, tokens, heads, head_size]
  at::Tensor normed_heads(NormRole role, const at::Tensor& heads) const {
    std::vector<const Norm*> norms;
    for (const auto& part : block_.norms) {
      if (part.role == role) norms.push_back(&part.norm);
    }
    if (norms.empty()) return heads;
    if (config_.head_norm == HeadNorm::all) {
      return forward(*norms.front(), heads.flatten(2), context_.type).view(heads.sizes());
    }
    if (norms.size() == 1) return forward(*norms.front(), heads, context_.type);
    auto together = *norms.front();  // one norm for each head
    std::vector<at::Tensor> weights, biases;
    for (const auto* norm : norms) {
      weights.push_back(norm->weight);
      if (norm->bias.defined()) biases.push_back(norm->bias);
    }
    together.weight = at::stack(weights);
    if (!biases.empty()) together.bias = at::stack(biases);
    return forward(together, heads, context_.type);
  }

  at::Tensor mlp(const at::Tensor& input, const at::Tensor& stream) {
    const bool is_expanded = begins_at(PlaceKind::mlp_down);
    if (!is_expanded && ends_at({PlaceKind::mlp}, input, stream)) return {};
    if (block_.facts.experts) return mixture(input);
    const auto inner = is_expanded ? input : expand(input, -1, {});
    if (ends_at({PlaceKind::mlp_down}, inner, stream)) return {};
    return apply(LinearRole::down, inner);
  }

  // The input of the MLP's last linear.
  at::Tensor expand(const at::Tensor& input, int expert, const at::Tensor& tokens) const {
    const auto activation = config_.activation;
    if (find(block_, LinearRole::gate_up, expert) != nullptr) {
      const auto both = apply(LinearRole::gate_up, input, expert, tokens).chunk(2, -1);
      return activate(both[0], activation) * both[1];
    }
    if (find(block_, LinearRole::gate, expert) == nullptr) {
      return activate(apply(LinearRole::up, input, expert, tokens), activation);
    }
    const auto gate = activate(apply(LinearRole::gate, input, expert, tokens), activation);
    return gate * apply(LinearRole::up, input, expert, tokens);
  }

  // Each token's sum over the experts that the router ranks first, weighted by its softmax.
  at::Tensor mixture(const at::Tensor& input) {
    const auto flat = input.flatten(0, 1);
    const auto scores = apply(LinearRole::router, flat).to(at::kFloat).softmax(-1);
    auto [shares, chosen] = scores.topk(config_.experts_per_token, -1);
    if (config_.normalized_experts) shares = shares / shares.sum(-1, /*keepdim=*/true);
    auto output = at::zeros_like(flat);
    for (int expert = 0; expert < static_cast<int>(config_.experts); ++expert) {
      const auto places = (chosen == expert).nonzero();  // [its tokens, 2]
      if (places.size(0) == 0) continue;
      const auto tokens = places.select(1, 0);
      const auto own = flat.index_select(0, tokens);
      if (ends_at({PlaceKind::mlp, expert}, own, {}, tokens)) return {};
      const auto inner = expand(own, expert, tokens);
      if (ends_at({PlaceKind::mlp_down, expert}, inner, {}, tokens)) return {};
      const auto share = shares.index({tokens, places.select(1, 1)}).unsqueeze(1).to(input.scalar_type());
      output = output.index_add(0, tokens, apply(LinearRole::down, inner, expert, tokens) * share);
    }
    return output.view(input.sizes());
  }

  const Block& block_;
  const BlockContext& context_;
  const ModelConfig& config_;
  const BranchMasks* branches_;
  const Seen* from_;
  bool ended_ = false;
};

template <class AnyBlock>
auto* find_norm(AnyBlock& block, NormRole role) {
  for (auto& part : block.norms) {
    if (part.role == role) return &part.norm;
  }
  return decltype(&block.norms.front().norm){nullptr};
}

template <class AnyBlock>
auto* find_linear(AnyBlock& block, LinearRole role, int expert) {
  for (auto& part : block.linears) {
    if (part.role == role && part.expert == expert) return &part.linear;
  }
  return decltype(&block.linears.front().linear){nullptr};
}

}  // namespace

Place BlockLinear::place() const { return place_of(role, expert); }

const Norm* find(const Block& block, NormRole role) { return find_norm(block, role); }
Norm* find(Block& block, NormRole role) { return find_norm(block, role); }
const Linear* find(const Block& block, LinearRole role, int expert) { return find_linear(block, role, expert); }
Linear* find(Block& block, LinearRole role, int expert) { return find_linear(block, role, expert); }

Place place_of(LinearRole role, int expert) {
  switch (role) {
    case LinearRole::query:
    case LinearRole::key:
    case LinearRole::value:
    case LinearRole::query_key_value:
      return {PlaceKind::attention, expert};
    case LinearRole::attention_output:
      return {PlaceKind::attention_output, expert};
    case LinearRole::router:
    case LinearRole::gate:
    case LinearRole::up:
    case LinearRole::gate_up:
      return {PlaceKind::mlp, expert};
    case LinearRole::down:
      break;
  }
  return {PlaceKind::mlp_down, expert};
}

bool stays_float(LinearRole role) { return role == LinearRole::router; }

bool adds_to_stream(const Place& place, Topology topology) {
  if (topology != Topology::pre_norm && topology != Topology::parallel) return false;
  return place.expert < 0 && (place.kind == PlaceKind::attention_output || place.kind == PlaceKind::mlp_down);
}

at::Tensor forward(const Block& block, const at::Tensor& hidden, const BlockContext& context) {
  return BlockPass(block, context).run(hidden);
}

at::Tensor forward(const Block& block, const at::Tensor& hidden, const BlockContext& context,
                   const BranchMasks& branches) {
  return BlockPass(block, context, &branches).run(hidden);
}

Block map_tensors(const Block& block, const std::function<at::Tensor(const at::Tensor&)>& change) {
  const auto defined = [&](const at::Tensor& tensor) { return tensor.defined() ? change(tensor) : tensor; };
  auto changed = block;
  for (auto& [role, norm] : changed.norms) {
    norm.weight = defined(norm.weight);
    norm.bias = defined(norm.bias);
  }
  for (auto& part : changed.linears) {
    part.linear.weight = weights::map_tensors(part.linear.weight, defined);
    part.linear.bias = defined(part.linear.bias);
  }
  return changed;
}

}  // namespace normtweak::model
