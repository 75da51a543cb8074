#include "normtweak/text/tokenizer.h"

#include <algorithm>
#include <array>
#include <limits>

#include "normtweak/base/error.h"
#include "normtweak/text/added_tokens.h"
#include "normtweak/text/bpe.h"
#include "normtweak/text/byte_level.h"
#include "normtweak/text/normalizer.h"
#include "normtweak/text/post_processor.h"
#include "normtweak/text/pre_tokenizer.h"
#include "normtweak/text/utf8.h"

namespace normtweak::text {
namespace {

// Decoding always inverts the byte-level alphabet. A file with another decoder is not that of a byte-level model and is
// refused. Without a decoder, the `tokenizers` package would put spaces between tokens, which no model wants.
void check_decoder(const JsonPart& part) {
  if (part.is_null()) return;
  const auto& type = part["type"].text();
  if (type == "Sequence") {
    for (const auto& member : part["decoders"].elements()) check_decoder(member);
  } else if (type != "ByteLevel") {
    part.fail("the decoder {} is not supported; ByteLevel is", type);
  }
}

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

std::string plain_bytes(std::string_view token) { return from_byte_level(token).value_or(std::string(token)); }

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
        vocabulary(Bpe::check(checked(document)["model"])["vocab"]),
        bpe(document["model"], vocabulary),
        normalizer(document["normalizer"]),
        added(std::move(added_tokens), vocabulary, normalizer),
        pre_tokenizer(document["pre_tokenizer"]),
        special(read_post_processor(document["post_processor"])) {
    check_special(document["post_processor"]);
    check_decoder(document["decoder"]);
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
    const auto* own = vocabulary.token(id);
    return own == nullptr ? std::nullopt : std::optional<std::string_view>(*own);
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

  std::vector<std::int64_t> encode(std::string_view text, bool add_special_tokens) const {
    std::vector<std::int64_t> ids;
    if (add_special_tokens) ids = special.before;
    std::string storage;
    const auto valid = valid_utf8(text, storage);
    for (const auto& piece : added.split(valid, false)) {
      if (piece.token >= 0) {
        ids.push_back(piece.token);
      } else {
        encode_between_tokens(slice(valid, piece.span), ids);
      }
    }
    if (add_special_tokens) ids.insert(ids.end(), special.after.begin(), special.after.end());
    return ids;
  }

  void encode_between_tokens(std::string_view text, std::vector<std::int64_t>& ids) const {
    std::string storage;
    const auto normal = normalizer.normalize(text, storage);
    for (const auto& piece : added.split(normal, true)) {
      if (piece.token >= 0) {
        ids.push_back(piece.token);
        continue;
      }
      Words words;
      pre_tokenizer.split(slice(normal, piece.span), words);
      bpe.encode(words.views, ids);
    }
  }

  std::string origin;
  std::int64_t embedding_rows = std::numeric_limits<std::int64_t>::max();
  Vocabulary vocabulary;
  Bpe bpe;
  Normalizer normalizer;
  AddedTokens added;
  PreTokenizer pre_tokenizer;
  SpecialTokens special;
};

Tokenizer::Tokenizer(const Json& document, std::string_view origin)
    : Tokenizer(document, own_tokens(document, origin), origin) {}

Tokenizer::Tokenizer(const Json& document, std::vector<AddedToken> added_tokens, std::string_view origin)
    : state_(std::make_shared<State>(JsonPart(document, origin), std::move(added_tokens), origin)) {}

void Tokenizer::limit_ids(std::int64_t embedding_rows) { state_->embedding_rows = embedding_rows; }

void Tokenizer::surround(std::string_view before, std::string_view after) {
  const auto id = [&](std::string_view token) {
    const auto found = id_of(token);
    if (!found) fail("{}: the tokens around a text, {} and {}, are not both there", state_->origin, before, after);
    return *found;
  };
  state_->special = {{id(before)}, {id(after)}};
}

std::vector<std::int64_t> Tokenizer::encode(std::string_view text, bool add_special_tokens,
                                            std::string_view name) const {
  std::vector<std::int64_t> ids;
  try {
    ids = state_->encode(text, add_special_tokens);
  } catch (const Error& error) {
    fail("{}{}{}: {}", state_->origin, name.empty() ? "" : ", on the text ", name, error.what());
  }
  state_->check_fit(ids, name);
  return ids;
}

std::string Tokenizer::decode(const std::vector<std::int64_t>& ids, bool skip_special_tokens) const {
  std::string text;
  for (const auto id : ids) {
    if (!skip_special_tokens || !is_special(id)) text += bytes_of(id);
  }
  return text;
}

std::int64_t Tokenizer::size() const { return state_->size(); }

std::optional<std::int64_t> Tokenizer::id_of(std::string_view token) const {
  const auto added = state_->added.id_of(token);
  return added ? added : state_->vocabulary.id_of(token);
}

std::string Tokenizer::bytes_of(std::int64_t id) const {
  const auto token = state_->token(id);
  return token ? plain_bytes(*token) : std::string();
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
