#include "normtweak/model/gguf_tokenizer_keys.h"

#include "normtweak/text/gguf_tokenizer_writer.h"
#include "normtweak/text/gguf_vocabulary.h"

namespace normtweak::model {
namespace {

constexpr std::string_view kPrefix = "tokenizer.ggml.";

std::string key(std::string_view name) { return fmt::format("{}{}", kPrefix, name); }

bool has_tokenizer(const Checkpoint& checkpoint) {
  return checkpoint.tokenizer != nullptr || !checkpoint.tokenizer_problem.empty() ||
         !checkpoint.tokenizer_refusal.empty();
}

Json side_json(const Checkpoint& checkpoint, const char* name) {
  const auto found = checkpoint.side_files.find(name);
  return found == checkpoint.side_files.end() ? Json() : parse_json(found->second, checkpoint.path + "/" + name);
}

// One text, or a list of {"name", "template"}.
Json chat_template(const Checkpoint& checkpoint) {
  const auto config = side_json(checkpoint, "tokenizer_config.json");
  if (config.is_object() && config.contains("chat_template")) return config.at("chat_template");
  if (const auto file = checkpoint.side_files.find("chat_template.jinja"); file != checkpoint.side_files.end()) {
    return file->second;
  }
  const auto file = side_json(checkpoint, "chat_template.json");
  return file.is_object() ? file.value("chat_template", Json()) : Json();
}

void add_chat_templates(const Json& templates, formats::GgufKeys& keys) {
  constexpr std::string_view kKey = "tokenizer.chat_template";
  if (templates.is_string()) return keys.put(kKey, templates.get<std::string>());
  if (!templates.is_array()) return;
  std::vector<std::string> names;
  for (const auto& entry : templates) {
    if (!entry.is_object() || !entry.contains("name") || !entry.contains("template")) continue;
    const auto name = entry.at("name").get<std::string>(), text = entry.at("template").get<std::string>();
    if (name == "default") {
      keys.put(kKey, text);
    } else {
      names.push_back(name);
      keys.put(fmt::format("{}.{}", kKey, name), text);
    }
  }
  if (!names.empty()) keys.put("tokenizer.chat_templates", names);
}

// What config.json says of tokens whose role no file of the tokenizer names.
void add_ids_of_config(const Checkpoint& checkpoint, formats::GgufKeys& keys) {
  for (const auto& [role, name] : text::kGgufRoles) {
    const auto found = checkpoint.config.find(fmt::format("{}_id", role));
    const bool is_id = found != checkpoint.config.end() && found->is_number_unsigned() &&
                       found->get<std::int64_t>() < checkpoint.numbers.vocabulary;
    if (is_id && !keys.contains(key(name))) keys.put(key(name), found->get<std::uint32_t>());
  }
}

}  // namespace

void add_tokenizer_keys(const Checkpoint& checkpoint, formats::GgufKeys& keys) {
  if (!has_tokenizer(checkpoint)) {
    keys.put(key("model"), "none");
    return;
  }
  const auto loaded = load_tokenizer_with_makings(checkpoint);
  const auto tokenizer = text::gguf_tokenizer_of(loaded, checkpoint.numbers.vocabulary, checkpoint.path);
  keys.put(key("model"), tokenizer.model);
  keys.put(key("pre"), tokenizer.pre);
  keys.put(key("tokens"), tokenizer.tokens);
  if (!tokenizer.scores.empty()) keys.put(key("scores"), tokenizer.scores);
  keys.put(key("token_type"), tokenizer.types);
  if (tokenizer.model == "gpt2") keys.put(key("merges"), tokenizer.merges);
  for (const auto& [name, id] : tokenizer.ids) keys.put(key(name), id);
  add_ids_of_config(checkpoint, keys);
  keys.put(key("add_bos_token"), tokenizer.add_bos);
  keys.put(key("add_eos_token"), tokenizer.add_eos);
  if (tokenizer.add_space_prefix) keys.put(key("add_space_prefix"), *tokenizer.add_space_prefix);
  if (tokenizer.remove_extra_whitespaces) {
    keys.put(key("remove_extra_whitespaces"), *tokenizer.remove_extra_whitespaces);
  }
  if (!tokenizer.precompiled_charsmap.empty()) keys.put(key("precompiled_charsmap"), tokenizer.precompiled_charsmap);
  add_chat_templates(chat_template(checkpoint), keys);
}

}  // namespace normtweak::model
