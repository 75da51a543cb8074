#include "normtweak/base/json/json.h"

#include <algorithm>
#include <unordered_map>
#include <utility>
#include <vector>

#include "normtweak/base/error.h"
#include "normtweak/base/files/file.h"
#include "normtweak/base/json/json_events.h"
#include "normtweak/base/json/json_non_finite.h"
#include "normtweak/base/strings/library_messages.h"
#include "normtweak/base/strings/one_line.h"

namespace normtweak {
namespace {

// An object or array whose end has not come yet, or the document, which holds one value.
struct Unclosed {
  bool is_object = false;
  std::vector<std::string> keys;  // of an object
  std::vector<Json> values;
};

// For each key, the place of the first that is equal to it. An ordered object is a list; to look up each new key in it
// would take half a minute for a vocabulary.
std::vector<std::size_t> first_places(const std::vector<std::string>& keys) {
  constexpr std::size_t kFew = 16;
  std::vector<std::size_t> places(keys.size());
  std::unordered_map<std::string_view, std::size_t> place_of;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    places[i] = keys.size() <= kFew ? static_cast<std::size_t>(std::ranges::find(keys, keys[i]) - keys.begin())
                                    : place_of.try_emplace(keys[i], i).first->second;
  }
  return places;
}

Json::object_t as_object(std::vector<std::string>& keys, std::vector<Json>& values) {
  const auto places = first_places(keys);
  std::size_t count = 0;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (places[i] != i) values[places[i]] = std::move(values[i]);
    count += places[i] == i ? 1 : 0;
  }
  Json::object_t object;
  std::vector<Json::object_t::value_type>& rows = object;
  rows.reserve(count);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (places[i] == i) rows.emplace_back(std::move(keys[i]), std::move(values[i]));
  }
  return object;
}

// Collects the parts of what is open, and makes each object or array of its final size when it ends.
class TreeBuilder : public JsonReceiver {
 public:
  explicit TreeBuilder(std::string_view origin) : origin_(origin), unclosed_(1) {}

  Json take() { return std::move(unclosed_.front().values.front()); }

  void key(std::string name) override { innermost().keys.push_back(std::move(name)); }

  void value(Json scalar) override {
    count_value();
    innermost().values.push_back(std::move(scalar));
  }

  void open(bool is_object) override {
    count_value();
    if (++depth_ == unclosed_.size()) unclosed_.emplace_back();
    innermost().is_object = is_object;
  }

  void close() override {
    auto& ended = innermost();
    auto& values = ended.values;
    Json whole = ended.is_object
                     ? Json(as_object(ended.keys, values))
                     : Json(Json::array_t(std::move_iterator(values.begin()), std::move_iterator(values.end())));
    ended.keys.clear();  // the room stays, for the next at this depth
    values.clear();
    --depth_;
    innermost().values.push_back(std::move(whole));
  }

 private:
  Unclosed& innermost() { return unclosed_[depth_]; }

  void count_value() {
    if (++count_ > kMostJsonValues)
      fail("{}: holds more than {} values; is it the right file?", origin_, kMostJsonValues);
  }

  std::string_view origin_;
  std::vector<Unclosed> unclosed_;  // by depth; the first is the document
  std::size_t depth_ = 0, count_ = 0;
};

}  // namespace

Json parse_json(std::string_view text, std::string_view origin) {
  TreeBuilder builder(origin);
  read_json_events(text, origin, builder);
  return builder.take();
}

std::string show(const Json& value) { return without_middle(dump_json(value), kLongestValue); }

Json read_json(const std::filesystem::path& path) { return parse_json(read_file(path), path.string()); }

}  // namespace normtweak
