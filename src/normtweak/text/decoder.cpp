#include "normtweak/text/decoder.h"

#include <algorithm>
#include <array>
#include <utility>

#include "normtweak/text/byte_level.h"
#include "normtweak/text/byte_tokens.h"
#include "normtweak/text/growth.h"
#include "normtweak/text/metaspace.h"
#include "normtweak/text/pattern.h"
#include "normtweak/text/utf8.h"

namespace normtweak::text {
namespace {

using Step = Decoder::Step;
using Tokens = std::vector<std::string>;

void check_growth(std::size_t size, std::size_t most) {
  if (size > most) fail("the decoder makes more than {} bytes of tokens; the tokenizer is damaged", most);
}

std::size_t size_of(const Tokens& tokens) {
  std::size_t size = 0;
  for (const auto& token : tokens) size += token.size();
  return size;
}

std::string replace_all(const Regex& pattern, std::string_view by, std::string_view text, std::size_t most) {
  std::vector<Span> matches;
  pattern.find_all(text, matches);
  check_growth(matches.size() * by.size(), most);
  return replaced(text, matches, by);
}

// change(token, place, most) for each, which together get no longer than `most` bytes.
template <class Change>
void change_each(Tokens& tokens, std::size_t most, Change change) {
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    tokens[i] = change(std::move(tokens[i]), i, most);
    check_growth(tokens[i].size(), most);
    most -= tokens[i].size();
  }
}

void join(Tokens& tokens) {
  std::string all;
  for (const auto& token : tokens) all += token;
  tokens.assign(1, std::move(all));
}

// The same change for each token, in a text as alone.
Step of_each(std::function<std::string(std::string, std::size_t most)> change) {
  return {.change =
              [change](Tokens& tokens, std::size_t all) {
                change_each(tokens, all, [&](std::string token, std::size_t /*place*/, std::size_t most) {
                  return change(std::move(token), most);
                });
              },
          .within = change};
}

std::string plain_bytes(std::string token, std::size_t /*most*/) {
  return from_byte_level(token).value_or(std::move(token));
}

Step byte_level(const JsonPart& /*part*/) {
  auto step = of_each(plain_bytes);
  step.change = [each = step.change](Tokens& tokens, std::size_t most) {
    each(tokens, most);
    join(tokens);
  };
  return step;
}

// A run of bytes is text if it is UTF-8 as a whole; else each is a U+FFFD.
void put_bytes(std::string& run, Tokens& tokens) {
  if (run.empty()) return;
  std::string storage;
  if (valid_utf8(run, storage).data() == run.data()) {
    tokens.push_back(std::move(run));
  } else {
    tokens.insert(tokens.end(), run.size(), "\uFFFD");
  }
  run.clear();
}

Step byte_fallback(const JsonPart& /*part*/) {
  return {.change =
              [](Tokens& tokens, std::size_t /*most*/) {
                Tokens result;
                std::string run;
                for (auto& token : tokens) {
                  if (const auto byte = byte_of_token(token)) {
                    run.push_back(static_cast<char>(*byte));
                    continue;
                  }
                  put_bytes(run, result);
                  result.push_back(std::move(token));
                }
                put_bytes(run, result);
                tokens = std::move(result);
              },
          .within =
              [](std::string token, std::size_t /*most*/) {
                const auto byte = byte_of_token(token);
                return byte ? std::string(1, static_cast<char>(*byte)) : token;
              }};
}

Step fuse(const JsonPart& /*part*/) {
  return {.change = [](Tokens& tokens, std::size_t /*most*/) { join(tokens); }};
}

Step replace(const JsonPart& part) {
  return of_each([pattern = read_pattern(part["pattern"]), by = part["content"].text()](
                     std::string_view token, std::size_t most) { return replace_all(pattern, by, token, most); });
}

std::int64_t read_count(const JsonPart& part) {
  const auto count = part.integer();
  if (count < 0) part.fail("{} is not a number of characters", count);
  return count;
}

// Takes off that many characters at either end, if they are `content`.
Step strip(const JsonPart& part) {
  return {.change = [content = read_character(part["content"]), start = read_count(part["start"]),
                     stop = read_count(part["stop"])](Tokens& tokens, std::size_t /*most*/) {
    for (auto& token : tokens) {
      std::string_view rest = token;
      for (std::int64_t i = 0; i < start && rest.starts_with(content); ++i) rest.remove_prefix(content.size());
      for (std::int64_t i = 0; i < stop && rest.ends_with(content); ++i) rest.remove_suffix(content.size());
      token = std::string(rest);
    }
  }};
}

// The first token has no spaces if one was put in front of the text.
Step metaspace(const JsonPart& part) {
  const Metaspace settings(part);
  const auto mark = Regex::literal(settings.replacement);
  const std::string_view first = settings.scheme == PrependScheme::never ? " " : "";
  return {.change =
              [=](Tokens& tokens, std::size_t all) {
                change_each(tokens, all, [&](std::string_view token, std::size_t place, std::size_t most) {
                  return replace_all(mark, place == 0 ? first : " ", token, most);
                });
              },
          .within = [=](std::string_view token, std::size_t most) { return replace_all(mark, " ", token, most); }};
}

// A suffix that ends words becomes a space, but for the last one.
Step bpe(const JsonPart& part) {
  const auto suffix = part["suffix"];
  const auto mark = Regex::literal(suffix.is_null() ? "</w>" : suffix.text());
  return {.change =
              [=](Tokens& tokens, std::size_t all) {
                change_each(tokens, all, [&](std::string_view token, std::size_t place, std::size_t most) {
                  return replace_all(mark, place + 1 < tokens.size() ? " " : "", token, most);
                });
              },
          .within = [=](std::string_view token, std::size_t most) { return replace_all(mark, " ", token, most); }};
}

// Spaces before signs and within contractions go, one after the other as `tokenizers` has them.
std::string cleaned(std::string text) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 11> kChanges = {{{" .", "."},
                                                                                       {" ?", "?"},
                                                                                       {" !", "!"},
                                                                                       {" ,", ","},
                                                                                       {" ' ", "'"},
                                                                                       {" n't", "n't"},
                                                                                       {" 'm", "'m"},
                                                                                       {" do not", " don't"},
                                                                                       {" 's", "'s"},
                                                                                       {" 've", "'ve"},
                                                                                       {" 're", "'re"}}};
  for (const auto& [from, to] : kChanges) {
    std::string changed;
    std::size_t at = 0;
    for (auto found = text.find(from); found != std::string::npos; found = text.find(from, at)) {
      changed.append(text, at, found - at).append(to);
      at = found + from.size();
    }
    text = changed.append(text, at);
  }
  return text;
}

// Tokens are words, or parts of words that begin with a prefix.
Step word_piece(const JsonPart& part) {
  const auto within = [prefix = part["prefix"].text(), cleans = part["cleanup"].flag(true)](std::string token,
                                                                                            std::size_t /*most*/) {
    token = token.starts_with(prefix) ? token.substr(prefix.size()) : fmt::format(" {}", token);
    return cleans ? cleaned(std::move(token)) : token;
  };
  return {.change =
              [within, cleans = part["cleanup"].flag(true)](Tokens& tokens, std::size_t all) {
                change_each(tokens, all, [&](std::string token, std::size_t place, std::size_t most) {
                  if (place > 0) return within(std::move(token), most);
                  return cleans ? cleaned(std::move(token)) : token;
                });
              },
          .within = within};
}

struct Kind {
  std::string_view name;
  Step (*make)(const JsonPart& part);
};

constexpr std::array<Kind, 8> kKinds = {{{"ByteLevel", byte_level},
                                         {"ByteFallback", byte_fallback},
                                         {"Fuse", fuse},
                                         {"Replace", replace},
                                         {"Strip", strip},
                                         {"Metaspace", metaspace},
                                         {"BPEDecoder", bpe},
                                         {"WordPiece", word_piece}}};

}  // namespace

Decoder::Decoder(const JsonPart& part, bool is_byte_level) {
  if (!part.is_null()) {
    add(part);
  } else if (is_byte_level) {
    steps_.push_back(byte_level(part));
  } else {
    between_ = " ";
  }
}

void Decoder::add(const JsonPart& part) {
  const auto& type = part["type"].text();
  if (type == "Sequence") {
    for (const auto& member : part["decoders"].elements()) add(member);
    return;
  }
  const auto* const kind = std::ranges::find(kKinds, type, &Kind::name);
  if (kind == kKinds.end()) {
    std::string names = "Sequence";
    for (const auto& row : kKinds) names += fmt::format(", {}", row.name);
    part.fail("the decoder {} is not supported{}; these are: {}", type,
              type == "CTC" ? ", being for the frames of speech" : "", names);
  }
  steps_.push_back(kind->make(part));
}

std::string Decoder::decode(std::vector<std::string> tokens) const {
  const auto most = Growth().most(size_of(tokens));
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    steps_[i].change(tokens, most);
    check_growth(size_of(tokens), most);
    if (i + 1 == steps_.size()) break;
    // A step looks at text.
    for (auto& token : tokens) {
      std::string storage;
      if (const auto valid = valid_utf8(token, storage); valid.data() != token.data()) token = std::move(storage);
    }
  }
  std::string text;
  for (const auto& token : tokens) text.append(text.empty() ? "" : between_).append(token);
  return text;
}

std::string Decoder::piece(std::string_view token) const {
  std::string text(token);
  const auto most = Growth().most(text.size());
  for (const auto& step : steps_) {
    if (!step.within) continue;
    text = step.within(std::move(text), most);
    check_growth(text.size(), most);
  }
  return text;
}

}  // namespace normtweak::text
