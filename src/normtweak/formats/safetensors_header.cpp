#include "normtweak/formats/safetensors_header.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <tuple>
#include <utility>

#include "normtweak/base/error.h"
#include "normtweak/base/json/json_events.h"
#include "normtweak/formats/safetensors_types.h"
#include "normtweak/formats/tensor_bytes.h"

namespace normtweak::formats {
namespace {

constexpr std::size_t kMostMetadata = 65'536;  // entries
constexpr std::size_t kMostMetadataBytes = 16 << 20;
constexpr std::size_t kLongestName = 65'536;  // bytes as written; those of models have less than 200
constexpr std::uint64_t kMostExtents = 64;    // PyTorch's limit

enum class Field : std::uint8_t { type, shape, data_offsets, other };
constexpr std::array<std::string_view, 3> kFields = {"dtype", "shape", "data_offsets"};

// Follows the events by their depth: 1 are the names, 2 the fields of a tensor or the metadata, 3 numbers of a list.
class HeaderReader : public JsonReceiver {
 public:
  HeaderReader(std::uint64_t data_size, const std::string& origin) : data_size_(data_size), origin_(origin) {}

  SafetensorsHeader take() { return std::move(header_); }

  void key(std::string name) override {
    if (depth_ == 1) {
      begin_member(std::move(name));
    } else if (depth_ == 2) {
      begin_field(std::move(name));
    }
  }

  void value(Json scalar) override {
    if (depth_ == 0) refuse_whole(scalar.type_name());
    if (depth_ == 1) add_member(scalar);
    if (depth_ == 2) add_field(scalar);
    if (depth_ > 2 && field_ != Field::other) add_number(scalar);
  }

  void open(bool is_object) override {
    const auto* what = is_object ? "object" : "array";
    if (depth_ == 0 && !is_object) refuse_whole(what);
    if (depth_ == 1 && !is_object) refuse_member(what);
    if (depth_ == 2 && in_metadata_) refuse_metadata(what);
    if (depth_ == 2 && field_ == Field::type) refuse_description();
    if (depth_ == 2 && is_list() && is_object) refuse_no_list();
    if (depth_ > 2 && is_list()) refuse_number(what);
    ++depth_;
  }

  void close() override {
    --depth_;
    if (depth_ == 2 && is_list()) has_.at(static_cast<std::size_t>(field_)) = true;
    if (depth_ == 1 && !in_metadata_) end_tensor();
    if (depth_ == 0) place_tensors();
  }

 private:
  using Tensor = SafetensorsHeader::Tensor;

  std::string where() const { return fmt::format("{}: tensor {}", origin_, name_); }
  bool is_list() const { return field_ == Field::shape || field_ == Field::data_offsets; }

  [[noreturn]] void refuse_whole(std::string_view found) const {
    fail("{}: header: expected a JSON object, found {}", origin_, found);
  }
  [[noreturn]] void refuse_metadata(std::string_view found) const {
    fail("{}: __metadata__.{} must be text, found {}", origin_, field_name_, found);
  }
  [[noreturn]] void refuse_description() const {
    fail("{}: must be an object with `dtype`, `shape` and `data_offsets`", where());
  }
  [[noreturn]] void refuse_member(std::string_view found) const {
    if (in_metadata_) fail("{}: __metadata__ must be an object, found {}", origin_, found);
    refuse_description();
  }
  [[noreturn]] void refuse_no_list() const { fail("{}: `{}` must be a list of whole numbers", where(), field_name_); }
  [[noreturn]] void refuse_number(std::string_view found) const {
    fail("{}: `{}` must hold whole numbers from 0 to 2^62, found {}", where(), field_name_, found);
  }

  void begin_member(std::string name) {
    in_metadata_ = name == "__metadata__";
    if (in_metadata_ && std::exchange(has_metadata_, true)) fail("{}: __metadata__ occurs twice", origin_);
    if (name.find('\0') != std::string::npos) fail("{}: tensor {}: its name holds a zero byte", origin_, name);
    name_ = std::move(name);
    field_ = Field::other;
    has_ = {};
    tensor_ = {};
    tensor_.first_extent = static_cast<std::uint32_t>(header_.extents.size());
    offsets_.clear();
  }

  void begin_field(std::string name) {
    field_name_ = std::move(name);
    const auto* row = std::ranges::find(kFields, field_name_);
    field_ = in_metadata_ ? Field::other : static_cast<Field>(row - kFields.begin());
    if (field_ != Field::other && has_.at(static_cast<std::size_t>(field_))) {
      fail("{}: `{}` occurs twice", where(), field_name_);
    }
  }

  void add_member(const Json& scalar) const {
    if (!in_metadata_ || !scalar.is_null()) refuse_member(scalar.type_name());
  }

  void add_field(Json& scalar) {
    if (in_metadata_) {
      add_metadata(scalar);
    } else if (field_ == Field::type) {
      if (!scalar.is_string()) refuse_description();
      tensor_.type = &*header_.types.insert(std::move(scalar.get_ref<std::string&>())).first;
      has_.front() = true;
    } else if (is_list()) {
      refuse_no_list();
    }
  }

  void add_metadata(Json& scalar) {
    if (!scalar.is_string()) refuse_metadata(scalar.type_name());
    auto& text = scalar.get_ref<std::string&>();
    metadata_bytes_ += field_name_.size() + text.size();
    if (metadata_bytes_ > kMostMetadataBytes || header_.metadata.size() >= kMostMetadata) {
      fail("{}: __metadata__ holds more than {} entries or {} bytes, which are not read", origin_, kMostMetadata,
           kMostMetadataBytes);
    }
    header_.metadata.insert_or_assign(std::move(field_name_), std::move(text));
  }

  // Integers that fit i64; the JSON may hold 1.5, -1, 1e300 or text instead.
  void add_number(const Json& scalar) {
    if (in_metadata_ || !is_list()) return;
    if (!scalar.is_number_unsigned() || scalar.get<std::uint64_t>() >> 62 != 0) refuse_number(show(scalar));
    if (field_ == Field::data_offsets) {
      offsets_.push_back(scalar.get<std::uint64_t>());
      if (offsets_.size() > 2) refuse_offsets();
      return;
    }
    header_.extents.push_back(scalar.get<std::int64_t>());
    if (++tensor_.rank > kMostExtents) fail("{}: `shape` has more than {} dimensions", where(), kMostExtents);
  }

  [[noreturn]] void refuse_offsets() const {
    fail("{}: `data_offsets` must be [begin, end], found {}", where(), show(Json(offsets_)));
  }

  void end_tensor() {
    if (!has_[0]) refuse_description();
    for (std::size_t i = 1; i < kFields.size(); ++i) {
      if (!has_.at(i)) fail("{}: `{}` must be a list of whole numbers", where(), kFields.at(i));
    }
    if (offsets_.size() != 2 || offsets_[0] > offsets_[1]) refuse_offsets();
    tensor_.begin = offsets_[0];
    tensor_.end = offsets_[1];
    if (tensor_.end > data_size_) {
      fail("{}: ends at byte {} of the data, the file has {}; the download is probably incomplete", where(),
           tensor_.end, data_size_);
    }
    check_size();
    header_.names.push_back(std::move(name_));
    header_.tensors.push_back(tensor_);
  }

  void check_size() const {
    const auto shape = header_.shape(tensor_);
    const auto count = element_count(shape);
    if (!count) fail("{}: shape {} is larger than any memory", where(), c10::str(shape));
    const auto type = safetensors_type(*tensor_.type);
    if (!type) return;  // read() refuses it
    const auto size = checked_product(*count, c10::elementSize(*type));
    if (!size || *size != tensor_.end - tensor_.begin) {
      fail("{}: shape {} of {} does not fill the {} bytes that `data_offsets` give it", where(), c10::str(shape),
           *tensor_.type, tensor_.end - tensor_.begin);
    }
  }

  // Into the order of the data, which must be whole.
  void place_tensors() {
    auto& names = header_.names;
    auto& tensors = header_.tensors;
    std::vector<std::uint32_t> order(names.size());
    std::iota(order.begin(), order.end(), 0);
    std::ranges::sort(order, {}, [&](std::uint32_t i) {
      return std::tuple(tensors[i].begin, tensors[i].end, std::string_view(names[i]));
    });
    std::uint64_t end = 0;
    std::string_view previous;
    for (const auto i : order) {
      const bool again = names[i] == std::exchange(previous, names[i]);
      if (again && tensors[i].begin < end) fail("{}: tensor {} occurs twice; the file is damaged", origin_, names[i]);
      if (tensors[i].begin != end) {
        fail("{}: tensor {}: its data {}; the file is damaged", origin_, names[i],
             tensors[i].begin < end ? "overlaps that of another tensor" : "begins after a hole");
      }
      end = tensors[i].end;
    }
    if (end != data_size_) {
      fail("{}: {} bytes after the last tensor belong to none; the file is damaged", origin_, data_size_ - end);
    }
    reorder(names, order);
    reorder(tensors, order);
  }

  template <class Item>
  static void reorder(std::vector<Item>& items, const std::vector<std::uint32_t>& order) {
    std::vector<Item> sorted;
    sorted.reserve(items.size());
    for (const auto i : order) sorted.push_back(std::move(items[i]));
    items = std::move(sorted);
  }

  std::uint64_t data_size_;
  const std::string& origin_;
  SafetensorsHeader header_;
  int depth_ = 0;
  bool in_metadata_ = false, has_metadata_ = false;
  std::size_t metadata_bytes_ = 0;
  std::string name_, field_name_;  // the latest at depths 1 and 2
  Field field_ = Field::other;
  std::array<bool, kFields.size()> has_ = {};  // which fields of the tensor have come
  Tensor tensor_;
  std::vector<std::uint64_t> offsets_;
};

// The place of the quote that ends the text which begins at `begin`; the end if there is none.
std::size_t end_of_text(std::string_view json, std::size_t begin) {
  for (auto at = json.find_first_of("\"\\", begin); at != std::string_view::npos;) {
    if (json[at] == '"') return at;
    at = json.find_first_of("\"\\", at + 2);
  }
  return json.size();
}

// Before the parser makes its copies, of which it has several.
void refuse_long_texts(std::string_view json, std::string_view origin) {
  constexpr std::size_t kShown = 40;
  for (auto quote = json.find('"'); quote < json.size();) {
    const auto end = end_of_text(json, quote + 1);
    const auto next = json.find_first_not_of(" \t\r\n\"", end);
    const bool is_name = next != std::string_view::npos && json[next] == ':';
    const auto length = end - quote - 1, most = is_name ? kLongestName : kMostMetadataBytes;
    if (length > most) {
      fail("{}: header: a {} of {} bytes, where at most {} are read: {}", origin, is_name ? "name" : "text", length,
           most, json.substr(quote + 1, kShown));
    }
    quote = json.find('"', end + 1);
  }
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view text, std::uint64_t data_size, const std::string& origin) {
  refuse_long_texts(text, origin);
  HeaderReader reader(data_size, origin);
  read_json_events(text, origin + ": header", reader, JsonDialect::standard);
  return reader.take();
}

}  // namespace normtweak::formats
