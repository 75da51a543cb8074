// What tasks yield: one figure is one number, with what it was measured on and how sure it is.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/evaluate/statistic.h"

namespace normtweak::evaluate {

inline constexpr std::string_view kModel = "model", kReference = "reference";

struct Figure {
  std::string task;    // "lambada_openai", "perplexity/gptq"
  std::string text;    // the name of its file
  std::string metric;  // "acc", "word_perplexity", "block 3 mse"
  std::string model;   // kModel or kReference
  double value = 0;
  double error = 0;        // one standard error; 0 if there is none
  std::int64_t count = 0;  // of what it is a mean over: examples, tokens, words, bytes, channels
};

// What a task was run on, filled into each of its figures.
struct FigureSource {
  std::string task, text;
};

inline Figure mean_figure(const FigureSource& source, std::string metric, std::string_view model,
                          const Statistic& statistic) {
  return {source.task,        source.text,      std::move(metric),
          std::string(model), statistic.mean(), statistic.standard_error(),
          statistic.count};
}

// exp of the mean of a negative log likelihood in nats; its error to first order.
Figure perplexity_figure(const FigureSource& source, std::string metric, std::string_view model,
                         const Statistic& negative_log_likelihood);

// The figure with this metric of this model; null if there is none.
const Figure* find_figure(const std::vector<Figure>& figures, std::string_view metric, std::string_view model);

}  // namespace normtweak::evaluate
