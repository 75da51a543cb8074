#include "normtweak/formats/linears/bitsandbytes.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include <array>
#include <cstring>

#include "normtweak/formats/linears/bitsandbytes_state.h"
#include "normtweak/formats/linears/module_tensors.h"
#include "normtweak/formats/linears/settings.h"
#include "normtweak/formats/linears/skipped_modules.h"

namespace normtweak::formats {
namespace {

using weights::ScaledWeight;

constexpr std::array<std::string_view, 5> kParts = {"weight", "weight.absmax", "weight.quant_map",
                                                    "weight.nested_absmax", "weight.nested_quant_map"};
// u8 [rows, columns], from two codes a byte.
at::Tensor codes_of(const ModuleTensors& tensors, const BitsandbytesState& state) {
  const auto info = tensors.info("weight");
  const auto bytes = tensors.read("weight", info.type, info.shape).contiguous().flatten().view(at::kByte);
  const auto count = state.rows * state.columns;
  const auto both = at::stack({bytes.bitwise_right_shift(4), bytes.bitwise_and(15)}, 1).flatten();
  return both.slice(0, 0, count).view({state.rows, state.columns}).contiguous();
}

class BitsandbytesLinears : public QuantizedLinears {
 public:
  explicit BitsandbytesLinears(SkippedModules skipped) : skipped_(std::move(skipped)) {}

  std::string_view name() const override { return "bitsandbytes"; }

  // Also linears that stay float have a `weight`; those with codes have an absmax.
  std::vector<StoredLinear> find(const TensorSource& file) const override {
    constexpr std::array<std::string_view, 1> kSign = {"weight.absmax"};
    auto found = linears_with(file, kSign);
    skipped_.refuse(file, found);
    for (auto& linear : found) {
      const ModuleTensors tensors(file, linear.module);
      tensors.info("weight");
      linear.tensors.clear();
      for (const auto part : kParts) {
        if (tensors.has(part)) linear.tensors.push_back(tensors.name(part));
      }
      for (const auto& table : bitsandbytes_tables()) {
        if (tensors.has(table.part)) linear.tensors.push_back(tensors.name(table.part));
      }
    }
    return found;
  }

  weights::Weight outline(const TensorSource& file, const std::string& module) const override {
    const ModuleTensors tensors(file, module);
    return outlined(tensors, read_bitsandbytes_state(tensors));
  }

  weights::Weight read(const TensorSource& file, const std::string& module) const override {
    const ModuleTensors tensors(file, module);
    const auto state = read_bitsandbytes_state(tensors);
    auto weight = outlined(tensors, state);
    weight.codes = codes_of(tensors, state);
    weight.table = at::tensor(state.table->values, at::kFloat);
    if (!state.offset) {
      weight.scales = tensors.floats("weight.absmax", {state.runs()});
      return weight;
    }
    const auto map = tensors.floats("weight.nested_quant_map", {256});
    const auto nested = tensors.read("weight.absmax", at::kByte, {state.runs()});
    weight.sub_scales = map.index_select(0, nested.to(at::kInt));
    weight.scales = tensors.floats("weight.nested_absmax", {parts_of(state.runs(), state.nested_run)});
    weight.offset = at::full({1}, *state.offset, at::kFloat);
    return weight;
  }

  NamedTensors floats(const TensorSource& file, const std::string& module,
                      const weights::Weight& weight) const override {
    const ModuleTensors tensors(file, module);
    const auto& scaled = std::get<ScaledWeight>(weight);
    const auto scales = scaled.scales.detach().cpu();
    if (!scaled.offset.defined()) return {{tensors.name("weight.absmax"), scales}};
    const auto state = read_bitsandbytes_state(tensors);
    const auto offset = scaled.offset.detach().cpu().item<float>();
    const auto text = offset == state.offset
                          ? state.text
                          : with_offset(state.text, offset, tensors.described_part(state.table->part));
    auto bytes = at::empty({static_cast<std::int64_t>(text.size())}, at::kByte);
    std::memcpy(bytes.mutable_data_ptr<std::uint8_t>(), text.data(), text.size());
    return {{tensors.name("weight.nested_absmax"), scales}, {tensors.name(state.table->part), bytes}};
  }

 private:
  static ScaledWeight outlined(const ModuleTensors& tensors, const BitsandbytesState& state) {
    const auto count = state.rows * state.columns;
    const auto info = tensors.info("weight");
    const auto bytes = c10::multiply_integers(info.shape) * static_cast<std::int64_t>(c10::elementSize(info.type));
    if (bytes != (count + 1) / 2) {
      tensors.refuse("weight", "{} bytes, which are no codes of 4 bits for a weight [{}, {}]", bytes, state.rows,
                     state.columns);
    }
    ScaledWeight weight;
    weight.codes = later({state.rows, state.columns}, at::kByte);
    weight.table = later({16}, at::kFloat);
    weight.tile_rows = 0;
    weight.tile_columns = state.run;
    weight.type_name = state.table->type;
    weight.bits = 4 + 32.0 / static_cast<double>(state.run);
    if (!state.offset) {
      tensors.info("weight.absmax", at::kFloat, {state.runs()});
      weight.scales = later({state.runs()}, at::kFloat);
      return weight;
    }
    const auto nested = parts_of(state.runs(), state.nested_run);
    tensors.info("weight.absmax", at::kByte, {state.runs()});
    tensors.info("weight.nested_absmax", at::kFloat, {nested});
    weight.sub_scales = later({state.runs()}, at::kFloat);
    weight.scales = later({nested}, at::kFloat);
    weight.offset = later({1}, at::kFloat);
    weight.nested_size = state.nested_run;
    weight.bits = 4 + 8.0 / static_cast<double>(state.run) + 32.0 / static_cast<double>(state.run * state.nested_run);
    return weight;
  }

  SkippedModules skipped_;
};

}  // namespace

std::unique_ptr<QuantizedLinears> open_bitsandbytes(const Json& json, const std::string& origin,
                                                    const ModuleSpellings& spellings,
                                                    std::vector<std::string>& /*notes*/) {
  const Settings config(json, origin);
  if (config.flag({"load_in_8bit", "_load_in_8bit"}, false)) {
    fail("{}: `load_in_8bit`: LLM.int8 of bitsandbytes also quantizes activations, which is not supported; 4 bits are",
         config.where());
  }
  return std::make_unique<BitsandbytesLinears>(SkippedModules(config, {"llm_int8_skip_modules"}, spellings));
}

}  // namespace normtweak::formats
