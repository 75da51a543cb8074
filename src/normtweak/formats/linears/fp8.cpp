#include "normtweak/formats/linears/fp8.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <array>

#include "normtweak/formats/linears/module_tensors.h"
#include "normtweak/formats/linears/scaled_bytes.h"
#include "normtweak/formats/linears/settings.h"
#include "normtweak/formats/linears/skipped_modules.h"

namespace normtweak::formats {
namespace {

constexpr std::array<std::string_view, 2> kScales = {"weight_scale_inv", "weight_scale"};
constexpr std::array<std::string_view, 4> kOthers = {"activation_scale", "input_scale", "input_scale_ub",
                                                     "activation_scale_inv"};

class Fp8Linears : public QuantizedLinears {
 public:
  Fp8Linears(std::optional<std::array<std::int64_t, 2>> tile, SkippedModules skipped)
      : tile_(tile), skipped_(std::move(skipped)) {}

  std::string_view name() const override { return "FP8"; }

  std::vector<StoredLinear> find(const TensorSource& file) const override {
    std::vector<StoredLinear> found;
    for (const auto part : kScales) {
      for (auto& linear : linears_with(file, {&part, 1})) {
        const ModuleTensors tensors(file, linear.module);
        tensors.info("weight");
        linear.tensors = {tensors.name("weight"), tensors.name(part)};
        for (const auto other : kOthers) {
          if (tensors.has(other)) linear.tensors.push_back(tensors.name(other));
        }
        found.push_back(std::move(linear));
      }
    }
    skipped_.refuse(file, found);
    refuse_without_scale(file);
    return found;
  }

  weights::Weight outline(const TensorSource& file, const std::string& module) const override {
    const ModuleTensors tensors(file, module);
    return outline_bytes(tensors, scale_part(tensors), layout(tensors));
  }

  weights::Weight read(const TensorSource& file, const std::string& module) const override {
    const ModuleTensors tensors(file, module);
    return read_bytes(tensors, scale_part(tensors), layout(tensors));
  }

  NamedTensors floats(const TensorSource& file, const std::string& module,
                      const weights::Weight& weight) const override {
    const ModuleTensors tensors(file, module);
    const auto part = scale_part(tensors);
    const auto& scales = std::get<weights::ScaledWeight>(weight).scales;
    return {{tensors.name(part), scales.detach().cpu().view(tensors.info(part).shape)}};
  }

 private:
  // Its bytes alone would pass for a float tensor.
  static void refuse_without_scale(const TensorSource& file) {
    for (const auto& name : file.names()) {
      if (file.info(name).type != at::kFloat8_e4m3fn || !name.ends_with(".weight")) continue;
      const auto module = name.substr(0, name.rfind('.'));
      const auto has = [&](std::string_view part) { return file.contains(fmt::format("{}.{}", module, part)); };
      if (std::ranges::none_of(kScales, has)) {
        fail("{}: is FP8 and has no {} beside it; the file is incomplete", described(file, name), kScales[0]);
      }
    }
  }

  static std::string_view scale_part(const ModuleTensors& tensors) {
    return tensors.has(kScales[0]) ? kScales[0] : kScales[1];
  }

  ByteLayout layout(const ModuleTensors& tensors) const {
    ByteLayout layout = {.type = at::kFloat8_e4m3fn};
    if (c10::multiply_integers(tensors.info(scale_part(tensors)).shape) > 1 && tile_) layout.tile = *tile_;
    return layout;
  }

  std::optional<std::array<std::int64_t, 2>> tile_;  // nullopt: one scale for the whole matrix, or for a row
  SkippedModules skipped_;
};

}  // namespace

std::unique_ptr<QuantizedLinears> open_fp8(const Json& json, const std::string& origin,
                                           const ModuleSpellings& spellings, std::vector<std::string>& notes) {
  const Settings config(json, origin);
  const auto format = config.text({"fmt"}, "e4m3");
  if (format != "e4m3" && format != "float8_e4m3fn") {
    fail("{}: `fmt` {} is not supported; e4m3 is", config.where(), format);
  }
  notes.push_back(fmt::format("{}: FP8: readers may round activations as well; they stay float here", config.where()));
  SkippedModules skipped(config, {"modules_to_not_convert", "ignored_layers"}, spellings);
  const auto& tile = config.get("weight_block_size");
  if (tile.is_null()) return std::make_unique<Fp8Linears>(std::nullopt, std::move(skipped));
  const bool are_numbers = tile.is_array() && tile.size() == 2 && tile[0].is_number_unsigned() &&
                           tile[1].is_number_unsigned() && tile[0] > 0 && tile[1] > 0;
  if (!are_numbers) fail("{}: `weight_block_size` is {}; [rows, columns] expected", config.where(), show(tile));
  const std::array sizes = {tile[0].get<std::int64_t>(), tile[1].get<std::int64_t>()};
  return std::make_unique<Fp8Linears>(sizes, std::move(skipped));
}

}  // namespace normtweak::formats
