// Who opens a checkpoint, as a whole. tests/cli/test_readers.py holds these statements against transformers.
#include "normtweak/formats/readers.h"
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
  EXPECT_EQ(line_of({module("a", {8, 0, false})}),
            "opens in transformers (with compressed-tensors 0.18 or later), vLLM, normtweak");
  EXPECT_EQ(line_of({module("a", {4, 16, true})}),
            "opens in transformers (with compressed-tensors), normtweak; not in vLLM (no kernel for groups of 16)");
  EXPECT_EQ(line_of({module("a", {3, 128, false})}),
            "opens in transformers (with compressed-tensors 0.18 or later), normtweak; not in vLLM (no kernel for 3 "
            "bits)");
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

TEST(Readers, ConfigsOfOthersNeedAnArgument) {
  const std::vector<PackedModule> modules = {module("a", {4, 128, false})};
  auto config = make_packed_config(modules, kNoFloats);
  config.erase(kDequantize);
  const auto line = readers_line(packed_readers(config, modules, kNoFloats));
  EXPECT_NE(line.find("quantization_config=CompressedTensorsConfig(dequantize=True)"), std::string::npos) << line;
}

TEST(Readers, FamiliesThatOthersDoNotPack) {
  const std::vector<PackedModule> modules = {module("a", {4, 128, true})};
  const auto line = readers_line(packed_readers(make_packed_config(modules, kNoFloats, false), modules, kNoFloats));
  EXPECT_EQ(line.find("opens in normtweak; not in transformers (it packs no linears of this family)"), 0U) << line;
}

}  // namespace
}  // namespace normtweak::formats
