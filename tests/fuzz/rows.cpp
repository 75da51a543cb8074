// Texts to evaluate on: as they are, with one row a line, as pages, and as lines of JSON: LAMBADA's, and questions of
// each format.
#include "contract.h"
#include "normtweak/base/error.h"
#include "normtweak/evaluate/choice_formats.h"
#include "normtweak/evaluate/documents.h"
#include "normtweak/evaluate/lambada.h"
#include "normtweak/text/corpus.h"
#include "sources.h"

namespace normtweak::fuzz {
namespace {

constexpr std::int64_t kContext = 16;

const text::Tokenizer& tokenizer() {
  static const text::Tokenizer instance(parse_json(R"({
      "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "\u0120": 3, "?": 4}, "merges": ["a b"],
                "unk_token": "?"},
      "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}})",
                                                   "a tokenizer"),
                                        "a tokenizer");
  return instance;
}

void read_questions(const std::filesystem::path& path, const evaluate::ChoiceFormat& format) {
  evaluate::for_json_rows(path, 0, [&](const evaluate::JsonRow& row) {
    const auto question = format.read(row);
    require(question.right < question.answers.size(), "the right answer is one of them");
  });
}

void read_texts(const std::filesystem::path& path) {
  tokenizer().encode(text::read_rows(path).text, false);
  const auto whole = text::read_text(path).text;
  tokenizer().encode(whole, false);
  for (const auto& page : evaluate::pages(whole)) {
    const auto ids = tokenizer().encode(evaluate::detokenized(page), false);
    for (const auto& window : evaluate::rolling_windows(ids, 0, kContext)) {
      require(std::ssize(window.ids) <= kContext + 1, "a window fits the context");
    }
    require(evaluate::count_words(page) > 0, "a page has words");
  }
}

void read_last_words(const std::filesystem::path& path) {
  for (const auto& example : evaluate::read_lambada(path, tokenizer(), kContext, 0)) {
    require(example.predicted > 0 && std::ssize(example.ids) <= kContext + 1, "an example fits the context");
    require(example.predicted < std::ssize(example.ids), "something stands before the last word");
  }
}

// An input is read in one way, which its size chooses.
void read(std::string_view bytes) {
  const MemoryFile file(bytes);
  const auto formats = evaluate::choice_formats();
  const auto way = bytes.size() % (formats.size() + 2);
  if (way < formats.size()) return read_questions(file.path(), formats[way]);
  if (way == formats.size()) return read_texts(file.path());
  read_last_words(file.path());
}

}  // namespace
}  // namespace normtweak::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return normtweak::fuzz::check(data, size, &normtweak::fuzz::read);
}
