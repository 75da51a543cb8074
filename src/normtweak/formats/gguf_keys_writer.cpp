#include <algorithm>
#include <bit>
#include <cstring>

#include "normtweak/base/error.h"
#include "normtweak/formats/gguf_writer.h"

namespace normtweak::formats {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF files hold little-endian numbers");

template <class Number>
std::string raw(Number value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

std::string text(std::string_view value) { return raw(std::uint64_t{value.size()}) + std::string(value); }

template <class Number>
std::string number(Number value) {
  return raw(gguf_type<Number>()) + raw(value);
}

std::string array_start(std::uint32_t type, std::size_t count) {
  return raw(kGgufArray) + raw(type) + raw(std::uint64_t{count});
}

template <class Number>
std::string numbers(const std::vector<Number>& values) {
  auto stored = array_start(gguf_type<Number>(), values.size());
  stored.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(Number));
  return stored;
}

}  // namespace

void GgufKeys::put(std::string_view name, std::uint32_t value) { set(name, number(value)); }
void GgufKeys::put(std::string_view name, std::int32_t value) { set(name, number(value)); }
void GgufKeys::put(std::string_view name, float value) { set(name, number(value)); }
void GgufKeys::put(std::string_view name, bool value) { set(name, number(value)); }
void GgufKeys::put(std::string_view name, std::string_view value) { set(name, raw(kGgufText) + text(value)); }
void GgufKeys::put(std::string_view name, const std::vector<std::int32_t>& values) { set(name, numbers(values)); }
void GgufKeys::put(std::string_view name, const std::vector<float>& values) { set(name, numbers(values)); }
void GgufKeys::put(std::string_view name, const std::vector<std::uint8_t>& values) { set(name, numbers(values)); }

void GgufKeys::put(std::string_view name, const std::vector<std::string>& values) {
  auto stored = array_start(kGgufText, values.size());
  for (const auto& value : values) stored += text(value);
  set(name, std::move(stored));
}

void GgufKeys::put(std::string_view name, const std::vector<bool>& values) {
  auto stored = array_start(gguf_type<bool>(), values.size());
  for (const bool value : values) stored += raw(value);
  set(name, std::move(stored));
}

void GgufKeys::put_stored(std::string_view name, std::span<const std::byte> stored) {
  set(name, {reinterpret_cast<const char*>(stored.data()), stored.size()});
}

const GgufKeys::Key* GgufKeys::find(std::string_view name) const {
  const auto found = std::ranges::find(keys_, name, &Key::name);
  return found == keys_.end() ? nullptr : &*found;
}

void GgufKeys::set(std::string_view name, std::string stored) {
  const auto found = std::ranges::find(keys_, name, &Key::name);
  if (found != keys_.end()) {
    found->stored = std::move(stored);
  } else {
    keys_.push_back({std::string(name), std::move(stored)});
  }
}

void GgufKeys::remove(std::string_view name) {
  std::erase_if(keys_, [&](const Key& key) { return key.name == name; });
}

std::uint64_t GgufKeys::alignment() const {
  const auto* key = find(kGgufAlignment);
  if (key == nullptr) return kGgufDefaultAlignment;
  std::uint32_t value = 0;
  if (key->stored.size() == 2 * sizeof value && key->stored.starts_with(raw(gguf_type<std::uint32_t>()))) {
    std::memcpy(&value, key->stored.data() + sizeof value, sizeof value);
  }
  if (!std::has_single_bit(value)) fail("{} must be a power of two in a u32", kGgufAlignment);
  return value;
}

std::string GgufKeys::bytes() const {
  std::string all;
  for (const auto& [name, stored] : keys_) all += text(name) + stored;
  return all;
}

}  // namespace normtweak::formats
