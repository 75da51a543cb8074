#include "normtweak/pipeline/gguf_values.h"

#include <cstring>

#include "normtweak/base/about.h"
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

// Collects the floats and weights of a decoder.
class DecoderValues {
 public:
  void add(const model::Norm& norm) {
    add(norm.name + ".weight", norm.weight);
    add(norm.name + ".bias", norm.bias);
  }

  // A weight is fetched when it is written: in host memory its codes may be packed.
  void add(const std::shared_ptr<const model::BlockStore>& blocks, int index) {
    const auto block = blocks->outlined(index);
    for (const auto& [role, norm] : block.norms) add(norm);
    for (std::size_t part = 0; part < block.linears.size(); ++part) {
      const auto& linear = block.linears[part].linear;
      all_[linear.name + ".weight"] = [blocks, index, part] { return blocks->weight(index, part); };
      add(linear.name + ".bias", linear.bias);
    }
  }

  GgufValues::Makers take() { return std::move(all_); }

 private:
  void add(const std::string& name, const at::Tensor& values) {
    if (values.defined()) all_[name] = [values] { return weights::FloatWeight{values}; };
  }

  GgufValues::Makers all_;
};

}  // namespace

std::vector<std::byte> stored_bytes(const at::Tensor& values, const formats::GgmlType& type, const std::string& what) {
  if (type.block_size == 1) {
    const auto stored = values.to(*type.read_as);
    if (!all_finite(stored)) fail("{}: a value does not fit into {}; choose a preset of another type", what, type.name);
    return bytes_of(stored);
  }
  const auto columns = values.size(-1);
  const auto rounded = about(what, [&] {
    return quantize::quantize_blocks(values.reshape({-1, columns}), quantize::find_block_type(type.name));
  });
  return pack_blocks(rounded, type);
}

at::Tensor as_read(const at::Tensor& values, const formats::GgmlType& type, const std::string& what) {
  if (type.block_size == 1) return values.to(*type.read_as).to(values.scalar_type());
  const auto bytes = stored_bytes(values.detach().cpu().to(at::kFloat), type, what);
  return dequantize_blocks(type, bytes, values.sizes()).to(values.options());
}

GgufValues::Makers values_of(const model::Decoder& decoder) {
  DecoderValues values;
  if (decoder.final_norm.kind != model::NormKind::none) values.add(decoder.final_norm);
  const auto blocks = std::make_shared<const model::BlockStore>(decoder.blocks);
  for (int i = 0; i < blocks->size(); ++i) values.add(blocks, i);
  return values.take();
}

void GgufValues::write(const model::GgufPlace& place, const formats::GgmlType& type,
                       const formats::GgufSink& sink) const {
  const auto found = changed_.find(place.name);
  if (found == changed_.end()) {
    return write_floats(place, original_.tensors->read(stored_name(original_, place.name)), type, sink);
  }
  auto own = place;
  own.transpose = false;  // weights are [out, in]
  const auto weight = found->second();
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
  about(what, [&] { sink(pack_blocks(std::get<weights::BlockWeight>(in_file), type)); });
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
