#include "normtweak/formats/gguf_split.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "normtweak/base/error.h"

namespace normtweak::formats {
namespace {

constexpr std::string_view kNumber = "split.no", kCount = "split.count", kTensors = "split.tensors.count";
constexpr std::uint64_t kMostParts = 65'535;  // the count is a u16
constexpr std::size_t kDigits = 5;

std::uint64_t read_count(const Json& metadata, std::string_view key, std::string_view origin) {
  const auto found = metadata.find(std::string(key));
  const bool is_there = found != metadata.end() && found->is_number_integer() && *found >= 0;
  if (is_there) return found->get<std::uint64_t>();
  fail("{}: {} is {}, beside {}; a number is needed", origin, key, found == metadata.end() ? "missing" : show(*found),
       kCount);
}

// "-00001-of-00003.gguf"
std::string ending(std::uint64_t number, std::uint64_t count) {
  return fmt::format("-{:05}-of-{:05}.gguf", number + 1, count);
}

}  // namespace

std::optional<GgufSplit> read_gguf_split(const Json& metadata, std::string_view origin) {
  const auto count = metadata.find(std::string(kCount));
  if (count == metadata.end() || (count->is_number_integer() && *count >= 0 && *count <= 1)) return std::nullopt;
  const GgufSplit split = {read_count(metadata, kNumber, origin), read_count(metadata, kCount, origin),
                           read_count(metadata, kTensors, origin)};
  if (split.count > kMostParts) fail("{}: {} is {}, more than {}", origin, kCount, split.count, kMostParts);
  if (split.number < split.count) return split;
  fail("{}: {} is {}, and there are {} files", origin, kNumber, split.number, split.count);
}

std::optional<std::uint64_t> gguf_parts_by_name(const std::filesystem::path& first) {
  const auto name = first.filename().string();
  const auto length = ending(0, 1).size();
  if (name.size() <= length) return std::nullopt;
  const auto digits = name.substr(name.size() - kDigits - std::string_view(".gguf").size(), kDigits);
  if (!std::ranges::all_of(digits, [](unsigned char digit) { return std::isdigit(digit) != 0; })) return std::nullopt;
  const auto count = std::stoull(digits);
  return count > 0 && name.ends_with(ending(0, count)) ? std::optional(count) : std::nullopt;
}

std::vector<std::filesystem::path> gguf_parts(const std::filesystem::path& first, std::uint64_t count) {
  if (count == 1) return {first};
  if (gguf_parts_by_name(first) != count) {
    fail("{}: is the first of {} files, whose name has to end in {} for the others to be found", first.string(), count,
         ending(0, count));
  }
  auto stem = first.filename().string();
  stem.resize(stem.size() - ending(0, count).size());
  std::vector<std::filesystem::path> parts;
  for (std::uint64_t i = 0; i < count; ++i) parts.push_back(first.parent_path() / (stem + ending(i, count)));
  return parts;
}

}  // namespace normtweak::formats
