#include "normtweak/cli/side_by_side.h"

#include <algorithm>
#include <numeric>

#include "normtweak/base/strings/wording.h"

namespace normtweak::cli {
namespace {

constexpr const char* kMark = "▸";  // before the first token that differs

double mean(const std::vector<double>& values) {
  return values.empty() ? 0 : std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

std::string escaped(std::string_view text) {
  std::string safe;
  for (const char character : text) {
    switch (character) {
      case '&':
        safe += "&amp;";
        break;
      case '<':
        safe += "&lt;";
        break;
      case '>':
        safe += "&gt;";
        break;
      case '"':
        safe += "&quot;";
        break;
      case '\'':
        safe += "&#39;";
        break;
      case '\r':  // readers of HTML take it for the end of a line
        safe += "&#13;";
        break;
      default:
        safe += character;
    }
  }
  return safe;
}

std::string about(const Sample& sample, const std::string& reference) {
  if (!sample.divergences) return "";
  const auto& divergences = *sample.divergences;
  const auto parts = sample.parts_at ? fmt::format("parts from {} at token {}", reference, *sample.parts_at + 1)
                                     : fmt::format("the same as {}", reference);
  if (divergences.empty()) return parts;
  const auto largest = std::ranges::max_element(divergences);
  return fmt::format("{}; KL to it {} a token, at most {} at token {}", parts, figure(mean(divergences)),
                     figure(*largest), largest - divergences.begin() + 1);
}

// A colour as strong as the divergence, full from two nats on.
std::string token_cell(const Sample& sample, std::size_t token) {
  const auto& piece = sample.continuation.pieces[token];
  std::string attributes;
  if (sample.divergences) {
    const double divergence = (*sample.divergences)[token];
    attributes = fmt::format(" title=\"KL {} nats\" style=\"background:rgba(220,60,40,{:.2f})\"", figure(divergence),
                             std::clamp(divergence / 2, 0.0, 1.0) * 0.7);
  }
  if (sample.parts_at == token) attributes += " class=\"parts\"";
  return fmt::format("<span{}>{}</span>", attributes, escaped(piece));
}

std::string sample_cell(const Sample& sample, const std::string& reference) {
  std::string cell = "<td>";
  for (std::size_t token = 0; token < sample.continuation.pieces.size(); ++token) cell += token_cell(sample, token);
  return cell + fmt::format("<p>{}</p></td>\n", escaped(about(sample, reference)));
}

constexpr const char* kStyle =
    "body{font-family:sans-serif;margin:2em}table{border-collapse:collapse;width:100%;table-layout:fixed}"
    "th,td{border:1px solid #ccc;padding:.6em;text-align:left;vertical-align:top;overflow-wrap:anywhere}"
    "td{white-space:pre-wrap}p{white-space:normal;color:#666;font-size:smaller}"
    ".parts{outline:2px solid #06c}.prompt{background:#f4f4f4;font-weight:normal;white-space:pre-wrap}";

}  // namespace

std::optional<std::size_t> first_difference(const std::vector<std::int64_t>& one,
                                            const std::vector<std::int64_t>& other) {
  const auto [at, there] = std::ranges::mismatch(one, other);
  if (at == one.end() && there == other.end()) return std::nullopt;
  return static_cast<std::size_t>(at - one.begin());
}

Json sample_figures(const Sample& sample) {
  Json json = {{"model", sample.model},
               {"prompt", sample.prompt},
               {"text", sample.continuation.text},
               {"pieces", sample.continuation.pieces}};
  if (!sample.divergences) return json;
  json["parts_at"] = sample.parts_at ? Json(*sample.parts_at) : Json();
  json["kld"] = *sample.divergences;
  json["kld_mean"] = mean(*sample.divergences);
  return json;
}

std::string sample_text(const Sample& sample, const std::string& reference) {
  const auto& pieces = sample.continuation.pieces;
  std::string text;
  for (std::size_t token = 0; token < pieces.size(); ++token)
    text += (sample.parts_at == token ? kMark : "") + pieces[token];
  if (sample.parts_at == pieces.size()) text += kMark;
  const auto line = about(sample, reference);
  return fmt::format("{}:\n{}{}\n{}\n", sample.model, sample.prompt, text, line.empty() ? "" : "  (" + line + ")\n");
}

std::string samples_page(const std::vector<Sample>& samples, std::size_t models, const std::string& reference) {
  std::string page = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>Samples</title>\n"
      "<style>{}</style>\n</head>\n<body>\n<table>\n",
      kStyle);
  for (std::size_t begin = 0; begin < samples.size(); begin += models) {
    std::string heads, cells;
    for (std::size_t i = begin; i < begin + models; ++i) {
      heads += fmt::format("<th>{}</th>", escaped(samples[i].model));
      cells += sample_cell(samples[i], reference);
    }
    page += fmt::format("<tr><th colspan=\"{}\" class=\"prompt\">{}</th></tr>\n<tr>{}</tr>\n<tr>\n{}</tr>\n", models,
                        escaped(samples[begin].prompt), heads, cells);
  }
  return page + "</table>\n</body>\n</html>\n";
}

}  // namespace normtweak::cli
