#include "normtweak/pipeline/gguf_values.h"

#include <cstring>

#include "normtweak/base/device/finite.h"
#include "normtweak/base/error.h"
#include "normtweak/formats/ggml_pack.h"
#include "normtweak/pipeline/stored_floats.h"
#include "normtweak/quantize/block_search.h"

namespace normtweak::pipeline {
namespace {

constexpr std::int64_t kRowsAtOnce = 4096;  // of an embedding, which may be larger than memory in F32

std::vector<std::byte> bytes_of(const at::Tensor& tensor) {
  const auto data = tensor.contiguous();
  std::vector<std::byte> bytes(data.nbytes());
  std::memcpy(bytes.data(), data.const_data_ptr(), bytes.size());
  return bytes;
}

// Runs `action` and prefixes the message of its Error.
template <class Action>
auto for_tensor(const std::string& what, const Action& action) {
  try {
    return action();
  } catch (const Error& error) {
    fail("{}: {}", what, error.what());
  }
}

// The name of the weight behind that of its tensor.
std::string weight_of(const std::string& module) { return module + ".weight"; }

}  // namespace

std::vector<std::byte> stored_bytes(const at::Tensor& values, const formats::GgmlType& type, const std::string& what) {
  if (type.block_size == 1) {
    const auto stored = values.to(*type.read_as);
    if (!all_finite(stored)) fail("{}: a value does not fit into {}; choose a preset of another type", what, type.name);
    return bytes_of(stored);
  }
  const auto columns = values.size(-1);
  const auto rounded = for_tensor(what, [&] {
    return quantize::quantize_blocks(values.reshape({-1, columns}), quantize::find_block_type(type.name));
  });
  return pack_blocks(rounded, type);
}

at::Tensor as_read(const at::Tensor& values, const formats::GgmlType& type, const std::string& what) {
  if (type.block_size == 1) return values.to(*type.read_as).to(values.scalar_type());
  const auto bytes = stored_bytes(values.detach().cpu().to(at::kFloat), type, what);
  return dequantize_blocks(type, bytes, values.sizes()).to(values.options());
}

GgufValues::GgufValues(const model::Checkpoint& original, const model::Decoder& decoder) : original_(original) {
  if (decoder.final_norm.kind != model::NormKind::none) add(decoder.final_norm);
  for (int i = 0; i < decoder.blocks.size(); ++i) {
    blocks_.push_back(decoder.blocks.stored(i));
    for (const auto& [role, norm] : blocks_.back()->norms) add(norm);
    for (const auto& part : blocks_.back()->linears) add(part.linear);
  }
}

void GgufValues::add(const model::Norm& norm) {
  changed_[norm.name + ".weight"] = norm.weight;
  if (norm.bias.defined()) changed_[norm.name + ".bias"] = norm.bias;
}

void GgufValues::add(const model::Linear& linear) {
  changed_[weight_of(linear.name)] = &linear.weight;
  if (linear.bias.defined()) changed_[linear.name + ".bias"] = linear.bias;
}

void GgufValues::write(const model::GgufPlace& place, const formats::GgmlType& type,
                       const formats::GgufSink& sink) const {
  const auto found = changed_.find(place.name);
  if (found == changed_.end()) {
    return write_floats(place, original_.tensors->read(stored_name(original_, place.name)), type, sink);
  }
  auto own = place;
  if (const auto* values = std::get_if<at::Tensor>(&found->second)) return write_floats(own, *values, type, sink);
  own.transpose = false;  // the decoder's linears are [out, in]
  const auto& weight = *std::get<const weights::Weight*>(found->second);
  if (const auto* blocks = std::get_if<weights::BlockWeight>(&weight)) return write_blocks(own, *blocks, type, sink);
  write_floats(own, weights::dequantize(weight), type, sink);
}

// The codes stay. Blocks lie within rows, so that these can change their order.
void GgufValues::write_blocks(const model::GgufPlace& place, const weights::BlockWeight& weight,
                              const formats::GgmlType& type, const formats::GgufSink& sink) const {
  const auto what = described(*original_.tensors, stored_name(original_, place.name));
  if (weight.type_name != type.name) {
    fail("{}: is quantized to {}, and the file has {} there", what, weight.type_name, type.name);
  }
  const auto rows = weight.codes.size(0);
  const auto order = place.reorders() ? place.order(rows).argsort() : at::Tensor();
  const auto in_file = weights::map_tensors(weight, [&](const at::Tensor& tensor) {
    const auto values = tensor.detach().cpu();
    return order.defined() ? values.index_select(0, order) : values;
  });
  for_tensor(what, [&] { sink(pack_blocks(std::get<weights::BlockWeight>(in_file), type)); });
}

// As many rows at a time as make little of memory, unless their order changes.
void GgufValues::write_floats(const model::GgufPlace& place, const at::Tensor& values, const formats::GgmlType& type,
                              const formats::GgufSink& sink) const {
  const auto what = described(*original_.tensors, stored_name(original_, place.name));
  const auto floats = [](const at::Tensor& part) { return part.detach().cpu().to(at::kFloat); };
  const bool in_parts = !place.reorders() && !place.transpose && place.shift == 0 && values.dim() == 2;
  if (!in_parts) return sink(stored_bytes(place.to_file(floats(values)), type, what));
  for (std::int64_t row = 0; row < values.size(0); row += kRowsAtOnce) {
    const auto count = std::min(kRowsAtOnce, values.size(0) - row);
    sink(stored_bytes(floats(values.narrow(0, row, count)), type, what));
  }
}

}  // namespace normtweak::pipeline
