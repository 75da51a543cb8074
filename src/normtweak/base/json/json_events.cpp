#include "normtweak/base/json/json_events.h"

#include <utility>

#include "normtweak/base/error.h"
#include "normtweak/base/files/file_kind.h"
#include "normtweak/base/files/out_of_memory.h"
#include "normtweak/base/json/json_non_finite.h"
#include "normtweak/base/strings/library_messages.h"

namespace normtweak {
namespace {

// Passes on what nlohmann-json's parser finds.
class Adapter : public nlohmann::json_sax<Json> {
 public:
  Adapter(JsonReceiver& receiver, const std::vector<float>& values) : receiver_(receiver), values_(values) {}

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(number_integer_t value) override { return put(value); }
  bool number_unsigned(number_unsigned_t value) override { return put(value); }
  bool number_float(number_float_t value, const string_t& spelling) override {
    return put(next_ < values_.size() && is_stand_in(spelling) ? static_cast<double>(values_[next_++]) : value);
  }
  bool string(string_t& value) override { return put(std::move(value)); }
  bool binary(binary_t&) override { return false; }  // JSON has none
  bool start_object(std::size_t) override { return open(true); }
  bool start_array(std::size_t) override { return open(false); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    receiver_.key(std::move(name));
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception& error) override {
    message_ = library_message(error);
    return false;
  }

  const std::string& message() const { return message_; }

 private:
  bool put(Json value) {
    receiver_.value(std::move(value));
    return true;
  }
  bool open(bool is_object) {
    if (++depth_ > kDeepestJson) {
      message_ = fmt::format("arrays and objects are nested deeper than {}", kDeepestJson);
      return false;
    }
    receiver_.open(is_object);
    return true;
  }
  bool close() {
    --depth_;
    receiver_.close();
    return true;
  }

  JsonReceiver& receiver_;
  const std::vector<float>& values_;
  std::size_t next_ = 0, depth_ = 0;
  std::string message_;
};

// nlohmann-json skips a byte order mark and takes a zero byte for the end.
void refuse_leniency(std::string_view text, std::string_view origin) {
  if (const auto mistake = mistaken_for(text, Expected::json); !mistake.empty()) fail("{}: {}", origin, mistake);
  if (text.starts_with("\xef\xbb\xbf")) {
    fail("{}: not valid JSON: it begins with a byte order mark; save it as UTF-8 without one", origin);
  }
  if (const auto zero = text.find('\0'); zero != std::string_view::npos) {
    fail("{}: not valid JSON: byte {} is zero; the file is damaged", origin, zero);
  }
}

}  // namespace

void read_json_events(std::string_view text, std::string_view origin, JsonReceiver& receiver, JsonDialect dialect) {
  refuse_leniency(text, origin);
  within_memory(origin, [&] {
    const auto other = dialect == JsonDialect::python ? stand_in_for(text) : StandIn();
    Adapter adapter(receiver, other.values);
    if (!Json::sax_parse(other.text.empty() ? text : std::string_view(other.text), &adapter)) {
      fail("{}: not valid JSON: {}", origin, adapter.message());
    }
  });
}

}  // namespace normtweak
