// The hyperparameters of a model as keys `{architecture}.{key}` of a GGUF file: what gguf_checkpoint.cpp reads, from
// the same tables.
#pragma once
#include <fmt/format.h>

#include <string>
#include <string_view>

#include "normtweak/formats/gguf_writer.h"
#include "normtweak/model/checkpoint.h"

namespace normtweak::model {

// Puts keys behind the name of an architecture.
class GgufArchitectureKeys {
 public:
  GgufArchitectureKeys(formats::GgufKeys& keys, std::string_view architecture)
      : keys_(keys), architecture_(architecture) {}

  // A count becomes a u32, a number an F32, as llama.cpp reads them.
  void put(std::string_view key, std::int64_t count);
  void put(std::string_view key, double number) { keys_.put(name(key), static_cast<float>(number)); }
  void put(std::string_view key, bool flag) { keys_.put(name(key), flag); }
  void put(std::string_view key, const char* text) { keys_.put(name(key), text); }
  void put(std::string_view key, const std::vector<bool>& flags) { keys_.put(name(key), flags); }

 private:
  std::string name(std::string_view key) const { return fmt::format("{}.{}", architecture_, key); }

  formats::GgufKeys& keys_;
  std::string architecture_;
};

// Whether llama.cpp has the model's architecture. Throws Error naming the family if not.
void check_has_gguf_architecture(const Checkpoint& checkpoint);

// Adds the keys of the architecture. What no key can say is left out: pipeline/gguf_faithful.h finds that.
void add_hyperparameters(const Checkpoint& checkpoint, formats::GgufKeys& keys);

}  // namespace normtweak::model
