// The keys `{architecture}.{key}` of a GGUF file's metadata, and which of them change the passes.
#pragma once
#include <fmt/format.h>

#include <string>
#include <string_view>

#include "normtweak/formats/gguf.h"
#include "normtweak/model/checkpoint.h"

namespace normtweak::model {

class GgufMetadata {
 public:
  // file: must outlive this.
  GgufMetadata(const formats::GgufFile& file, std::string_view architecture)
      : file_(file), architecture_(architecture) {}

  const std::string& architecture() const { return architecture_; }

  // How messages call the key.
  std::string name(std::string_view key) const { return fmt::format("metadata {}.{}", architecture_, key); }

  bool has_tensor(const std::string& name) const { return file_.contains(name); }

  // The value, or null.
  const Json* find(std::string_view key) const;
  // A number for the whole model; some converters write a list with an entry per block. Throws Error if it is missing,
  // or if blocks differ.
  const Json& get_shared(std::string_view key) const;

 private:
  const formats::GgufFile& file_;
  std::string architecture_;
};

// Throws Error naming metadata that change the passes in a way that is not supported; notes keys that are not known.
void check_metadata(const formats::GgufFile& file, Checkpoint& checkpoint);

}  // namespace normtweak::model
