#include "normtweak/formats/linears/awq.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "normtweak/base/device/type_name.h"
#include "normtweak/formats/bit_packing.h"
#include "normtweak/formats/linears/module_tensors.h"
#include "normtweak/formats/linears/written_affine.h"
#include "normtweak/formats/module_targets.h"

namespace normtweak::formats {
namespace {

using weights::AffineWeight;

constexpr std::array<std::string_view, 3> kParts = {"qweight", "qzeros", "scales"};
constexpr int kBits = 4, kInWord = 8;

// u8 [rows, 8 * words]: the places within a word in another order.
at::Tensor reordered(const at::Tensor& codes, const std::array<std::int64_t, kInWord>& order) {
  const auto rows = codes.size(0);
  return codes.view({rows, -1, kInWord})
      .index_select(2, at::tensor(at::IntArrayRef(order)).to(codes.device()))
      .view({rows, -1});
}

// The place of output j in its word, and the output at place j.
constexpr std::array<std::int64_t, kInWord> kPlaces = {0, 4, 1, 5, 2, 6, 3, 7}, kOutputs = {0, 2, 4, 6, 1, 3, 5, 7};

at::Tensor unpacked(const at::Tensor& packed) {
  return reordered(unpack_rows(packed.contiguous(), kBits, packed.size(1) * kInWord), kPlaces);
}

at::Tensor packed(const at::Tensor& codes) { return pack_rows(reordered(codes.contiguous(), kOutputs), kBits); }

class AwqLinears : public QuantizedLinears {
 public:
  AwqLinears(ModuleSettings settings, SkippedModules skipped)
      : settings_(std::move(settings)), skipped_(std::move(skipped)) {}

  std::string_view name() const override { return "AWQ"; }

  std::vector<StoredLinear> find(const TensorSource& file) const override {
    auto found = linears_with(file, kParts);
    skipped_.refuse(file, found);
    for (const auto& linear : found) settings(ModuleTensors(file, linear.module), linear.module);
    return found;
  }

  weights::Weight outline(const TensorSource& file, const std::string& module) const override {
    return affine_outline(layout(ModuleTensors(file, module), module));
  }

  weights::Weight read(const TensorSource& file, const std::string& module) const override {
    const ModuleTensors tensors(file, module);
    const auto found = layout(tensors, module);
    auto weight = affine_outline(found);
    weight.stores_zeros = true;
    weight.codes = unpacked(tensors.read("qweight", at::kInt, {found.columns, -1})).t().contiguous();
    weight.zeros = unpacked(tensors.read("qzeros", at::kInt, {-1, -1})).t().to(at::kFloat).contiguous();
    weight.scales = tensors.floats("scales", {-1, found.rows}).t().contiguous();
    weight.symmetric = weight.zeros.eq(1 << (kBits - 1)).all().item<bool>();
    return weight;
  }

  NamedTensors floats(const TensorSource& /*file*/, const std::string& module,
                      const weights::Weight& weight) const override {
    return {{module + ".scales", std::get<AffineWeight>(weight).scales.detach().cpu().t().contiguous()}};
  }

 private:
  AffineSettings settings(const ModuleTensors& tensors, const std::string& module) const {
    const auto found = settings_.of(module);
    if (!found) tensors.refuse("qweight", "the config says that this linear is not quantized");
    if (found->bits != kBits) tensors.refuse("qweight", "{} bits are not supported; 4 are", found->bits);
    return *found;
  }

  AffineOutline layout(const ModuleTensors& tensors, const std::string& module) const {
    const auto set = settings(tensors, module);
    const auto packed = tensors.info("qweight", at::kInt, {-1, -1}).shape;
    AffineOutline outline;
    outline.columns = packed[0];
    outline.rows = packed[1] * kInWord;
    outline.scale_type = tensors.float_type("scales", {-1, outline.rows});
    const auto groups = tensors.info("scales").shape[0];
    outline.group_size = checked_group_size(tensors, "scales", set.group_size, outline.columns, groups);
    tensors.info("qzeros", at::kInt, {groups, packed[1]});
    return outline;
  }

  ModuleSettings settings_;
  SkippedModules skipped_;
};

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char letter) { return std::tolower(letter); });
  return text;
}

// Bits, group size and dtypes, before any data is touched.
void check(const AffineWeight& weight) {
  if (weight.bits != kBits) fail("awq holds 4 bits, and this weight has {}; gptq holds 2, 3, 4 and 8", weight.bits);
  if (weight.order.defined()) fail("awq holds no act-order; gptq and compressed-tensors do");
  if (weight.codes.size(0) % kInWord != 0) {
    fail("awq holds rows in multiples of 8, and this weight has {}", weight.codes.size(0));
  }
  if (weight.scale_type != at::kHalf) {
    fail("awq holds scales in F16, and those of this weight are {}", type_name(weight.scale_type));
  }
}

}  // namespace

std::unique_ptr<QuantizedLinears> awq_linears(ModuleSettings settings, SkippedModules skipped) {
  return std::make_unique<AwqLinears>(std::move(settings), std::move(skipped));
}

std::unique_ptr<QuantizedLinears> open_awq(const Json& json, const std::string& origin,
                                           const ModuleSpellings& spellings, std::vector<std::string>& /*notes*/) {
  const Settings config(json, origin);
  const auto standard = read_affine_settings(config, {}, /*needs_bits=*/true);
  const auto version = lower(config.text({"version", "format"}, "gemm"));
  const auto backend = config.text({"backend"}, "autoawq");
  if (version != "gemm" || backend == "llm-awq") {
    fail(
        "{}: `version` {} of awq is not supported, \"gemm\" is; it is packed for one kernel, save it anew with AutoAWQ",
        config.where(), backend == "llm-awq" ? backend : version);
  }
  if (standard.bits != kBits) fail("{}: `bits` is {}; awq is read with 4", config.where(), standard.bits);
  return awq_linears(ModuleSettings(standard, spellings),
                     SkippedModules(config, {"modules_to_not_convert"}, spellings));
}

Json make_awq_config(std::span<const QuantizedModule> modules, const std::vector<std::string>& floats,
                     const WrittenFamily& family) {
  for (const auto& module : modules) for_module(module.name, [&] { check(written_affine(module, "awq")); });
  const auto shared = shared_settings(modules, "awq");
  for (const auto& [settings, names] : shared.others) {
    if (settings.group_size == shared.standard.group_size) continue;  // symmetric ones store their zero-points as well
    fail("awq holds one group size for all linears, and {} has {} beside {}; gptq and compressed-tensors hold several",
         names.front(), settings.group_size, shared.standard.group_size);
  }
  std::vector<std::string> left;
  for (const auto& name : floats) {
    if (!lies_in_block(name)) continue;  // the head stays float anyway
    for (auto& spelling : family.spellings.of(name)) left.push_back(std::move(spelling));
  }
  for (const auto& part : family.parts_beside) {
    left.push_back(part);             // for vLLM any part of a name is enough,
    left.push_back("model." + part);  // for transformers the beginning
  }
  const auto group_size = shared.standard.group_size;
  return {{"quant_method", "awq"},
          {"bits", kBits},
          {"group_size", group_size > 0 ? group_size : -1},
          {"zero_point", true},
          {"version", "gemm"},
          {"modules_to_not_convert", left.empty() ? Json(nullptr) : Json(left)}};
}

std::vector<TensorToWrite> encode_awq(const Json& /*config*/, const QuantizedModule& module) {
  return for_module(module.name, [&]() -> std::vector<TensorToWrite> {
    const auto& affine = written_affine(module, "awq");
    check(affine);
    const auto later = [&](const char* part, at::ScalarType type, std::vector<std::int64_t> shape, auto make) {
      return TensorToWrite{module.name + "." + part, type, std::move(shape), [name = module.name, affine, make] {
                             return for_module(name, [&] { return make(affine); });
                           }};
    };
    const auto out = affine.codes.size(0), in = affine.codes.size(1), groups = affine.scales.size(1);
    return {later("qweight", at::kInt, {in, out / kInWord}, [](const AffineWeight& w) { return packed(w.codes.t()); }),
            later("qzeros", at::kInt, {groups, out / kInWord},
                  [](const AffineWeight& w) { return packed(whole_zeros(w).t()); }),
            later("scales", at::kHalf, {groups, out},
                  [](const AffineWeight& w) { return stored_float(w.scales.t(), at::kHalf, "a scale"); })};
  });
}

}  // namespace normtweak::formats
