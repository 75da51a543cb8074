#include "normtweak/text/gguf_tokenizer_writer.h"

#include <algorithm>
#include <set>

#include "normtweak/text/gguf_merges.h"
#include "normtweak/text/gguf_pre_tokenizers.h"
#include "normtweak/text/gguf_unigram_writer.h"
#include "normtweak/text/gguf_vocabulary.h"
#include "normtweak/text/json_part.h"
#include "normtweak/text/metaspace.h"

namespace normtweak::text {
namespace {

// Tokens that should be control tokens though their file does not say so: the spellings that llama.cpp's converter
// takes for one.
bool looks_special(std::string_view token) {
  const auto is_between = [&](std::string_view begin, std::string_view end) {
    return token.size() >= begin.size() + end.size() && token.starts_with(begin) && token.ends_with(end);
  };
  return token == "<pad>" || token == "<mask>" || token == "<2mass>" || token == "[@BOS@]" || is_between("<|", "|>") ||
         is_between("<｜", "｜>") || is_between("<unused", ">");
}

bool is_byte(std::string_view token) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  return token.size() == 6 && token.starts_with("<0x") && token.ends_with('>') &&
         kHex.find(token[3]) != std::string_view::npos && kHex.find(token[4]) != std::string_view::npos;
}

// user-defined tokens are matched in the raw text
std::string with_spaces(std::string_view token) {
  std::string text;
  for (auto at = token.find(kMetaspace); at != std::string_view::npos; at = token.find(kMetaspace)) {
    text.append(token.substr(0, at)).push_back(' ');
    token.remove_prefix(at + kMetaspace.size());
  }
  return text.append(token);
}

class Writer {
 public:
  Writer(const LoadedTokenizer& loaded, std::int64_t rows, std::string_view origin)
      : loaded_(loaded),
        makings_(loaded.makings.value()),
        document_(makings_.document, origin),
        origin_(origin),
        rows_(rows) {}

  GgufTokenizer write() {
    const auto model = document_["model"];
    const auto type = model["type"];
    const bool is_unigram = !type.is_null() && type.text() == "Unigram";
    if (!type.is_null() && type.text() != "BPE" && !is_unigram) {
      type.fail("{} cannot be written to GGUF files; byte-level BPE, BPE of SentencePiece's kind and Unigram can",
                type.text());
    }
    for (const auto* const key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      if (const auto part = model[key]; !part.is_null() && !part.text().empty()) part.fail("llama.cpp has none");
    }
    put_vocabulary(is_unigram);
    if (is_unigram) {
      write_t5();
    } else if (model["byte_fallback"].flag(false)) {
      write_llama();
    } else {
      write_gpt2();
    }
    put_roles();
    put_frame();
    return std::move(result_);
  }

 private:
  std::size_t checked_id(std::int64_t id, const std::string& token) const {
    if (id >= 0 && id < rows_) return static_cast<std::size_t>(id);
    fail("{}: token {} has the id {}, and the model's embedding has {} rows", origin_, show(token), id, rows_);
  }

  void put_vocabulary(bool is_unigram) {
    const auto count = static_cast<std::size_t>(rows_);
    result_.types.assign(count, kGgufUnused);
    for (std::size_t id = 0; id < count; ++id) result_.tokens.push_back(fmt::format("[PAD{}]", id));
    if (is_unigram) {
      put_unigram();
    } else {
      for (const auto& [token, id] : document_["model"]["vocab"].members()) put(id.integer(), token, kGgufNormal);
    }
    for (const auto& added : makings_.added) {
      const auto id = loaded_.tokenizer.id_of(added.content);
      if (!id || added.content.empty()) continue;  // the tokenizer has no such token
      const bool is_control = added.special || looks_special(added.content);
      put(*id, is_control ? added.content : with_spaces(added.content), is_control ? kGgufControl : kGgufUserDefined);
    }
  }

  void put(std::int64_t id, const std::string& token, GgufTokenType type) {
    const auto place = checked_id(id, token);
    result_.tokens[place] = token;
    result_.types[place] = type;
  }

  // [["token", score], ...] in the order of the ids.
  void put_unigram() {
    constexpr float kNoScore = -10000;  // as the converter has it
    result_.scores.assign(result_.tokens.size(), kNoScore);
    std::int64_t id = 0;
    std::set<std::string_view> seen;
    for (const auto& row : document_["model"]["vocab"].elements()) {
      const auto parts = row.elements();
      if (parts.size() != 2) row.fail("a token and its score expected");
      const auto& token = parts[0].text();
      if (!seen.insert(token).second) row.fail("the token {} stands there twice, and GGUF has each once", show(token));
      put(id, token, kGgufNormal);
      result_.scores[static_cast<std::size_t>(id++)] = static_cast<float>(parts[1].number());
    }
  }

  void write_t5() {
    result_.model = "t5";
    result_.pre = "default";
    result_.precompiled_charsmap = unigram_charsmap(document_);
    result_.add_space_prefix = result_.remove_extra_whitespaces = true;
    const auto unknown = checked_id(document_["model"]["unk_id"].integer(), "unk_id");
    result_.types[unknown] = kGgufUnknown;
    result_.ids.emplace_back("unknown_token_id", static_cast<std::uint32_t>(unknown));
  }

  void write_gpt2() {
    result_.model = "gpt2";
    result_.pre = gguf_pre_tokenizer_of(document_).name;
    result_.merges = written_merges(document_["model"]["merges"]);
  }

  // Byte tokens and the unknown token have types of their own there.
  void write_llama() {
    result_.model = "llama";
    result_.pre = "default";
    result_.add_space_prefix = has_space_prefix(document_);
    for (std::size_t id = 0; id < result_.tokens.size(); ++id) {
      if (result_.types[id] == kGgufNormal && is_byte(result_.tokens[id])) result_.types[id] = kGgufByte;
    }
    const auto unknown = unknown_token();
    if (const auto id = loaded_.tokenizer.id_of(unknown)) result_.types[checked_id(*id, unknown)] = kGgufUnknown;
    result_.scores = scores_of_merges(document_["model"]["merges"], result_.tokens, result_.types);
  }

  // Its name in the model or, where that has none, by its role; empty: there is none.
  std::string unknown_token() const {
    const auto of_model = document_["model"]["unk_token"];
    if (!of_model.is_null()) return std::string(of_model.text());
    const auto of_role = loaded_.roles.find("unk_token");
    return of_role == loaded_.roles.end() ? std::string() : of_role->second;
  }

  void put_roles() {
    for (const auto& [role, key] : kGgufRoles) {
      const auto found = loaded_.roles.find(std::string(role));
      if (found == loaded_.roles.end() || has_id(key)) continue;
      const auto id = loaded_.tokenizer.id_of(found->second);
      if (id) result_.ids.emplace_back(key, static_cast<std::uint32_t>(checked_id(*id, found->second)));
    }
  }

  bool has_id(std::string_view key) const {
    return std::ranges::find(result_.ids, key, &Row::first) != result_.ids.end();
  }

  // Of the ids around a text, at most BOS before it and EOS after it. One whose role no file names gets it.
  void put_frame() {
    const auto before = loaded_.tokenizer.prefix();
    auto after = loaded_.tokenizer.encode("", true);
    after.erase(after.begin(), after.begin() + static_cast<std::ptrdiff_t>(before.size()));
    result_.add_bos = is_added(before, "bos_token_id");
    result_.add_eos = is_added(after, "eos_token_id");
  }

  bool is_added(const std::vector<std::int64_t>& ids, std::string_view key) {
    if (ids.empty()) return false;
    const auto found = std::ranges::find(result_.ids, key, &Row::first);
    const bool is_free = found == result_.ids.end();
    if (ids.size() > 1 || (!is_free && found->second != ids.front())) {
      fail("{}: texts get {} tokens {} them, and llama.cpp adds BOS and EOS alone", origin_, ids.size(),
           key.starts_with("bos") ? "before" : "behind");
    }
    if (is_free) result_.ids.emplace_back(key, static_cast<std::uint32_t>(ids.front()));
    return true;
  }

  using Row = std::pair<std::string, std::uint32_t>;

  const LoadedTokenizer& loaded_;
  const TokenizerMakings& makings_;
  JsonPart document_;
  std::string origin_;
  std::int64_t rows_;
  GgufTokenizer result_;
};

}  // namespace

GgufTokenizer gguf_tokenizer_of(const LoadedTokenizer& loaded, std::int64_t rows, std::string_view origin) {
  return Writer(loaded, rows, origin).write();
}

}  // namespace normtweak::text
