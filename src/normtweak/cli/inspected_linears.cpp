#include "normtweak/cli/inspected_linears.h"

#include <ATen/TensorOperators.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "normtweak/model/decoder.h"

namespace normtweak::cli {
namespace {

std::string kind_of(const weights::Weight& weight) {
  const auto kind = weights::describe(weight);
  const auto* affine = std::get_if<weights::AffineWeight>(&weight);
  if (affine == nullptr) {
    return std::holds_alternative<weights::CodebookWeight>(weight)
               ? fmt::format("{} bits, codebook a {}, asymmetric", kind.bits,
                             kind.group_size > 0 ? fmt::format("group of {}", kind.group_size) : "channel")
               : std::string(kind.name);
  }
  return fmt::format("{} bits, {}, {}{}{}", kind.bits,
                     kind.group_size > 0 ? fmt::format("groups of {}", kind.group_size) : "a scale a channel",
                     affine->symmetric ? "symmetric" : "asymmetric", affine->float_zeros ? ", float zero-points" : "",
                     affine->order.defined() ? ", act-order" : "");
}

// A scale of 0 makes a whole group of weights 0: possible, but rarely meant.
std::int64_t zero_scales(const weights::Weight& weight) {
  auto copy = weight;
  std::int64_t count = 0;
  for (const auto& floats : weights::code_floats(copy)) {
    if (floats.name == "scales") count += floats.values->eq(0).sum().item<std::int64_t>();
  }
  return count;
}

class Reading {
 public:
  explicit Reading(const model::Checkpoint& checkpoint) : checkpoint_(checkpoint) {}

  void add(const model::Linear& linear, int block, const std::string& part) {
    const auto stored = stored_name(checkpoint_, linear.name + ".weight");
    const auto info = checkpoint_.tensors->info(stored);
    const auto shape = weights::shape(linear.weight);
    InspectedLinear found = {.name = linear.name,
                             .part = part,
                             .block = block,
                             .kind = is_float_type(info.stored_as) ? "float" : std::string(info.stored_as),
                             .weights = shape[0] * shape[1],
                             .bytes = info.stored_bytes};
    found.bits_per_weight = 8.0 * static_cast<double>(found.bytes) / static_cast<double>(found.weights);
    if (weights::is_quantized(linear.weight)) {
      found.kind = kind_of(linear.weight);
      if (linear.input_quantizer) {
        found.kind += fmt::format("; inputs {}", weights::describe(linear.input_quantizer->settings));
      }
      found.bits_per_weight = weights::bits_per_weight(linear.weight);
      if (const auto zeros = zero_scales(linear.weight); zeros > 0) {
        linears_.doubts.push_back(fmt::format("linear {}: {} of its scales are 0", linear.name, zeros));
      }
      add_doubts(stored);
    }
    linears_.all.push_back(std::move(found));
  }

  InspectedLinears take() { return std::move(linears_); }

 private:
  void add_doubts(const std::string& stored) {
    const auto doubts = checkpoint_.tensors->doubts(stored);
    linears_.doubts.insert(linears_.doubts.end(), doubts.begin(), doubts.end());
  }

  const model::Checkpoint& checkpoint_;
  InspectedLinears linears_;
};

// "0-3, 7"
std::string ranges_text(const std::vector<int>& blocks) {
  std::vector<std::string> texts;
  for (std::size_t first = 0, last = 0; first < blocks.size(); first = last + 1) {
    last = first;
    while (last + 1 < blocks.size() && blocks[last + 1] == blocks[last] + 1) ++last;
    texts.push_back(first == last ? std::to_string(blocks[first]) : fmt::format("{}-{}", blocks[first], blocks[last]));
  }
  return fmt::format("{}", fmt::join(texts, ", "));
}

// The name in its block: "model.layers.3.mlp.up_proj" → "mlp.up_proj"
std::string part_of(const std::string& name, int block) {
  const auto number = fmt::format(".{}.", block);
  const auto found = name.find(number);
  return found == std::string::npos ? name : name.substr(found + number.size());
}

}  // namespace

bool is_float_type(std::string_view stored_as) {
  constexpr std::array<std::string_view, 4> kFloats = {"F64", "F32", "F16", "BF16"};
  return std::ranges::find(kFloats, stored_as) != kFloats.end();
}

double InspectedLinears::bits_per_weight() const {
  double bits = 0, weights = 0;
  for (const auto& linear : all) {
    if (linear.block < 0) continue;
    bits += linear.bits_per_weight * static_cast<double>(linear.weights);
    weights += static_cast<double>(linear.weights);
  }
  return bits / weights;
}

std::map<std::string, std::int64_t> InspectedLinears::kinds() const {
  std::map<std::string, std::int64_t> counts;
  for (const auto& linear : all) ++counts[linear.block < 0 ? linear.kind + ", head" : linear.kind];
  return counts;
}

InspectedLinears read_linears(const model::Checkpoint& checkpoint, ProgressSink& progress) {
  const auto decoder = load_decoder(checkpoint, {.residence = model::Residence::file});
  Reading reading(checkpoint);
  Stage stage(progress, "inspect", decoder.blocks.size(), "blocks");
  for (int i = 0; i < decoder.blocks.size(); ++i) {
    const auto block = decoder.blocks.get(i);
    for (const auto& part : block->linears) reading.add(part.linear, i, part_of(part.linear.name, i));
    stage.advance(1);
  }
  if (weights::is_quantized(decoder.head.weight)) reading.add(decoder.head, -1, decoder.head.name);
  return reading.take();
}

std::string table_text(const InspectedLinears& linears) {
  constexpr std::size_t kMostParts = 32;  // a mixture of experts has thousands
  std::vector<std::string> parts;
  std::map<std::pair<std::string, std::string>, std::vector<int>> blocks;
  std::map<std::string, std::int64_t> bytes;
  for (const auto& linear : linears.all) {
    if (linear.block < 0) continue;
    if (std::ranges::find(parts, linear.part) == parts.end()) parts.push_back(linear.part);
    blocks[{linear.part, linear.kind}].push_back(linear.block);
    bytes[linear.part] += linear.bytes;
  }
  if (parts.size() > kMostParts) return "";
  std::string text;
  for (const auto& part : parts) {
    text += fmt::format("    {:<24} {:>9.2f} MB ", part, static_cast<double>(bytes[part]) / 1e6);
    std::string kinds;
    for (const auto& [key, numbers] : blocks) {
      if (key.first != part) continue;
      kinds += fmt::format("{} {} (blocks {})", kinds.empty() ? "" : ";", key.second, ranges_text(numbers));
    }
    text += kinds + "\n";
  }
  return text;
}

Json layers_json(const InspectedLinears& linears) {
  auto json = Json::array();
  for (const auto& linear : linears.all) {
    json.push_back({{"name", linear.name},
                    {"block", linear.block < 0 ? Json(nullptr) : Json(linear.block)},
                    {"kind", linear.kind},
                    {"weights", linear.weights},
                    {"bytes", linear.bytes},
                    {"bits_per_weight", linear.bits_per_weight}});
  }
  return json;
}

}  // namespace normtweak::cli
