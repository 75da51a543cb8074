// The names by which a config may call one module: in a multimodal model the tensors of the language model have other
// names in many files than its modules have in transformers.
#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace normtweak::formats {

class ModuleSpellings {
 public:
  // Each module has the name that the file has.
  ModuleSpellings() = default;

  // own: what stands before the names within the language model in the file, such as "language_model.model.".
  // prefixes: what may stand there instead, `own` among them. heads: the names of its head. All outlive this.
  ModuleSpellings(std::string_view own, std::span<const std::string_view> prefixes,
                  std::span<const std::string_view> heads)
      : own_(own), prefixes_(prefixes), heads_(heads) {}

  // module: as the file has it. First that name, then its others.
  std::vector<std::string> of(std::string_view module) const;

  std::span<const std::string_view> prefixes() const { return prefixes_; }

 private:
  std::string_view own_;
  std::span<const std::string_view> prefixes_, heads_;
};

}  // namespace normtweak::formats
