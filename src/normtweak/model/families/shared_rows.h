// Rows that several families share. They are functions, since tables of other files may be built before those of one.
#pragma once
#include <vector>

#include "normtweak/model/family.h"

namespace normtweak::model {

// `facts` with LLaMA's names of embedding, norm, head and blocks, and with its norms and linears in a block, for what
// they leave empty.
Family like_llama(Family facts);

std::vector<NormRow> llama_norms();                          // before attention and before the MLP
std::vector<NormRow> sandwich_norms();                       // before and after each, as in Gemma 2
std::vector<NormRow> with_head_norms(std::vector<NormRow>);  // and of queries and keys
std::vector<LinearRow> llama_attention();                    // query, key, value and output
std::vector<LinearRow> llama_mlp();                          // gate, up and down
std::vector<LinearRow> joined(std::vector<LinearRow> first, const std::vector<LinearRow>& second);

// WindowFacts::applies of Qwen: the last layers, if windows are used at all.
bool has_window_as_qwen(const ConfigValues& values, const ModelConfig& config, std::int64_t layer);

// The factors of Gemma 2 and 3: of the embedding √hidden, of the scores 1 / √query_pre_attn_scalar.
void set_gemma_factors(const ConfigValues& values, ModelConfig& config);
constexpr std::string_view kGemmaScalar = "query_pre_attn_scalar";

}  // namespace normtweak::model
