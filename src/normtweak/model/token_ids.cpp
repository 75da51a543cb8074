#include "normtweak/model/token_ids.h"

#include <array>
#include <filesystem>
#include <span>

#include "normtweak/base/error.h"
#include "normtweak/model/config_values.h"

namespace normtweak::model {
namespace {

using Ids = std::vector<std::int64_t>;

constexpr std::array<std::string_view, 1> kEndKeys = {"eos_token_id"};
constexpr std::array<std::string_view, 3> kMarkerKeys = {"eos_token_id", "bos_token_id", "pad_token_id"};
constexpr std::string_view kGenerationConfig = "generation_config.json";

std::int64_t read_id(const Json& value, std::string_view origin, std::string_view key) {
  if (const auto id = whole_number(value)) return *id;
  fail("{}: `{}` holds {}, token ids are needed", origin, key, show(value));
}

// An id, a list of ids, or null.
Ids read_ids(const Json& object, std::string_view key, std::string_view origin) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return {};
  if (!found->is_array()) return {read_id(*found, origin, key)};
  Ids ids;
  for (const auto& value : *found) ids.push_back(read_id(value, origin, key));
  return ids;
}

bool is_token(std::int64_t id, const Checkpoint& checkpoint) { return 0 <= id && id < checkpoint.numbers.vocabulary; }

std::string config_origin(const Checkpoint& checkpoint) {
  return std::filesystem::is_directory(checkpoint.path) ? checkpoint.path + "/config.json" : checkpoint.path;
}

// Calls visit(object, origin) for both files, as far as they are there.
template <class Visit>
void for_each_config(const Checkpoint& checkpoint, const Visit& visit) {
  visit(checkpoint.config, config_origin(checkpoint));
  if (const auto file = checkpoint.side_files.find(std::string(kGenerationConfig));
      file != checkpoint.side_files.end()) {
    const auto origin = fmt::format("{}/{}", checkpoint.path, kGenerationConfig);
    const auto object = parse_json(file->second, origin);
    if (!object.is_object()) fail("{}: a JSON object is needed", origin);
    visit(object, origin);
  }
}

Ids ids_under(std::span<const std::string_view> keys, const Checkpoint& checkpoint) {
  Ids ids;
  for_each_config(checkpoint, [&](const Json& object, const std::string& origin) {
    for (const auto key : keys) {
      for (const auto id : read_ids(object, key, origin)) {
        if (is_token(id, checkpoint)) ids.push_back(id);
      }
    }
  });
  return ids;
}

}  // namespace

Ids end_of_text_ids(const Checkpoint& checkpoint) { return ids_under(kEndKeys, checkpoint); }

Ids marker_ids(const Checkpoint& checkpoint) { return ids_under(kMarkerKeys, checkpoint); }

void check_token_ids(Checkpoint& checkpoint) {
  const auto config_file = config_origin(checkpoint);
  const auto check = [&](const Json& object, const std::string& origin) {
    for (const auto key : kMarkerKeys) {
      for (const auto id : read_ids(object, key, origin)) {
        if (id == -1 || is_token(id, checkpoint)) continue;  // -1 is a usual word for "none"
        checkpoint.notes.push_back(fmt::format("{}: `{}` {} lies outside the vocabulary of {} tokens and is ignored",
                                               origin, key, id, checkpoint.numbers.vocabulary));
        break;
      }
    }
  };
  check(checkpoint.config, config_file);
  try {
    for_each_config(checkpoint, [&](const Json& object, const std::string& origin) {
      if (origin != config_file) check(object, origin);
    });
  } catch (const Error& error) {  // only generation needs that file, and stops there
    checkpoint.notes.emplace_back(error.what());
  }
}

}  // namespace normtweak::model
