#include "normtweak/evaluate/figure.h"

#include <algorithm>
#include <cmath>

namespace normtweak::evaluate {

Figure perplexity_figure(const FigureSource& source, std::string metric, std::string_view model,
                         const Statistic& negative_log_likelihood) {
  auto figure = mean_figure(source, std::move(metric), model, negative_log_likelihood);
  figure.value = std::exp(figure.value);
  figure.error *= figure.value;
  return figure;
}

const Figure* find_figure(const std::vector<Figure>& figures, std::string_view metric, std::string_view model) {
  const auto found = std::ranges::find_if(
      figures, [&](const Figure& figure) { return figure.metric == metric && figure.model == model; });
  return found == figures.end() ? nullptr : &*found;
}

}  // namespace normtweak::evaluate
