#include "normtweak/text/tokenizer.h"

#include <algorithm>
#include <array>
#include <limits>

#include "normtweak/base/error.h"
#include "normtweak/text/added_tokens.h"
#include "normtweak/text/decoder.h"
#include "normtweak/text/normalizer.h"
#include "normtweak/text/post_processor.h"
#include "normtweak/text/pre_tokenizer.h"
#include "normtweak/text/utf8.h"
#include "normtweak/text/word_encoder.h"

namespace normtweak::text {
namespace {

// Newer files may ask for what is not known here; the `tokenizers` package refuses them as well.
void check_keys(const JsonPart& document) {
  constexpr std::array<std::string_view, 9> kKnown = {"version",      "truncation",     "padding",
                                                      "added_tokens", "normalizer",     "pre_tokenizer",
                                                      "decoder",      "post_processor", "model"};
  if (!document.is_object()) return;  // reported when the model is read
  for (const auto& [key, value] : document.object().items()) {
    if (std::ranges::find(kKnown, key) == kKnown.end()) document[key].fail("is not known");
  }
  const auto version = document["version"];
  if (!version.is_null() && version.text() != "1.0") version.fail("{} is not supported; 1.0 is", version.text());
}

// The document, checked.
const JsonPart& checked(const JsonPart& document) {
  check_keys(document);
  return document;
}

// The added tokens of a document that stands alone.
std::vector<AddedToken> own_tokens(const Json& document, std::string_view origin) {
  std::vector<AddedToken> tokens;
  if (!document.is_object()) return tokens;  // reported when the model is read
  Json list = {{"added_tokens", document.value("added_tokens", Json())}};
  for (auto& declared : take_added_tokens(list, origin)) tokens.push_back(std::move(declared.token));
  return tokens;
}

}  // namespace

// The parts of tokenizer.json. Its `truncation` and `padding` are ignored, as in transformers.
struct Tokenizer::State {
  State(const JsonPart& document, std::vector<AddedToken> added_tokens, std::string_view file)
      : origin(file),
        vocabulary(check_model(checked(document)["model"])["vocab"]),
        pre_tokenizer(document["pre_tokenizer"], takes_bytes(document["model"])),
        model(make_word_encoder(document["model"], vocabulary, pre_tokenizer.spelling())),
        normalizer(document["normalizer"]),
        added(std::move(added_tokens), vocabulary, normalizer, origin),
        special(read_post_processor(document["post_processor"])),
        decoder(document["decoder"], pre_tokenizer.spelling() == Spelling::bytes) {
    check_special(document["post_processor"]);
  }

  std::int64_t size() const { return std::max(vocabulary.largest_id(), added.largest_id()) + 1; }

  // An id without a token would still be looked up in the model's embedding.
  void check_special(const JsonPart& post_processor) const {
    for (const auto* ids : {&special.before, &special.after}) {
      for (const auto id : *ids) {
        if (id < 0 || id >= size()) post_processor.fail("{} is not the id of a token; there are {}", id, size());
      }
    }
  }

  std::optional<std::string_view> token(std::int64_t id) const {
    if (const auto content = added.content(id)) return content;
    return vocabulary.token(id);
  }

  void check_fit(const std::vector<std::int64_t>& ids, std::string_view name) const {
    for (const auto id : ids) {
      if (id < embedding_rows) continue;
      fail(
          "{}{}token {} has the id {}, and the model's embedding has {} rows for the tokenizer's {} tokens; use the "
          "tokenizer that the model was trained with",
          name, name.empty() ? "" : ": ", token(id).value_or("?"), id, embedding_rows, size());
    }
  }

  std::vector<std::int64_t> encode(std::string_view text, bool add_special_tokens, SpecialSpellings in_text) const {
    std::vector<std::int64_t> ids;
    if (add_special_tokens) ids = special.before;
    std::string storage;
    const auto valid = valid_utf8(text, storage);
    Growth growth;
    for (const auto& piece : added.split(valid, false, in_text)) {
      if (piece.token >= 0) {
        ids.push_back(piece.token);
      } else {
        encode_between_tokens(slice(valid, piece.span), piece.span.begin == 0, in_text, growth, ids);
      }
    }
    if (add_special_tokens) ids.insert(ids.end(), special.after.begin(), special.after.end());
    return ids;
  }

  // is_first: it is the start of the whole text.
  void encode_between_tokens(std::string_view text, bool is_first, SpecialSpellings in_text, Growth& growth,
                             std::vector<std::int64_t>& ids) const {
    std::string storage;
    const auto normal = normalizer.normalize(text, storage, is_first, growth);
    for (const auto& piece : added.split(normal, true, in_text)) {
      if (piece.token >= 0) {
        ids.push_back(piece.token);
        continue;
      }
      const auto words = pre_tokenizer.split(slice(normal, piece.span), is_first && piece.span.begin == 0, growth);
      model->encode(words.views, ids);
    }
  }

  std::string origin;
  std::int64_t embedding_rows = std::numeric_limits<std::int64_t>::max();
  Vocabulary vocabulary;
  PreTokenizer pre_tokenizer;
  std::unique_ptr<const WordEncoder> model;
  Normalizer normalizer;
  AddedTokens added;
  SpecialTokens special;
  Decoder decoder;
};

Tokenizer::Tokenizer(const Json& document, std::string_view origin)
    : Tokenizer(document, own_tokens(document, origin), origin) {}

Tokenizer::Tokenizer(const Json& document, std::vector<AddedToken> added_tokens, std::string_view origin)
    : state_(std::make_shared<State>(JsonPart(document, origin), std::move(added_tokens), origin)) {}

void Tokenizer::limit_ids(std::int64_t embedding_rows) { state_->embedding_rows = embedding_rows; }

void Tokenizer::surround(std::string_view before, std::string_view after) {
  const auto ids = [&](std::string_view token) -> std::vector<std::int64_t> {
    if (token.empty()) return {};
    const auto found = id_of(token);
    if (!found) fail("{}: the token {}, to be put around a text, is not there", state_->origin, token);
    return {*found};
  };
  state_->special = {ids(before), ids(after)};
}

std::vector<std::int64_t> Tokenizer::encode(std::string_view text, bool add_special_tokens, std::string_view name,
                                            SpecialSpellings special) const {
  std::vector<std::int64_t> ids;
  try {
    ids = state_->encode(text, add_special_tokens, special);
  } catch (const Error& error) {
    fail("{}{}{}: {}", state_->origin, name.empty() ? "" : ", on the text ", name, error.what());
  }
  state_->check_fit(ids, name);
  return ids;
}

std::string Tokenizer::decode(const std::vector<std::int64_t>& ids, bool skip_special_tokens) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (const auto id : ids) {
    const auto token = state_->token(id);
    if (token && (!skip_special_tokens || !state_->added.is_special(*token))) tokens.emplace_back(*token);
  }
  return state_->decoder.decode(std::move(tokens));
}

std::string Tokenizer::decode_after(const std::vector<std::int64_t>& before, const std::vector<std::int64_t>& ids,
                                    bool skip_special_tokens) const {
  auto all = before;
  all.insert(all.end(), ids.begin(), ids.end());
  auto whole = decode(all, skip_special_tokens);
  const auto known = decode(before, skip_special_tokens);
  if (whole.starts_with(known)) return whole.substr(known.size());
  return decode(ids, skip_special_tokens);  // `before` ends within a character
}

std::int64_t Tokenizer::size() const { return state_->size(); }

std::optional<std::int64_t> Tokenizer::id_of(std::string_view token) const {
  const auto added = state_->added.id_of(token);
  return added ? added : state_->vocabulary.id_of(token);
}

std::string Tokenizer::bytes_of(std::int64_t id) const {
  const auto token = state_->token(id);
  return token ? state_->decoder.piece(*token) : std::string();
}

bool Tokenizer::is_special(std::int64_t id) const {
  const auto token = state_->token(id);
  return token && state_->added.is_special(*token);
}

std::vector<std::int64_t> Tokenizer::prefix() const {
  state_->check_fit(state_->special.before, state_->origin);
  return state_->special.before;
}

}  // namespace normtweak::text
