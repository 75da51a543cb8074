// `quantization_config` of config.json for compressed-tensors: how each linear is packed.
//
//     {"quant_method": "compressed-tensors", "format": "pack-quantized", "quantization_status": "compressed",
//      "config_groups": {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "int", ...}}},
//      "ignore": ["lm_head"]}
//
// Written besides, for transformers alone (docs/formats.md, "Who loads it"):
//
//     "dequantize": true              zero-points with one setting for all: loaded without an argument; not where
//                                     inputs are rounded, which transformers would then leave out
//     "config_groups": {"mixed": ...} several settings: a first group that no module matches, in a format that cannot
//     be
//                                     dequantized. With `dequantize` transformers takes the first group's settings for
//                                     every linear, and would go on with wrong weights; so it stops.
//
// Traps: a module that a target and `ignore` both match is not quantized. A target may be a name, "re:..." or a class;
// names take precedence over expressions, and expressions over classes, whatever the order in the file.
#pragma once
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "normtweak/base/json/json.h"
#include "normtweak/formats/compressed_tensors.h"
#include "normtweak/formats/linears/written_family.h"
#include "normtweak/formats/module_pattern.h"

namespace normtweak::formats {

inline constexpr const char* kPackedMethod = "compressed-tensors";
inline constexpr const char* kPackedFormat = "pack-quantized";
inline constexpr const char* kBytesFormat = "int-quantized";
inline constexpr const char* kFloatsFormat = "float-quantized";
inline constexpr const char* kMixedFormat = "mixed-precision";                    // each group has its own
inline constexpr const char* kExtendedPackedFormat = "normtweak-pack-quantized";  // and then no `quant_method`
inline constexpr const char* kNoModuleTarget = "normtweak.no-module";             // of the group that stops readers
inline constexpr const char* kDequantize = "dequantize";                          // key that transformers reads

struct PackedModule {
  std::string name;  // "model.layers.0.mlp.up_proj"
  PackedSettings settings;
  std::int64_t rows = 0, columns = 0;  // of its weight; 0: not known, which matters to packed_readers() alone
};

// The config to write. ignored: the model's other linears, which stay float; a class target would match them, too. If
// all settings are equal the target is the class "Linear", otherwise each group has regular expressions that match
// its modules, with the base prefix or without. If one module needs the extension, or others cannot read this family
// packed, the whole config is marked so that they refuse it and do not go on with random weights.
Json make_packed_config(std::span<const PackedModule> modules, const std::vector<std::string>& ignored,
                        const WrittenFamily& family = {});

// Whether a checkpoint with this `quantization_config` is to be read by decode_packed(), judging by its method and
// format names.
bool is_packed_config(const Json& config);

class PackedConfig {
 public:
  // Throws Error naming `origin` and what was found if the config needs something unsupported: another format, a
  // quantized KV cache, sparsity, transforms.
  PackedConfig(const Json& config, std::string_view origin, const ModuleSpellings& spellings = {});

  // nullopt if the module stays float. class_name: compared with class targets such as "Linear". Throws Error naming
  // the file if a pattern takes too many steps.
  std::optional<PackedSettings> settings_of(const std::string& module, std::string_view class_name = "Linear") const;

  bool is_extension() const { return extension_; }

  // How servers round the inputs of some linears, if it is in a way that this program does not know: their inputs stay
  // float here. Empty: there are none.
  const std::string& unknown_rounding() const { return unknown_rounding_; }

  // What transformers 5 takes for all linears when it dequantizes: the settings of the first group that does not single
  // out experts. nullopt if these cannot be dequantized.
  const std::optional<PackedSettings>& dequantized_with() const { return dequantized_with_; }

 private:
  struct Target {
    ModulePattern pattern;
    PackedSettings settings;
  };

  std::optional<PackedSettings> find_settings(const std::string& module, const std::string& class_name) const;

  std::string where_;  // how messages begin
  ModuleSpellings spellings_;
  bool extension_ = false;
  std::string unknown_rounding_;
  std::optional<PackedSettings> dequantized_with_;
  // Names of modules and classes are looked up: a mixture of experts may name each of its 20,000 linears.
  std::unordered_map<std::string, PackedSettings> named_;
  std::vector<Target> patterns_;  // regular expressions, in the order in which they are tried
  std::unordered_set<std::string> ignored_names_;
  std::vector<ModulePattern> ignored_patterns_;
};

}  // namespace normtweak::formats
