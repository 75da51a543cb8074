// The modules that a config leaves float, as lists of transformers and AutoAWQ name them: "lm_head", "self_attn",
// "model.layers.0". A name counts wherever its parts stand among those of a module.
#pragma once
#include <cstddef>
#include <functional>
#include <initializer_list>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/formats/linears/quantized_linears.h"
#include "normtweak/formats/linears/settings.h"
#include "normtweak/formats/module_spellings.h"

namespace normtweak::formats {

class SkippedModules {
 public:
  // The list under the first of these keys that is there. Throws Error if it is no list of names.
  SkippedModules(const Settings& config, std::initializer_list<const char*> keys, const ModuleSpellings& spellings);

  bool contain(const std::string& module) const;

  // Throws Error naming the file and the first tensor of one that is among them: other programs would read its codes as
  // a float weight.
  void refuse(const TensorSource& file, const std::vector<StoredLinear>& linears) const;

 private:
  bool contain_name(std::string_view module) const;

  ModuleSpellings spellings_;
  std::set<std::string, std::less<>> names_;
  std::size_t longest_ = 0;  // of the names, in bytes
};

}  // namespace normtweak::formats
