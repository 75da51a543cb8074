// Writes what check_written.py then loads with the Python packages: files of plain tensors, and a small Llama with its
// linears packed in several ways, each beside the same model with those weights dequantized.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>

#include <fstream>

#include "normtweak/base/json/json.h"
#include "normtweak/formats/compressed_tensors_config.h"
#include "normtweak/formats/safetensors.h"
#include "support.h"

namespace normtweak::formats {
namespace {

const at::ScalarType kTypes[] = {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kLong,
                                 at::kInt,    at::kShort, at::kChar, at::kByte,     at::kBool};

TEST(WritePlainForPython, AllTypes) {
  const auto folder = oracle_folder("");
  REQUIRE_ORACLE(folder);
  NamedTensors tensors;
  for (const auto type : kTypes) {
    tensors.emplace_back(c10::toString(type), at::arange(15, at::kFloat).to(type).view({3, 5}).t());
  }
  write_safetensors(folder / "written/types.safetensors", to_write(tensors), {{"note", "ß"}});
  write_sharded_safetensors(folder / "written/sharded", to_write(tensors), kModelMetadata, 100);
}

// Round to nearest, the plainest there is: what is tested is the storing.
weights::AffineWeight quantize(const at::Tensor& weight, const PackedSettings& settings, at::ScalarType scale_type) {
  const auto out = weight.size(0), in = weight.size(1);
  const auto columns = settings.group_size > 0 ? settings.group_size : in;
  const double levels = (1 << settings.bits) - 1;
  const auto grouped = weight.view({out, in / columns, columns});
  const auto low = grouped.amin(-1), high = grouped.amax(-1);
  weights::AffineWeight result;
  result.bits = settings.bits;
  result.group_size = settings.group_size;
  result.symmetric = settings.symmetric;
  result.scale_type = scale_type;
  result.float_zeros = settings.kind == PackedKind::float_zero_points;
  result.scales = ((high - low) / levels).to(scale_type).to(at::kFloat);
  result.zeros = (-low / result.scales).round().clamp(0, levels);
  if (settings.symmetric) result.zeros.fill_(1 << (settings.bits - 1));
  if (result.float_zeros) result.zeros = result.zeros + 0.5;
  const auto codes = (grouped / result.scales.unsqueeze(-1)).round() + result.zeros.unsqueeze(-1);
  result.codes = codes.clamp(0, levels).to(at::kByte).view({out, in});
  return result;
}

bool is_packed_linear(const std::string& name) { return name.find("_proj.weight") != std::string::npos; }

struct Model {
  const char* name;
  PackedSettings settings, down_settings;  // the latter for down_proj
  at::ScalarType scale_type;
};

const Model kModels[] = {
    {"bits4_symmetric", {4, 32, true}, {4, 32, true}, at::kFloat},
    {"bits4_asymmetric", {4, 16, false}, {4, 16, false}, at::kHalf},
    {"bits8_channel", {8, 0, false}, {8, 0, false}, at::kFloat},
    {"bits2_asymmetric", {2, 8, false}, {2, 8, false}, at::kFloat},
    {"bits3_asymmetric", {3, 16, false}, {3, 16, false}, at::kFloat},
    {"bits6_asymmetric", {6, 0, false}, {6, 0, false}, at::kFloat},
    {"bits3_and_6", {3, 16, true}, {6, 0, true}, at::kFloat},
    {"bits2_and_8", {2, 8, true}, {8, 32, true}, at::kFloat},
    {"bits5_and_7", {5, 32, true}, {7, 32, true}, at::kFloat},
    {"extension", {4, 32, false, PackedKind::float_zero_points}, {4, 32, true}, at::kFloat},
};

class WriteForPython : public testing::TestWithParam<Model> {};

TEST_P(WriteForPython, PackedLlama) {
  const auto original = oracle_folder("compressed_tensors") / "llama";
  REQUIRE_ORACLE(original);
  const auto& model = GetParam();
  const SafetensorsFile file(original / "model.safetensors");
  NamedTensors packed, dequantized;
  std::vector<PackedModule> modules;
  for (const auto& name : file.names()) {
    if (!is_packed_linear(name)) {
      packed.emplace_back(name, file.read(name));
      dequantized.emplace_back(name, file.read(name));
      continue;
    }
    const auto module = name.substr(0, name.size() - std::string_view(".weight").size());
    const bool down = name.find("down_proj") != std::string::npos;
    const auto weight = quantize(file.read(name), down ? model.down_settings : model.settings, model.scale_type);
    for (auto& tensor : made(encode_packed(module, weight))) packed.push_back(std::move(tensor));
    dequantized.emplace_back(name, weights::dequantize(weight));
    modules.push_back({module, packed_settings(weight)});
  }
  const auto folder = oracle_folder("written") / model.name;
  write_sharded_safetensors(folder / "packed", to_write(packed), kModelMetadata, 50'000);
  write_sharded_safetensors(folder / "dequantized", to_write(dequantized));
  auto config = read_json(original / "config.json");
  std::ofstream(folder / "dequantized/config.json") << config;
  config["quantization_config"] = make_packed_config(modules, {"lm_head"});
  std::ofstream(folder / "packed/config.json") << config;
}

INSTANTIATE_TEST_SUITE_P(CompressedTensors, WriteForPython, testing::ValuesIn(kModels), by_name);

}  // namespace
}  // namespace normtweak::formats
