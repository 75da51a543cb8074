// Which settings a config gives to a module: as the `compressed_tensors` package decides it.
#include "normtweak/formats/compressed_tensors_config.h"
#include "support.h"

namespace normtweak::formats {
namespace {

TEST(PackedConfig, DecidesAsThePackageDoes) {
  const auto folder = oracle_folder("compressed_tensors");
  REQUIRE_ORACLE(folder);
  for (const auto& row : read_json(folder / "configs.json")) {
    SCOPED_TRACE(row["name"]);
    EXPECT_TRUE(is_packed_config(row["config"]));
    const PackedConfig config(row["config"], "config.json");
    EXPECT_FALSE(config.is_extension());
    for (const auto& [module, expected] : row["expected"].items()) {
      std::optional<PackedSettings> wanted;
      if (!expected.is_null()) wanted = PackedSettings{expected[0], expected[1], expected[2]};
      EXPECT_EQ(config.settings_of(module), wanted) << module;
    }
  }
}

std::vector<PackedModule> modules(PackedSettings first, PackedSettings second) {
  return {{"model.layers.0.a", first}, {"model.layers.0.b", second}, {"model.layers.1.a", first}};
}

TEST(PackedConfig, EqualSettingsAreOneClass) {
  const PackedSettings settings = {4, 128, true};
  const auto config = make_packed_config(modules(settings, settings), {"lm_head"});
  EXPECT_EQ(config["quant_method"], "compressed-tensors");
  EXPECT_EQ(config["config_groups"].size(), 1U);
  EXPECT_EQ(config["config_groups"]["group_0"]["targets"], Json({"Linear"}));
  const PackedConfig read(config, "memory");
  EXPECT_EQ(read.settings_of("model.layers.7.c"), settings);
  EXPECT_EQ(read.settings_of("lm_head"), std::nullopt);
  EXPECT_EQ(read.settings_of("model.embed_tokens", "Embedding"), std::nullopt);
}

TEST(PackedConfig, DifferentSettingsAreNamed) {
  const PackedSettings first = {4, 128, true}, second = {8, 0, false};
  const auto config = make_packed_config(modules(first, second), {"lm_head"});
  EXPECT_EQ(config["config_groups"]["group_0"]["targets"], Json({"re:model[.]layers[.](0|1)[.]a$"}));
  EXPECT_EQ(config["config_groups"].begin().key(), "mixed");  // what stops a reader that takes the first for all
  const PackedConfig read(config, "memory");
  EXPECT_EQ(read.settings_of("model.layers.1.a"), first);
  EXPECT_EQ(read.settings_of("model.layers.0.b"), second);
  EXPECT_EQ(read.settings_of("model.layers.1.b"), std::nullopt);
}

// transformers' AutoModel opens the base model alone, whose names lack the prefix.
TEST(PackedConfig, TargetsAndIgnoredNamesMatchInTheBaseModelToo) {
  const PackedSettings first = {4, 128, true}, second = {8, 0, true};
  const auto config = make_packed_config(modules(first, second), {"model.layers.1.b", "lm_head"}, {"model."});
  EXPECT_EQ(config["ignore"], Json({"lm_head", "re:(model[.])?layers[.](1)[.]b$"}));
  const PackedConfig read(config, "memory");
  for (const std::string prefix : {"", "model."}) {
    EXPECT_EQ(read.settings_of(prefix + "layers.0.a"), first);
    EXPECT_EQ(read.settings_of(prefix + "layers.1.a"), first);
    EXPECT_EQ(read.settings_of(prefix + "layers.0.b"), second);
    EXPECT_EQ(read.settings_of(prefix + "layers.1.b"), std::nullopt);
    EXPECT_EQ(read.settings_of(prefix + "layers.10.a"), std::nullopt);
  }
}

TEST(PackedConfig, ExtensionIsMarked) {
  const PackedSettings first = {4, 64, false, PackedKind::float_zero_points},
                       second = {3, 0, false, PackedKind::codebook};
  const auto config = make_packed_config(modules(first, second), {});
  EXPECT_FALSE(config.contains("quant_method"));
  EXPECT_TRUE(is_packed_config(config));
  const PackedConfig read(config, "memory");
  EXPECT_TRUE(read.is_extension());
  EXPECT_EQ(read.settings_of("model.layers.1.a"), first);
  EXPECT_EQ(read.settings_of("model.layers.0.b"), second);
}

TEST(PackedConfig, OthersAreNotOurs) {
  EXPECT_FALSE(is_packed_config(Json::parse(R"({"quant_method": "gptq", "bits": 4})")));
  EXPECT_FALSE(is_packed_config(Json::parse("[]")));
  EXPECT_FALSE(is_packed_config(nullptr));
}

struct Refusal {
  const char *name, *patch, *message;  // the patch is merged into a sound config; null removes a key
};

const Refusal kRefusals[] = {
    {"Method", R"({"quant_method": "awq"})", "not of compressed-tensors"},
    {"Float", R"({"format": "float-quantized"})", "weights of type int in format float-quantized"},
    {"Marlin", R"({"format": "marlin-24"})", R"(format "marlin-24" is not supported)"},
    {"FormatNumber", R"({"format": 4})", "format 4 is not supported"},
    {"NoFormat", R"({"format": null})", "format null is not supported"},
    {"GroupFormat", R"({"config_groups": {"group_0": {"format": "nvfp4-pack-quantized"}}})", "group_0: format"},
    {"Status", R"({"quantization_status": "calibration"})", "quantization_status \"calibration\""},
    {"Cache", R"({"kv_cache_scheme": {"num_bits": 8}})", "`kv_cache_scheme` is not supported"},
    {"Transform", R"({"transform_config": {"a": 1}})", "`transform_config` is not supported"},
    {"Sparse", R"({"sparsity_config": {"format": "sparse-24-bitmask"}})", "`sparsity_config` is not supported"},
    {"Activations", R"({"config_groups": {"group_0": {"output_activations": {"num_bits": 8}}}})",
     "`output_activations` is not supported"},
    {"Preset", R"({"config_groups": {"group_0": ["Linear"]}})", "preset GROUP_0 is not supported"},
    {"Preset4Bit", R"({"config_groups": {"group_0": null, "NVFP4": ["Linear"]}})", "preset NVFP4 is not supported"},
    {"GroupText", R"({"config_groups": {"group_0": "Linear"}})", "a group's settings expected"},
    {"NoGroups", R"({"config_groups": null})", "`config_groups` must be an object"},
    {"NoWeights", R"({"config_groups": {"group_0": {"weights": null}}})", "`weights` must be an object"},
    {"FloatType", R"({"config_groups": {"group_0": {"weights": {"type": "float"}}}})", "weights of type \"float\""},
    {"Codebook", R"({"config_groups": {"group_0": {"weights": {"type": "codebook"}}}})",
     "weights of type \"codebook\""},
    {"ZeroPointType", R"({"config_groups": {"group_0": {"weights": {"zero_point_type": "float"}}}})",
     "zero_point_type"},
    {"Bits", R"({"config_groups": {"group_0": {"weights": {"num_bits": 16}}}})", "num_bits 16 is not supported"},
    {"BitsHuge", R"({"config_groups": {"group_0": {"weights": {"num_bits": 18446744073709551615}}}})",
     "num_bits 184467"},
    {"BitsText", R"({"config_groups": {"group_0": {"weights": {"num_bits": "4"}}}})", "num_bits \"4\""},
    {"Tensor", R"({"config_groups": {"group_0": {"weights": {"strategy": "tensor", "group_size": null}}}})",
     "strategy \"tensor\" with group size null"},
    {"Block", R"({"config_groups": {"group_0": {"weights": {"strategy": "block"}}}})", "strategy \"block\""},
    {"GroupZero", R"({"config_groups": {"group_0": {"weights": {"group_size": 0}}}})", "with group size 0"},
    {"GroupSizeText", R"({"config_groups": {"group_0": {"weights": {"group_size": "all"}}}})",
     "with group size \"all\""},
    {"ChannelWithSize", R"({"config_groups": {"group_0": {"weights": {"strategy": "channel"}}}})", "\"channel\" with"},
    {"Dynamic", R"({"config_groups": {"group_0": {"weights": {"dynamic": true}}}})", "dynamic weights"},
    {"Order", R"({"config_groups": {"group_0": {"weights": {"actorder": "rows"}}}})", "actorder \"rows\""},
    {"Symmetric", R"({"config_groups": {"group_0": {"weights": {"symmetric": "yes"}}}})", "`symmetric` is \"yes\""},
    {"Targets", R"({"config_groups": {"group_0": {"targets": "Linear"}}})", "expected a list of names"},
    {"TargetNumber", R"({"config_groups": {"group_0": {"targets": [1]}}})", "found 1 in it"},
    {"Expression", R"({"config_groups": {"group_0": {"targets": ["re:("]}}})", "`re:(` is no regular expression"},
    {"Ignore", R"({"ignore": "lm_head"})", "expected a list of names"},
};

class RefusedConfigs : public testing::TestWithParam<Refusal> {};

TEST_P(RefusedConfigs, SayWhatWasFound) {
  const PackedSettings settings = {4, 128, true};
  auto config = make_packed_config(modules(settings, settings), {"lm_head"});
  config.merge_patch(Json::parse(GetParam().patch));
  const auto message = error_of([&] { PackedConfig(config, "memory"); });
  EXPECT_NE(message.find(GetParam().message), std::string::npos) << message;
}

INSTANTIATE_TEST_SUITE_P(CompressedTensors, RefusedConfigs, testing::ValuesIn(kRefusals), by_name);

// What llm-compressor writes besides, all of it without effect on how weights are stored.
TEST(PackedConfig, HarmlessKeysAreAccepted) {
  const PackedSettings settings = {4, 128, true};
  auto config = make_packed_config(modules(settings, settings), {"lm_head"});
  config.merge_patch(Json::parse(R"({
      "quantization_status": "frozen", "sparsity_config": {}, "transform_config": {}, "version": "0.9.4",
      "config_groups": {"group_0": {"format": "pack-quantized", "weights": {
          "actorder": "weight", "block_structure": null, "observer": "minmax", "observer_kwargs": {}}}}})"));
  EXPECT_EQ(PackedConfig(config, "memory").settings_of("x"), settings);
}

// As a mixture of experts has them: 20,000 linears, each named in its group, and as many that stay float. Comparing
// each pair of names would take minutes where this takes a moment.
TEST(PackedConfig, ManyExpertsAreNamed) {
  constexpr int kLinears = 40'000;
  const auto name = [](int i) { return fmt::format("model.layers.{}.mlp.experts.{}.up_proj", i / 1000, i % 1000); };
  std::vector<PackedModule> packed;
  std::vector<std::string> ignored;
  for (int i = 0; i < kLinears; ++i) {
    if (i % 2 == 0) packed.push_back({name(i), {i % 4 == 0 ? 4 : 8, 128, true}});
    if (i % 2 == 1) ignored.push_back(name(i));
  }
  const PackedConfig config(make_packed_config(packed, ignored), "memory");
  for (int i = 0; i < kLinears; ++i) {
    const auto found = config.settings_of(name(i));
    ASSERT_EQ(found ? found->bits : 0, i % 2 == 1 ? 0 : i % 4 == 0 ? 4 : 8);
  }
}

TEST(ModulePattern, EndlessExpressionIsStopped) {
  const ModulePattern pattern(R"(re:(a+)+(a+)+\d$)");
  const auto message = error_of([&] { pattern.matches(std::string(200, 'a') + "c"); });
  EXPECT_NE(message.find("cannot be matched"), std::string::npos) << message;
}

}  // namespace
}  // namespace normtweak::formats
