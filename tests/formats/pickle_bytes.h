// Pickles and files of torch.save, put together by hand: those that no program writes.
#pragma once
#include <initializer_list>
#include <string>
#include <string_view>

#include "support.h"

namespace normtweak::formats {

inline std::string integer(std::int64_t value) { return std::string("\x8a\x08") + raw(value); }

inline std::string text(std::string_view value) {
  return std::string("X") + raw(static_cast<std::uint32_t>(value.size())) + std::string(value);
}

inline std::string global(std::string_view module, std::string_view name) {
  return fmt::format("c{}\n{}\n", module, name);
}

inline std::string tuple(std::initializer_list<std::string> values) {
  std::string bytes = "(";
  for (const auto& value : values) bytes += value;
  return bytes + "t";
}

inline std::string integers(std::initializer_list<std::int64_t> values) {
  std::string bytes = "(";
  for (const auto value : values) bytes += integer(value);
  return bytes + "t";
}

inline std::string dict(std::initializer_list<std::string> items) {
  std::string bytes = "}(";
  for (const auto& item : items) bytes += item;
  return bytes + "u";
}

// A storage of F32.
inline std::string storage(std::string_view key, std::int64_t elements, const std::string& part = "") {
  return tuple({text("storage"), global("torch", "FloatStorage"), text(key), text("cpu"), integer(elements), part}) +
         "Q";
}

inline std::string tensor(const std::string& storage, std::int64_t offset, const std::string& sizes,
                          const std::string& strides) {
  return global("torch._utils", "_rebuild_tensor_v2") +
         tuple({storage, integer(offset), sizes, strides, "\x89", global("collections", "OrderedDict") + ")R"}) + "R";
}

inline std::string pickle(const std::string& value) { return std::string("\x80\x02").append(value).append("."); }

const std::string kMagic = pickle("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19");

// A file of the older layout: `saved`, and a storage of four numbers with the key 0.
inline std::string older_file(const std::string& saved) {
  return kMagic + pickle(integer(1001)) + pickle("}") + pickle(saved) + pickle(std::string("](") + text("0") + "e") +
         raw(std::int64_t{4}) + raw(1.F) + raw(2.F) + raw(3.F) + raw(4.F);
}

}  // namespace normtweak::formats
