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
  const bool has_model = all.is_object() && all.contains("sentencepiece") && all.at("sentencepiece").is_string();
  const auto model =
      has_model ? text::from_base64(all.at("sentencepiece").get<std::string>()) : std::optional<std::string>();
  const text::TokenizerFolder folder = {.tokenizer = tokenizer ? *tokenizer
                                                     : model   ? std::string_view()
                                                               : bytes,
                                        .sentencepiece = model,
                                        .config = config,
                                        .special_tokens_map = map,
                                        .added_tokens = added,
                                        .model_type = all.is_object() && all.contains("model_type") ? "gpt2" : "llama",
                                        .tokenizer_class = "",
                                        .origin = "memory"};
  const auto loaded = text::load_tokenizer(folder).tokenizer;
  loaded.decode(loaded.encode("abc <x><y> <s>the<w> \xe6\x97\xa5", true), true);
}

}  // namespace
}  // namespace normtweak::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return normtweak::fuzz::check(data, size, &normtweak::fuzz::read);
}
