// Perplexity of a text cut into windows, by the protocols gptq and llama.cpp, and with a reference the KL divergence
// from it and how often both models have the same likeliest next token.
#pragma once
#include <memory>

#include "normtweak/evaluate/task.h"

namespace normtweak::evaluate {

// Figures: perplexity; kld and top1_agreement of the model, with a reference. Where the protocol has documents, this is
// document_perplexity_task(). Throws Error naming the file if it cannot be read or is too short.
std::unique_ptr<Task> perplexity_task(const TaskOrder& order, const TaskInput& input, ProgressSink& progress);

// "perplexity/gptq": figures name their protocol.
std::string perplexity_name(const TextFile& text);

}  // namespace normtweak::evaluate
