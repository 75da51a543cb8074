#include "normtweak/formats/linears/bitsandbytes.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include <array>
#include <cmath>
#include <cstring>
#include <optional>

#include "normtweak/formats/linears/module_tensors.h"
#include "normtweak/formats/linears/settings.h"
#include "normtweak/formats/linears/skipped_modules.h"

namespace normtweak::formats {
namespace {

using weights::ScaledWeight;

// The values that its kernels look codes up in.
constexpr std::array<double, 16> kNf4 = {-1,
                                         -0.6961928009986877,
                                         -0.5250730514526367,
                                         -0.39491748809814453,
                                         -0.28444138169288635,
                                         -0.18477343022823334,
                                         -0.09105003625154495,
                                         0,
                                         0.07958029955625534,
                                         0.16093020141124725,
                                         0.24611230194568634,
                                         0.33791524171829224,
                                         0.44070982933044434,
                                         0.5626170039176941,
                                         0.7229568362236023,
                                         1};
constexpr std::array<double, 16> kFp4 = {0,    0.0625 / 12,  2.0 / 3,  1,  1.0 / 3,  0.5,  1.0 / 6,  0.25,
                                         -0.0, -0.0625 / 12, -2.0 / 3, -1, -1.0 / 3, -0.5, -1.0 / 6, -0.25};

struct Table {
  std::string_view type, part;  // the part is the tensor that names it
  const std::array<double, 16>& values;
};
constexpr std::array<Table, 2> kTables = {{
    {"nf4", "weight.quant_state.bitsandbytes__nf4", kNf4},
    {"fp4", "weight.quant_state.bitsandbytes__fp4", kFp4},
}};

constexpr std::array<std::string_view, 5> kParts = {"weight", "weight.absmax", "weight.quant_map",
                                                    "weight.nested_absmax", "weight.nested_quant_map"};
constexpr const char* kOffset = "nested_offset";

std::int64_t parts_of(std::int64_t size, std::int64_t part) { return (size + part - 1) / part; }

// What the JSON says of one linear.
struct State {
  const Table* table = nullptr;
  std::string text;
  std::int64_t rows = 0, columns = 0, run = 64, nested_run = 256;
  std::optional<float> offset;  // with nested scales

  std::int64_t runs() const { return parts_of(rows * columns, run); }
};

State read_state(const ModuleTensors& tensors) {
  State state;
  for (const auto& table : kTables) {
    if (tensors.has(table.part)) state.table = &table;
  }
  if (state.table == nullptr) {
    tensors.refuse("weight", "has no {}, or that of fp4; other types of bitsandbytes are not supported",
                   kTables[0].part);
  }
  const auto part = state.table->part;
  const auto bytes = tensors.read(part, at::kByte, {-1}).contiguous();
  state.text.assign(reinterpret_cast<const char*>(bytes.const_data_ptr<std::uint8_t>()),
                    static_cast<std::size_t>(bytes.numel()));
  const auto where = tensors.described_part(part);
  const auto json = parse_json(state.text, where);
  const Settings values(json, where);
  constexpr int kLargest = 1 << 20;
  state.run = values.whole({"blocksize"}, std::nullopt, 1, kLargest);
  const auto& shape = values.get("shape");
  const bool is_matrix =
      shape.is_array() && shape.size() == 2 && shape[0].is_number_integer() && shape[1].is_number_integer();
  constexpr std::int64_t kMost = std::int64_t{1} << 31;
  if (is_matrix) {
    state.rows = shape[0].get<std::int64_t>();
    state.columns = shape[1].get<std::int64_t>();
  }
  if (!is_matrix || state.rows <= 0 || state.columns <= 0 || state.rows > kMost || state.columns > kMost) {
    fail("{}: `shape` is {}; that of a matrix expected", where, show(shape));
  }
  const auto& offset = values.get(kOffset);
  if (offset.is_null()) return state;
  if (!offset.is_number()) fail("{}: `{}` is {}; a number expected", where, kOffset, show(offset));
  state.offset = offset.get<float>();
  if (!std::isfinite(*state.offset)) fail("{}: `{}` is {}; a finite number expected", where, kOffset, show(offset));
  state.nested_run = values.whole({"nested_blocksize"}, 256, 1, kLargest);
  return state;
}

at::Tensor later(std::initializer_list<std::int64_t> shape, at::ScalarType type) {
  return at::empty(shape, at::TensorOptions(type).device(at::kMeta));
}

// u8 [rows, columns], from two codes a byte.
at::Tensor codes_of(const ModuleTensors& tensors, const State& state) {
  const auto info = tensors.info("weight");
  const auto bytes = tensors.read("weight", info.type, info.shape).contiguous().flatten().view(at::kByte);
  const auto count = state.rows * state.columns;
  const auto both = at::stack({bytes.bitwise_right_shift(4), bytes.bitwise_and(15)}, 1).flatten();
  return both.slice(0, 0, count).view({state.rows, state.columns}).contiguous();
}

// The text with another offset, of the same length: spaces stand in front of a shorter number.
std::string with_offset(const std::string& text, float offset, const std::string& where) {
  const auto key = text.find(fmt::format("\"{}\"", kOffset));
  const auto begin = text.find_first_not_of(": \t", text.find(':', key));
  const auto end = text.find_first_of(",} \t", begin);
  if (key == std::string::npos || end == std::string::npos) fail("{}: has no `{}`", where, kOffset);
  const auto room = end - begin;
  constexpr int kEnough = 9;  // digits that tell any two floats apart
  for (int digits = kEnough; digits > 0; --digits) {
    const auto number = fmt::format("{:.{}g}", offset, digits);
    if (number.size() <= room) return text.substr(0, begin) + fmt::format("{:>{}}", number, room) + text.substr(end);
  }
  return text;
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
      for (const auto& table : kTables) {
        if (tensors.has(table.part)) linear.tensors.push_back(tensors.name(table.part));
      }
    }
    return found;
  }

  weights::Weight outline(const TensorSource& file, const std::string& module) const override {
    const ModuleTensors tensors(file, module);
    return outlined(tensors, read_state(tensors));
  }

  weights::Weight read(const TensorSource& file, const std::string& module) const override {
    const ModuleTensors tensors(file, module);
    const auto state = read_state(tensors);
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
    const auto state = read_state(tensors);
    const auto offset = scaled.offset.detach().cpu().item<float>();
    const auto text = offset == state.offset
                          ? state.text
                          : with_offset(state.text, offset, tensors.described_part(state.table->part));
    auto bytes = at::empty({static_cast<std::int64_t>(text.size())}, at::kByte);
    std::memcpy(bytes.mutable_data_ptr<std::uint8_t>(), text.data(), text.size());
    return {{tensors.name("weight.nested_absmax"), scales}, {tensors.name(state.table->part), bytes}};
  }

 private:
  static ScaledWeight outlined(const ModuleTensors& tensors, const State& state) {
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
                                                    std::vector<std::string>& /*notes*/) {
  const Settings config(json, origin);
  if (config.flag({"load_in_8bit", "_load_in_8bit"}, false)) {
    fail("{}: `load_in_8bit`: LLM.int8 of bitsandbytes also quantizes activations, which is not supported; 4 bits are",
         config.where());
  }
  return std::make_unique<BitsandbytesLinears>(SkippedModules(config, {"llm_int8_skip_modules"}));
}

}  // namespace normtweak::formats
