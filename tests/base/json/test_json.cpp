// JSON: what is wrong is said in one line that names the file.
#include "normtweak/base/error.h"
#include "normtweak/base/json/json.h"
#include "support/temporary_folder.h"

namespace normtweak {
namespace {
using tests::message_of;

class JsonTest : public tests::TemporaryFolder {};

TEST_F(JsonTest, KeepsTheOrderOfKeys) {
  const std::string text = R"({"z":1,"a":[true,null],"m":{"y":"\u00e9","b":-2.5}})";
  EXPECT_EQ(parse_json(text, "text").dump(-1, ' ', true), text);
}

TEST_F(JsonTest, ReadsAFile) {
  write(folder() / "config.json", "{\"hidden_size\": 576}\n");
  EXPECT_EQ(read_json(folder() / "config.json").at("hidden_size"), 576);
}

TEST_F(JsonTest, AMistakeIsOneLineNamingTheFileAndThePlace) {
  const auto path = folder() / "config.json";
  for (const auto* text :
       {" ", "{", "{\"a\": 1,\n \"b\" 2}", "[1, 2\n\n", "nul", "{\"a\": \"line\nbreak\"}", "\"\xff\"", "1 2"}) {
    write(path, text);
    const auto message = message_of<Error>([&] { read_json(path); });
    EXPECT_EQ(message.rfind(path.string() + ": not valid JSON: ", 0), 0U) << message;
    EXPECT_NE(message.find("line "), std::string::npos) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
}

// Much reads JSON by recursion: as it stands here, but also to print it or to copy it.
TEST_F(JsonTest, DeepNestingIsRefused) {
  const auto nested = [](std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_EQ(parse_json(nested(60), "text").dump(), nested(60));
  const auto message = message_of<Error>([&] { parse_json(nested(200'000), "text"); });
  EXPECT_EQ(message, "text: not valid JSON: arrays and objects are nested deeper than 100");
}

TEST_F(JsonTest, TextFromElsewhereIsNamedByItsOrigin) {
  const auto message = message_of<Error>([] { parse_json("{]", "header of model.safetensors"); });
  EXPECT_EQ(message.rfind("header of model.safetensors: not valid JSON: ", 0), 0U) << message;
}

TEST_F(JsonTest, WhatIsNoJsonAtAllIsNamed) {
  const auto message_about = [](std::string_view text) {
    return message_of<Error>([&] { parse_json(text, "config.json"); });
  };
  EXPECT_EQ(message_about(""), "config.json: is empty; the download is probably incomplete");
  EXPECT_EQ(message_about("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
            "config.json: is a git-lfs pointer, not the file itself; fetch it with `git lfs pull` or `hf download`");
  EXPECT_NE(message_about("\n<!DOCTYPE html>").find("is an HTML page"), std::string::npos);
  EXPECT_NE(message_about("\xef\xbb\xbf{}").find("byte order mark"), std::string::npos);
  EXPECT_NE(message_about(std::string_view("{}\0", 3)).find("byte 2 is zero"), std::string::npos);
}

TEST_F(JsonTest, AnAbsentFileIsNotAMistakeInJson) {
  const auto path = folder() / "config.json";
  EXPECT_EQ(message_of<Error>([&] { read_json(path); }), path.string() + ": cannot be read: No such file or directory");
}

}  // namespace
}  // namespace normtweak
