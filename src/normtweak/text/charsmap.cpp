#include "normtweak/text/charsmap.h"

#include <utf8proc.h>

#include <cstring>

#include "normtweak/base/error.h"
#include "normtweak/text/utf8.h"

namespace normtweak::text {
namespace {

// A unit of the double array, as darts-clone packs it.
bool has_leaf(std::uint32_t unit) { return ((unit >> 8) & 1) == 1; }
std::uint32_t value(std::uint32_t unit) { return unit & 0x7FFFFFFF; }
std::uint32_t label(std::uint32_t unit) { return unit & 0x800000FF; }
std::uint32_t offset(std::uint32_t unit) { return (unit >> 10) << ((unit & 0x200) >> 6); }

constexpr std::size_t kLongestCluster = 5;  // bytes that are looked up as one

void check_size(std::string_view result, std::size_t most) {
  if (result.size() > most) fail("the charsmap makes more than {} bytes of a text; it is damaged", most);
}

// The bytes of the grapheme cluster that `text` begins with.
std::size_t cluster_length(std::string_view text) {
  auto last = code_point_at(text, 0);
  std::size_t length = last.length;
  utf8proc_int32_t state = 0;
  while (length < text.size()) {
    const auto next = code_point_at(text, length);
    const bool is_plain = last.value < 0x80 && next.value < 0x80 && last.value != '\r';
    if (is_plain || utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(last.value),
                                                     static_cast<utf8proc_int32_t>(next.value), &state)) {
      break;
    }
    length += next.length;
    last = next;
  }
  return length;
}

}  // namespace

Charsmap::Charsmap(std::string_view blob) {
  constexpr std::size_t kUnit = sizeof(std::uint32_t);
  std::uint32_t size = 0;
  if (blob.size() < kUnit) fail("the charsmap has {} bytes, too few for its header", blob.size());
  std::memcpy(&size, blob.data(), kUnit);
  blob.remove_prefix(kUnit);
  if (size % kUnit != 0 || size > blob.size()) fail("the charsmap's trie of {} bytes does not fit in it", size);
  units_.resize(size / kUnit);
  std::memcpy(units_.data(), blob.data(), size);
  strings_ = blob.substr(size);
  if (std::string storage; valid_utf8(strings_, storage).data() != strings_.data()) fail("the charsmap is not UTF-8");
}

std::optional<std::string_view> Charsmap::find(std::string_view piece) const {
  if (units_.empty()) return std::nullopt;
  std::size_t node = offset(units_[0]);
  for (const char letter : piece) {
    const auto byte = static_cast<std::uint8_t>(letter);
    if (byte == 0) return std::nullopt;
    node ^= byte;
    if (node >= units_.size() || label(units_[node]) != byte) return std::nullopt;
    const auto unit = units_[node];
    node ^= offset(unit);
    if (!has_leaf(unit)) continue;
    const std::size_t place = node < units_.size() ? value(units_[node]) : strings_.size() + 1;
    const bool is_inside = place < strings_.size() && (static_cast<std::uint8_t>(strings_[place]) & 0xC0) != 0x80;
    if (!is_inside && place != strings_.size()) fail("the charsmap has no string at {}; it is damaged", place);
    return std::string_view(strings_.data() + place);  // up to its zero byte
  }
  return std::nullopt;
}

void Charsmap::put(std::string_view cluster, std::size_t most, std::string& result) const {
  if (cluster.size() <= kLongestCluster) {
    if (const auto other = find(cluster)) {
      result += *other;
      return;
    }
  }
  for (std::size_t at = 0; at < cluster.size();) {
    const auto character = cluster.substr(at, code_point_at(cluster, at).length);
    result += find(character).value_or(character);
    at += character.size();
    check_size(result, most);  // a cluster may have any length
  }
}

std::string Charsmap::normalize(std::string_view text, std::size_t most) const {
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const auto cluster = text.substr(0, cluster_length(text));
    put(cluster, most, result);
    text.remove_prefix(cluster.size());
    check_size(result, most);
  }
  return result;
}

}  // namespace normtweak::text
