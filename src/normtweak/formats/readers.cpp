#include "normtweak/formats/readers.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace normtweak::formats {

std::vector<Reader> float_readers() {
  return {{"transformers", true, ""}, {"vLLM", true, ""}, {"normtweak", true, ""}};
}

std::vector<Reader> gguf_readers() {
  return {
      {"llama.cpp", true, ""}, {"transformers", true, "dequantized, with the gguf package"}, {"normtweak", true, ""}};
}

std::string reader_text(const Reader& reader) {
  return reader.note.empty() ? std::string(reader.program) : fmt::format("{} ({})", reader.program, reader.note);
}

Json readers_json(const std::vector<Reader>& readers) {
  auto json = Json::array();
  for (const auto& [program, opens, note] : readers) {
    json.push_back({{"program", program}, {"opens", opens}, {"note", note}});
  }
  return json;
}

std::string readers_line(const std::vector<Reader>& readers) {
  std::vector<std::string> open, closed;
  for (const auto& reader : readers) (reader.opens ? open : closed).push_back(reader_text(reader));
  auto line = fmt::format("opens in {}", fmt::join(open, ", "));
  if (!closed.empty()) line += fmt::format("; not in {}", fmt::join(closed, ", "));
  return line;
}

}  // namespace normtweak::formats
