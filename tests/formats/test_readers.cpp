// Who opens a checkpoint, as a whole. tests/cli/test_readers.py holds these statements against transformers.
#include "normtweak/formats/linears/compressed_tensors_readers.h"
#include "support.h"

namespace normtweak::formats {
namespace {

const std::vector<std::string> kNoFloats;

std::string line_of(const std::vector<PackedModule>& modules, const std::vector<std::string>& floats = {}) {
  return readers_line(packed_readers(make_packed_config(modules, floats), modules, floats));
}

PackedModule module(const char* name, PackedSettings settings) {
  return {std::string("model.layers.0.") + name, settings};
}

TEST(Readers, OneSetting) {
  EXPECT_EQ(line_of({module("a", {4, 128, true})}), "opens in transformers (with compressed-tensors), vLLM, normtweak");
  EXPECT_EQ(line_of({module("a", {4, 0, false})}),
            "opens in transformers (version 5 with compressed-tensors 0.18 or later), vLLM, normtweak");
  EXPECT_EQ(line_of({module("a", {8, 0, false})}),
            "opens in transformers (version 5 with compressed-tensors 0.18 or later), vLLM (on Hopper GPUs, whose "
            "kernel has zero-points of 8 bits), normtweak");
  EXPECT_EQ(line_of({module("a", {4, 16, true})}),
            "opens in transformers (with compressed-tensors), normtweak; not in vLLM (no kernel for groups of 16)");
  EXPECT_EQ(
      line_of({module("a", {3, 128, false})}),
      "opens in transformers (version 5 with compressed-tensors 0.18 or later), normtweak; not in vLLM (no kernel "
      "for 3 bits)");
}

TEST(Readers, OneLinearDecidesForAll) {
  const auto common = module("a", {4, 128, true});
  EXPECT_NE(line_of({common, module("b", {2, 128, true})}).find("not in vLLM (no kernel for 2 bits)"),
            std::string::npos);
  EXPECT_NE(line_of({common, module("b", {4, 128, false})}).find("not in transformers ("), std::string::npos);
  EXPECT_NE(line_of({common, module("b", {4, 0, false, PackedKind::codebook})}).find("opens in normtweak; not in"),
            std::string::npos);
}

TEST(Readers, VllmFusesLinears) {
  const auto query = module("q_proj", {4, 128, true}), up = module("up_proj", {8, 128, true});
  const std::string differ = "not in vLLM (the parts of its ";
  EXPECT_NE(line_of({query, module("k_proj", {8, 128, true})}).find(differ + "qkv_proj differ"), std::string::npos);
  EXPECT_NE(line_of({up}, {"model.layers.0.gate_proj"}).find(differ + "gate_up_proj differ"), std::string::npos);
  EXPECT_EQ(line_of({query, up, module("gate_proj", {8, 128, true})}).find("not in"), std::string::npos);
}

TEST(Readers, OlderKernelsOfVllmDoNotPad) {
  auto narrow = module("a", {4, 64, true});
  narrow.rows = narrow.columns = 576;
  EXPECT_NE(line_of({narrow}).find("vLLM (a version whose kernels pad: 576 columns are no multiple of 128)"),
            std::string::npos);
  narrow.columns = 1536;
  EXPECT_EQ(line_of({narrow}).find("kernels"), std::string::npos);
}

// transformers dequantizes all linears with the settings of the first group.
TEST(Readers, DequantizingTakesTheFirstGroup) {
  const std::vector<PackedModule> mixed = {module("a", {4, 128, true}), module("b", {8, 128, true})};
  auto config = make_packed_config(mixed, kNoFloats);
  config[kDequantize] = true;
  const std::string closed = "not in transformers (it would take the first group's settings for all linears)";
  EXPECT_NE(readers_line(packed_readers(config, mixed, kNoFloats)).find(closed), std::string::npos);
  config["config_groups"].erase("mixed");
  EXPECT_NE(readers_line(packed_readers(config, mixed, kNoFloats)).find(closed), std::string::npos);
  EXPECT_EQ(readers_line(packed_readers(config, std::span(mixed).first(1), kNoFloats)).find(closed), std::string::npos);
}

TEST(Readers, ConfigsOfOthersNeedAnArgument) {
  const std::vector<PackedModule> modules = {module("a", {4, 128, false})};
  auto config = make_packed_config(modules, kNoFloats);
  config.erase(kDequantize);
  const auto line = readers_line(packed_readers(config, modules, kNoFloats));
  EXPECT_NE(line.find("quantization_config=CompressedTensorsConfig(dequantize=True)"), std::string::npos) << line;
}

TEST(Readers, FamiliesThatOthersDoNotPack) {
  const std::vector<PackedModule> modules = {module("a", {4, 128, true})};
  const auto line = readers_line(
      packed_readers(make_packed_config(modules, kNoFloats, {.others_read_it = false}), modules, kNoFloats));
  EXPECT_EQ(line.find("opens in normtweak; not in transformers (it packs no linears of this family)"), 0U) << line;
}

}  // namespace
}  // namespace normtweak::formats
