#include "normtweak/base/json.h"

#include <utility>
#include <vector>

#include "normtweak/base/error.h"
#include "normtweak/base/file.h"
#include "normtweak/base/one_line.h"
#include "normtweak/base/plain_words.h"

namespace normtweak {
namespace {

// Builds the document without looking up each new key among the earlier ones: an ordered object is a list, and a
// vocabulary has a hundred thousand keys. Of duplicate keys both are kept and the first is found.
class DocumentBuilder : public nlohmann::json_sax<Json> {
 public:
  explicit DocumentBuilder(Json& document) { open_.push_back(&document); }

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(number_integer_t value) override { return put(value); }
  bool number_unsigned(number_unsigned_t value) override { return put(value); }
  bool number_float(number_float_t value, const string_t&) override { return put(value); }
  bool string(string_t& value) override { return put(std::move(value)); }
  bool binary(binary_t& value) override { return put(std::move(value)); }
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    std::vector<Json::object_t::value_type>& rows = open_.back()->get_ref<Json::object_t&>();
    value_of_key_ = &rows.emplace_back(std::move(name), Json()).second;
    return true;
  }

  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception& error) override {
    message_ = plain_words(error);
    return false;
  }
  const std::string& message() const { return message_; }

 private:
  // The slot of the next value: the key just read, the end of the open array, or the document itself.
  Json& place(Json value) {
    Json* target = open_.back();
    if (value_of_key_ != nullptr) {
      target = std::exchange(value_of_key_, nullptr);
    } else if (target->is_array()) {
      return target->emplace_back(std::move(value));
    }
    *target = std::move(value);
    return *target;
  }
  bool put(Json value) {
    place(std::move(value));
    return true;
  }
  bool open(Json value) {
    if (open_.size() > kDeepestJson) {
      message_ = fmt::format("arrays and objects are nested deeper than {}", kDeepestJson);
      return false;
    }
    Json& placed = place(std::move(value));
    if (&placed != open_.back()) open_.push_back(&placed);  // otherwise it is the document itself
    return true;
  }
  bool close() {
    if (open_.size() > 1) open_.pop_back();
    return true;
  }

  std::vector<Json*> open_;  // the document, then the objects and arrays that are not yet closed
  Json* value_of_key_ = nullptr;
  std::string message_;
};

}  // namespace

Json parse_json(std::string_view text, std::string_view origin) {
  Json document;
  DocumentBuilder builder(document);
  if (!Json::sax_parse(text, &builder)) fail("{}: not valid JSON: {}", origin, builder.message());
  return document;
}

std::string show(const Json& value) {
  return without_middle(value.dump(-1, ' ', false, Json::error_handler_t::replace), kLongestValue);
}

Json read_json(const std::filesystem::path& path) { return parse_json(read_file(path), path.string()); }

}  // namespace normtweak
