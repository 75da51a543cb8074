// JSON is read as Python's json reads it: the same documents, with the same values. tests/oracles/base_json.py lists
// them.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdlib>

#include "normtweak/base/error.h"
#include "normtweak/base/files/file.h"
#include "normtweak/base/json/json.h"
#include "normtweak/base/json/json_non_finite.h"

namespace normtweak {
namespace {
namespace fs = std::filesystem;

std::string hexadecimal(std::string_view text) {
  std::string digits;
  for (const char letter : text) digits += fmt::format("{:02x}", static_cast<unsigned char>(letter));
  return digits;
}

void add_events(const Json& value, std::vector<std::string>& events) {
  if (value.is_structured()) events.emplace_back(value.is_object() ? "{" : "[");
  if (value.is_object()) {
    for (const auto& [key, part] : value.items()) {
      events.push_back("key " + hexadecimal(key));
      add_events(part, events);
    }
  }
  if (value.is_array()) {
    for (const auto& part : value) add_events(part, events);
  }
  if (value.is_structured()) events.emplace_back(value.is_object() ? "}" : "]");
  if (value.is_string()) events.push_back("text " + hexadecimal(value.get<std::string>()));
  if (value.is_null() || value.is_boolean()) events.push_back(value.dump());
  if (value.is_number_integer()) events.push_back("integer " + value.dump());
  if (value.is_number_float()) {
    const auto number = value.get<double>();
    events.push_back(std::isnan(number) ? "double nan"
                                        : fmt::format("double {:016x}", std::bit_cast<std::uint64_t>(number)));
  }
}

std::string events_of(const Json& value) {
  std::vector<std::string> events;
  add_events(value, events);
  std::string lines;
  for (const auto& event : events) lines += (lines.empty() ? "" : "\n") + event;
  return lines;
}

std::string events_in(const fs::path& path) {
  try {
    return events_of(read_json(path));
  } catch (const Error&) {
    return "refused";
  }
}

TEST(JsonAsPython, TheSameDocumentsWithTheSameValues) {
  const char* folder = std::getenv("NORMTWEAK_BASE_ORACLE");
  if (folder == nullptr || !fs::exists(folder))
    GTEST_SKIP() << "no oracle output: run ctest, with requirements-test.txt";
  int documents = 0;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() != ".json") continue;
    SCOPED_TRACE(entry.path().stem());
    auto expected = entry.path();
    EXPECT_EQ(events_in(entry.path()), read_file(expected.replace_extension(".expected")));
    ++documents;
  }
  EXPECT_GT(documents, 60);
}

// As json.dumps() writes them. A null stays a null.
TEST(JsonAsPython, WritesWhatItReads) {
  for (const auto* text : {R"([NaN,null,Infinity,"null",-Infinity,{"NaN":null,"x":-Infinity}])", "NaN",
                           R"({"a":[null]})", R"(["\"null",NaN,"\\",null])"}) {
    EXPECT_EQ(dump_json(parse_json(text, "text")), text);
    EXPECT_EQ(show(parse_json(text, "text")), text);
  }
}

// A mistake behind such a number is where it is in the file.
TEST(JsonAsPython, PlacesOfMistakesStay) {
  const auto place_in = [](const std::string& text) {
    try {
      parse_json(text, "text");
    } catch (const Error& error) {
      const std::string message = error.what();
      const auto begin = message.find("line ");
      return message.substr(begin, message.find(':', begin) - begin);
    }
    return std::string();
  };
  EXPECT_EQ(place_in("[NaN, -Infinity, 1E400,\n Infinity x]"), place_in("[1.0, -1000.000, 1.000,\n 1.000000 x]"));
}

TEST(JsonAsPython, ManyKeysAndValuesTakeLinearTime) {
  std::string text = "{";
  for (int i = 0; i < 300'000; ++i) text += fmt::format("\"{}\":{},", i % 200'000, i % 3 == 0 ? "NaN" : "1");
  const auto document = parse_json(text + "\"end\":0}", "text");  // minutes if each key were looked for in the list
  EXPECT_EQ(document.size(), 200'001U);
}

TEST(JsonAsPython, MoreValuesThanMemoryShouldHoldAreRefused) {
  std::string text = "[";
  for (std::size_t i = 0; i < kMostJsonValues; ++i) text += "0,";
  try {
    parse_json(text + "0]", "text");
    ADD_FAILURE() << "was read";
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()), "text: holds more than 3000000 values; is it the right file?");
  }
}

}  // namespace
}  // namespace normtweak
