// The files of a tokenizer's folder, as members of one object.
#include "normtweak/text/tokenizer_folder.h"

#include "contract.h"
#include "normtweak/base/json/json_non_finite.h"
#include "normtweak/text/base64.h"

namespace normtweak::fuzz {
namespace {

void read(std::string_view bytes) {
  const auto all = parse_json(bytes, "memory");
  const auto content = [&](const char* key) -> std::optional<std::string> {
    const bool is_there = all.is_object() && all.contains(key);
    return is_there ? std::optional(dump_json(all.at(key))) : std::nullopt;
  };
  const auto tokenizer = content("tokenizer"), config = content("config"), map = content("special_tokens_map"),
             added = content("added_tokens");
  const auto string = [&](const char* key) -> std::optional<std::string> {
    const bool is_there = all.is_object() && all.contains(key) && all.at(key).is_string();
    return is_there ? std::optional(all.at(key).get<std::string>()) : std::nullopt;
  };
  const auto tokenizer_class = string("tokenizer_class").value_or("");
  const auto file = string("file").value_or(std::string(text::kSentencePieceFile));
  auto model = string("vocabulary");  // of lines that fit in a string of JSON; others in base64
  if (const auto spelled = string("sentencepiece")) model = text::from_base64(*spelled);
  const text::TokenizerFolder folder = {
      .tokenizer = tokenizer ? *tokenizer
                   : model   ? std::string_view()
                             : bytes,
      .vocabulary = model ? std::optional(text::VocabularyFile{file, *model}) : std::nullopt,
      .config = config,
      .special_tokens_map = map,
      .added_tokens = added,
      .model_type = all.is_object() && all.contains("model_type") ? "gpt2" : "llama",
      .tokenizer_class = tokenizer_class,
      .origin = "memory"};
  const auto loaded = text::load_tokenizer(folder).tokenizer;
  loaded.decode(loaded.encode("abc <x><y> <s>the<w> \xe6\x97\xa5", true), true);
}

}  // namespace
}  // namespace normtweak::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return normtweak::fuzz::check(data, size, &normtweak::fuzz::read);
}
