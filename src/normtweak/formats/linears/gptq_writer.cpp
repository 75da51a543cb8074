#include <ATen/TensorOperators.h>

#include <algorithm>

#include "normtweak/base/device/type_name.h"
#include "normtweak/formats/bit_packing.h"
#include "normtweak/formats/linears/gptq.h"
#include "normtweak/formats/linears/written_affine.h"
#include "normtweak/formats/module_targets.h"

namespace normtweak::formats {
namespace {

using weights::AffineWeight;

constexpr const char *kVersion1 = "gptq", *kVersion2 = "gptq_v2";

int group_size_key(const AffineWeight& weight) { return weight.group_size > 0 ? weight.group_size : -1; }

void check(const AffineWeight& weight) {
  constexpr std::int64_t kWordBits = 32;
  const auto bits = weight.bits;
  if (bits != 2 && bits != 3 && bits != 4 && bits != 8) {
    fail("gptq holds 2, 3, 4 or 8 bits, and this weight has {}; compressed-tensors holds 2 to 8", bits);
  }
  const auto out = weight.codes.size(0), in = weight.codes.size(1);
  if (out % kWordBits != 0 || in % kWordBits != 0) {
    fail("gptq holds rows and columns in multiples of 32, and this weight is [{}, {}]; compressed-tensors holds any",
         out, in);
  }
  if (weight.scale_type != at::kHalf) {
    fail("gptq holds scales in F16, and those of this weight are {}", type_name(weight.scale_type));
  }
}

at::Tensor packed_codes(const AffineWeight& weight) {
  return pack_rows(in_weight_order(weight, weight.codes), weight.bits).t().contiguous();
}

at::Tensor packed_zeros(const AffineWeight& weight, bool subtracts_one) {
  auto codes = whole_zeros(weight).t().contiguous();
  if (subtracts_one) {
    // Readers add one to a packed word as a whole: a zero-point of 0, stored as the largest code, would spill over.
    if (codes.eq(0).any().item<bool>()) fail("version 1 of gptq holds no zero-point of 0");
    codes = codes - 1;
  }
  return pack_rows(codes, weight.bits);
}

void add_overrides(const SharedSettings& shared, const std::vector<std::string>& floats, const WrittenFamily& family,
                   Json& dynamic) {
  for (const auto& [settings, names] : shared.others) {
    for (const auto& pattern : module_targets(names, family)) {
      dynamic["+:" + python_pattern(pattern)] = {
          {"bits", settings.bits}, {"group_size", group_size_key(settings)}, {"sym", settings.symmetric}};
    }
  }
  for (const auto& pattern : module_targets(floats, family)) {
    dynamic["-:" + python_pattern(pattern)] = Json::object();
  }
  for (const auto& part : family.parts_beside) dynamic["-:" + python_pattern(part_target(part))] = Json::object();
}

}  // namespace

Json make_gptq_config(std::span<const QuantizedModule> modules, const std::vector<std::string>& floats,
                      const WrittenFamily& family) {
  for (const auto& module : modules) for_module(module.name, [&] { check(written_affine(module, "gptq")); });
  const auto shared = shared_settings(modules, "gptq");
  const auto& standard = shared.standard;
  const bool symmetric =
      standard.symmetric && std::ranges::all_of(shared.others, [](const auto& entry) { return entry.first.symmetric; });
  const bool ordered = std::ranges::any_of(
      modules, [](const QuantizedModule& module) { return std::get<AffineWeight>(module.weight).order.defined(); });
  Json config = {{"quant_method", "gptq"},
                 {"bits", standard.bits},
                 {"group_size", group_size_key(standard)},
                 {"desc_act", ordered},
                 {"sym", standard.symmetric},
                 {"lm_head", false},
                 {"checkpoint_format", symmetric ? kVersion1 : kVersion2},
                 {"pack_dtype", "int32"}};
  auto left = floats;
  std::erase_if(left, [](const std::string& name) { return !lies_in_block(name); });  // the head stays float anyway
  Json dynamic = Json::object();
  add_overrides(shared, left, family, dynamic);
  if (!dynamic.empty()) config["dynamic"] = dynamic;
  if (!family.blocks.empty()) config["block_name_to_quantize"] = family.blocks;
  return config;
}

std::vector<TensorToWrite> encode_gptq(const Json& config, const QuantizedModule& module) {
  const bool subtracts_one = config.at("checkpoint_format") == kVersion1;
  return for_module(module.name, [&]() -> std::vector<TensorToWrite> {
    const auto& affine = written_affine(module, "gptq");
    check(affine);
    const auto later = [&](const char* part, at::ScalarType type, std::vector<std::int64_t> shape, auto make) {
      return TensorToWrite{module.name + "." + part, type, std::move(shape), [name = module.name, affine, make] {
                             return for_module(name, [&] { return make(affine); });
                           }};
    };
    const auto out = affine.codes.size(0), in = affine.codes.size(1), groups = affine.scales.size(1);
    return {later("qweight", at::kInt, {packed_columns(in, affine.bits), out}, packed_codes),
            later("qzeros", at::kInt, {groups, packed_columns(out, affine.bits)},
                  [subtracts_one](const AffineWeight& w) { return packed_zeros(w, subtracts_one); }),
            later("scales", at::kHalf, {groups, out},
                  [](const AffineWeight& w) { return stored_float(w.scales.t(), at::kHalf, "a scale"); }),
            later("g_idx", at::kInt, {in}, group_indices)};
  });
}

}  // namespace normtweak::formats
