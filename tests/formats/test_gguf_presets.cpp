// The types of tensors are those that llama.cpp's quantizer gives: tests/oracles/gguf_presets.py asked it.
#include <cstdlib>
#include <map>
#include <sstream>

#include "normtweak/base/json/json.h"
#include "normtweak/formats/gguf_presets.h"
#include "support.h"

namespace normtweak::formats {
namespace {

struct Case {
  std::string name;
  GgufModelFacts model;
  std::vector<GgufTensorShape> tensors;
  Json types;  // preset → part → "Q6_K*2 Q4_K*7"
};

// Tensors of blk.0 stand for those of every layer.
std::vector<GgufTensorShape> every_layer(const Json& tensors, std::int64_t layers) {
  constexpr std::string_view kFirst = "blk.0.";
  std::vector<GgufTensorShape> all;
  for (const auto& entry : tensors) {
    const auto name = entry[0].get<std::string>();
    const auto shape = entry[1].get<std::vector<std::int64_t>>();
    if (!name.starts_with(kFirst)) {
      all.push_back({name, shape});
      continue;
    }
    for (std::int64_t layer = 0; layer < layers; ++layer) {
      all.push_back({fmt::format("blk.{}.{}", layer, name.substr(kFirst.size())), shape});
    }
  }
  return all;
}

std::vector<Case> cases() {
  std::vector<Case> all;
  const auto kept = read_json(std::getenv("NORMTWEAK_GGUF_PRESETS"));
  for (const auto& entry : kept.at("cases")) {
    const auto& model = entry.at("model");
    const auto layers = model.at("layers").get<std::int64_t>();
    all.push_back({entry.at("name"),
                   {.architecture = model.at("architecture"),
                    .layers = layers,
                    .heads = model.at("heads"),
                    .key_value_heads = model.at("key_value_heads"),
                    .experts = model.at("experts")},
                   every_layer(entry.at("tensors"), layers),
                   entry.at("types")});
  }
  return all;
}

std::string part_of(const std::string& name) {
  if (!name.starts_with("blk.")) return name;
  return name.substr(name.find('.', 4) + 1);
}

// Part → the types of the layers in their order.
std::map<std::string, std::vector<std::string>> chosen(const GgufPreset& preset, const Case& row) {
  std::map<std::string, std::vector<std::string>> parts;
  const auto types = preset_types(preset, row.model, row.tensors);
  for (std::size_t i = 0; i < types.size(); ++i) {
    parts[part_of(row.tensors[i].name)].emplace_back(types[i]->name);
  }
  return parts;
}

std::vector<std::string> from_runs(const std::string& runs) {
  std::vector<std::string> types;
  std::istringstream words(runs);
  for (std::string word; words >> word;) {
    const auto star = word.find('*');
    types.insert(types.end(), std::stoul(word.substr(star + 1)), word.substr(0, star));
  }
  return types;
}

TEST(GgufPresets, GiveTheTypesOfLlamaCpp) {
  if (std::getenv("NORMTWEAK_GGUF_PRESETS") == nullptr) GTEST_SKIP() << "run ctest";
  const auto all = cases();
  ASSERT_GE(all.size(), 20U);
  for (const auto& row : all) {
    ASSERT_EQ(row.types.size(), gguf_presets().size());
    for (const auto& preset : gguf_presets()) {
      SCOPED_TRACE(fmt::format("{}: {}", row.name, preset.name));
      const auto found = chosen(preset, row);
      const auto& expected = row.types.at(std::string(preset.name));
      EXPECT_EQ(found.size(), expected.size());
      for (const auto& [part, runs] : expected.items()) {
        EXPECT_EQ(found.at(part), from_runs(runs.get<std::string>())) << part;
      }
    }
  }
}

// In whatever order a file lists its tensors: blk.10 comes after blk.9 there and here.
TEST(GgufPresets, DoNotDependOnTheOrderOfTensors) {
  if (std::getenv("NORMTWEAK_GGUF_PRESETS") == nullptr) GTEST_SKIP() << "run ctest";
  for (auto row : cases()) {
    const auto types = preset_types(find_gguf_preset("Q4_K_M"), row.model, row.tensors);
    std::map<std::string, const GgmlType*> by_name;
    for (std::size_t i = 0; i < types.size(); ++i) by_name[row.tensors[i].name] = types[i];
    std::ranges::reverse(row.tensors);
    const auto again = preset_types(find_gguf_preset("Q4_K_M"), row.model, row.tensors);
    for (std::size_t i = 0; i < again.size(); ++i) EXPECT_EQ(again[i], by_name.at(row.tensors[i].name));
  }
}

TEST(GgufPresets, AreFoundByName) {
  for (const auto& preset : gguf_presets()) EXPECT_EQ(&find_gguf_preset(preset.name), &preset);
  const auto message = error_of([] { find_gguf_preset("Q4_K"); });
  EXPECT_NE(message.find("Q4_K: no preset for GGUF files; known are F32, F16"), std::string::npos) << message;
}

}  // namespace
}  // namespace normtweak::formats
