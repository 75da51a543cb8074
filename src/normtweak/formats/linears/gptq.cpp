#include "normtweak/formats/linears/gptq.h"

#include <ATen/TensorOperators.h>

#include <algorithm>
#include <array>

#include "normtweak/formats/bit_packing.h"
#include "normtweak/formats/linears/module_tensors.h"

namespace normtweak::formats {
namespace {

constexpr std::array<std::string_view, 4> kParts = {"qweight", "qzeros", "scales", "g_idx"};

class GptqLinears : public QuantizedLinears {
 public:
  explicit GptqLinears(GptqVariant variant) : variant_(std::move(variant)) {}

  std::string_view name() const override { return "GPTQ"; }

  std::vector<StoredLinear> find(const TensorSource& file) const override {
    auto found = linears_with(file, kParts);
    for (const auto& linear : found) settings(ModuleTensors(file, linear.module), linear.module);
    return found;
  }

  weights::Weight outline(const TensorSource& file, const std::string& module) const override {
    const ModuleTensors tensors(file, module);
    return affine_outline(layout(tensors, module));
  }

  weights::Weight read(const TensorSource& file, const std::string& module) const override {
    const ModuleTensors tensors(file, module);
    const auto found = layout(tensors, module);
    auto weight = affine_outline(found);
    weight.stores_zeros = true;
    const auto packed = tensors.read("qweight", at::kInt, {-1, found.rows}).t().contiguous();
    weight.codes = unpack_rows(packed, found.bits, found.columns);
    weight.zeros = zeros(tensors, found);
    weight.scales = tensors.floats("scales", {groups(found), found.rows}).t().contiguous();
    weight.order = order(tensors, found);
    if (weight.order.defined()) weight.codes = weight.codes.index_select(1, weight.order);
    weight.symmetric = found.symmetric && weight.zeros.eq(1 << (found.bits - 1)).all().item<bool>();
    return weight;
  }

  NamedTensors floats(const TensorSource& /*file*/, const std::string& module,
                      const weights::Weight& weight) const override {
    return {{module + ".scales", std::get<weights::AffineWeight>(weight).scales.detach().cpu().t().contiguous()}};
  }

  std::vector<std::string> doubts(const TensorSource& file, const std::string& module) const override {
    const ModuleTensors tensors(file, module);
    const auto found = layout(tensors, module);
    std::vector<std::string> lines;
    const auto stored = stored_zeros(tensors, found);
    const int middle = (1 << (found.bits - 1)) - (variant_.subtracts_one ? 1 : 0);
    if (found.symmetric && !stored.eq(middle).all().item<bool>()) {
      lines.push_back(
          fmt::format("{}: the config says symmetric, but its zero-points are not all in the middle; some "
                      "kernels do not read them",
                      described(file, tensors.name("qzeros"))));
    }
    if (variant_.subtracts_one && stored.eq((1 << found.bits) - 1).any().item<bool>()) {
      lines.push_back(fmt::format("{}: a stored zero-point of {} means {} to some programs and 0 to others; read as 0",
                                  described(file, tensors.name("qzeros")), (1 << found.bits) - 1, 1 << found.bits));
    }
    return lines;
  }

 private:
  AffineSettings settings(const ModuleTensors& tensors, const std::string& module) const {
    const auto found = variant_.settings.of(module);
    if (!found) tensors.refuse("qweight", "the config says that this linear is not quantized");
    return *found;
  }

  static std::int64_t groups(const AffineOutline& outline) {
    return outline.group_size > 0 ? outline.columns / outline.group_size : 1;
  }

  AffineOutline layout(const ModuleTensors& tensors, const std::string& module) const {
    const auto set = settings(tensors, module);
    const auto packed = tensors.info("qweight", at::kInt, {-1, -1}).shape;
    AffineOutline outline;
    outline.bits = set.bits;
    outline.symmetric = set.symmetric;
    outline.rows = packed[1];
    outline.columns = columns(tensors, packed[0], set.bits);
    outline.scale_type = tensors.float_type("scales", {-1, outline.rows});
    outline.group_size =
        checked_group_size(tensors, "scales", set.group_size, outline.columns, tensors.info("scales").shape[0]);
    tensors.info("qzeros", at::kInt, {groups(outline), packed_columns(outline.rows, outline.bits)});
    outline.ordered = order(tensors, outline).defined();
    return outline;
  }

  // Where the words do not tell, since columns are no multiple of 32, g_idx does.
  static std::int64_t columns(const ModuleTensors& tensors, std::int64_t words, int bits) {
    const auto most = words * 32 / bits;
    const auto found = tensors.has("g_idx") ? tensors.info("g_idx", at::kInt, {-1}).shape[0] : most;
    if (found > 0 && packed_columns(found, bits) == words) return found;
    tensors.refuse("qweight", "{} words a column, which are no {} codes of {} bits", words, found, bits);
  }

  static at::Tensor order(const ModuleTensors& tensors, const AffineOutline& outline) {
    return tensors.has("g_idx") ? order_of_groups(tensors, "g_idx", outline) : at::Tensor();
  }

  // As they stand in the file: u8 [groups, out].
  static at::Tensor stored_zeros(const ModuleTensors& tensors, const AffineOutline& outline) {
    const auto packed = tensors.read("qzeros", at::kInt, {groups(outline), -1}).contiguous();
    return unpack_rows(packed, outline.bits, outline.rows);
  }

  at::Tensor zeros(const ModuleTensors& tensors, const AffineOutline& outline) const {
    auto stored = stored_zeros(tensors, outline);
    if (variant_.subtracts_one) stored = (stored + 1).bitwise_and_((1 << outline.bits) - 1);
    return stored.t().to(at::kFloat).contiguous();
  }

  GptqVariant variant_;
};

// Patterns of "dynamic": with "-:" a module stays float, with "+:" or nothing it has other settings.
void add_overrides(const Settings& config, const AffineSettings& standard, ModuleSettings& settings) {
  const auto& dynamic = config.get("dynamic");
  if (dynamic.is_null() || dynamic == false) return;
  if (!dynamic.is_object()) fail("{}: `dynamic` is {}; an object expected", config.where(), show(dynamic));
  for (const auto& [pattern, entry] : dynamic.items()) {
    const auto where = fmt::format("{}: dynamic {}", config.where(), pattern);
    const bool is_named = pattern.starts_with("-:") || pattern.starts_with("+:");
    const auto target = fmt::format("re:{}", is_named ? pattern.substr(2) : pattern);
    if (pattern.starts_with("-:")) {
      settings.add(target, std::nullopt, where);
    } else {
      settings.add(target, read_affine_settings(Settings(entry, where), standard, false), where);
    }
  }
}

bool is_version_2(const Settings& config) {
  const auto format = config.text({"checkpoint_format", "format"}, "gptq");
  if (format == "gptq") return false;
  if (format == "gptq_v2") return true;
  fail(
      "{}: `checkpoint_format` {} is not supported, \"gptq\" and \"gptq_v2\" are; it is packed for one kernel, convert "
      "it with the program that made it",
      config.where(), format);
}

void refuse_layouts(const Settings& config, const AffineSettings& standard) {
  if (config.flag({"is_marlin_format"}, false)) {
    fail("{}: `is_marlin_format`: packed for one kernel; give the checkpoint before it was repacked", config.where());
  }
  const auto words = config.text({"pack_dtype"}, "int32");
  if (words != "int32") fail("{}: `pack_dtype` {} is not supported; int32 is", config.where(), words);
  if (standard.bits >= 5 && standard.bits <= 7) {
    fail("{}: {} bits are packed in planes by this format, which is not supported; 2, 3, 4 and 8 bits are",
         config.where(), standard.bits);
  }
}

}  // namespace

std::unique_ptr<QuantizedLinears> gptq_linears(GptqVariant variant) {
  return std::make_unique<GptqLinears>(std::move(variant));
}

std::unique_ptr<QuantizedLinears> open_gptq(const Json& json, const std::string& origin,
                                            const ModuleSpellings& spellings, std::vector<std::string>& /*notes*/) {
  const Settings config(json, origin);
  const auto standard = read_affine_settings(config, {}, /*needs_bits=*/true);
  refuse_layouts(config, standard);
  ModuleSettings settings(standard, spellings);
  add_overrides(config, standard, settings);
  return gptq_linears({.settings = std::move(settings), .subtracts_one = !is_version_2(config)});
}

}  // namespace normtweak::formats
