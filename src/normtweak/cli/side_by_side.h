// What several models write after the same prompts, shown side by side.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "normtweak/base/json/json.h"
#include "normtweak/model/continuation.h"

namespace normtweak::cli {

struct Sample {
  std::string model, prompt;
  model::Continuation continuation;
  // Beside a reference that wrote something after the same prompt; its own sample has neither.
  std::optional<std::vector<double>> divergences;  // KL(reference || model) in nats, before each token
  std::optional<std::size_t> parts_at;             // the first token that differs; nullopt: none does
};

// The first place where one has a token that the other has not.
std::optional<std::size_t> first_difference(const std::vector<std::int64_t>& one,
                                            const std::vector<std::int64_t>& other);

// {model, prompt, text, pieces}, and beside a reference {parts_at (null: nowhere), kld: one for each piece, kld_mean}.
Json sample_figures(const Sample& sample);

// With a mark where the sample parts from the reference's.
std::string sample_text(const Sample& sample, const std::string& reference);

// A page of its own, without a script: a row for each prompt, a column for each model, a colour for the divergence of
// each token. samples: for each prompt in turn, those of so many models.
std::string samples_page(const std::vector<Sample>& samples, std::size_t models, const std::string& reference);

}  // namespace normtweak::cli
