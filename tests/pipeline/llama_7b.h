// SmolLM2-135M, LLaMA-7B and LLaMA-2-70B without their weights, for what is decided from sizes and types alone.
#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "normtweak/base/error.h"
#include "normtweak/model/checkpoint.h"
#include "normtweak/model/families/families.h"

namespace normtweak::tests {

// A checkpoint that knows only the types of its tensors.
class TypesOnly : public formats::TensorSource {
 public:
  explicit TypesOnly(at::ScalarType type) : type_(type) {}
  const std::vector<std::string>& names() const override { return names_; }
  bool contains(const std::string&) const override { return true; }
  formats::TensorInfo info(const std::string&) const override { return {type_, {}}; }
  at::Tensor read(const std::string& name) const override { fail("{}: the plan must not read", name); }
  std::string file_of(const std::string&) const override { return "model"; }

 private:
  at::ScalarType type_;
  std::vector<std::string> names_;
};

inline model::Checkpoint llama(Json config, at::ScalarType stored) {
  model::Checkpoint checkpoint;
  checkpoint.path = "llama";
  checkpoint.family = &model::kLlama;
  checkpoint.config = std::move(config);
  checkpoint.numbers = model::read_config(model::kLlama, checkpoint.config, checkpoint.path);
  checkpoint.tensors = std::make_shared<TypesOnly>(stored);
  return checkpoint;
}

inline model::Checkpoint smollm_135m(at::ScalarType stored = at::kBFloat16) {
  return llama({{"hidden_size", 576},
                {"num_hidden_layers", 30},
                {"num_attention_heads", 9},
                {"num_key_value_heads", 3},
                {"intermediate_size", 1536},
                {"vocab_size", 49152},
                {"max_position_embeddings", 8192},
                {"tie_word_embeddings", true}},
               stored);
}

inline model::Checkpoint llama_7b(at::ScalarType stored = at::kBFloat16) {
  return llama({{"hidden_size", 4096},
                {"num_hidden_layers", 32},
                {"num_attention_heads", 32},
                {"intermediate_size", 11008},
                {"vocab_size", 32000},
                {"max_position_embeddings", 2048}},
               stored);
}

inline model::Checkpoint llama_70b(at::ScalarType stored = at::kBFloat16) {
  return llama({{"hidden_size", 8192},
                {"num_hidden_layers", 80},
                {"num_attention_heads", 64},
                {"num_key_value_heads", 8},
                {"intermediate_size", 28672},
                {"vocab_size", 32000},
                {"max_position_embeddings", 4096}},
               stored);
}

}  // namespace normtweak::tests
