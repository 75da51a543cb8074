#include "normtweak/formats/safetensors_widened.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <optional>

#include "normtweak/base/error.h"
#include "normtweak/formats/safetensors_header.h"
#include "normtweak/formats/safetensors_header_writer.h"
#include "normtweak/formats/safetensors_types.h"
#include "normtweak/formats/tensor_bytes.h"

namespace normtweak::formats {
namespace {

// A tensor of the result.
struct Part {
  HeaderEntry entry;
  std::span<const std::byte> data;      // in the base, or of the widened tensor
  std::optional<std::uint64_t> offset;  // of the data in the base; nullopt: widened
  std::uint64_t element_bytes = 0;      // 0 for types of less than a byte
};

// The file as its header describes it.
struct Layout {
  SafetensorsHeader header;
  std::uint64_t data_offset = 0;
};

Layout layout_of(std::span<const std::byte> base, const std::string& origin) {
  std::uint64_t length = 0;
  if (base.size() >= sizeof length) std::memcpy(&length, base.data(), sizeof length);
  if (length > base.size() - std::min(base.size(), sizeof length)) fail("{}: is cut short", origin);
  const std::string_view all(reinterpret_cast<const char*>(base.data()), base.size());
  const auto data_offset = sizeof length + length;
  return {.header = parse_safetensors_header(all.substr(sizeof length, length), base.size() - data_offset, origin),
          .data_offset = data_offset};
}

Part part_of(const Layout& layout, std::size_t place, std::span<const std::byte> base) {
  const auto& tensor = layout.header.tensors[place];
  const auto shape = layout.header.shape(tensor);
  const auto bytes = tensor.end - tensor.begin, count = element_count(shape).value_or(0);
  const auto offset = layout.data_offset + tensor.begin;
  return {.entry = {layout.header.names[place], *tensor.type, shape, bytes},
          .data = base.subspan(offset, bytes),
          .offset = offset,
          .element_bytes = count == 0 ? 0 : bytes / count};
}

void widen(Part& part, const at::Tensor& values, const std::string& origin) {
  const bool fits = values.scalar_type() == at::kFloat && values.is_contiguous() && values.sizes() == part.entry.shape;
  if (!fits) {
    fail("{}: tensor {}: {} came to be written in place of {}", origin, part.entry.name, c10::str(values.sizes()),
         c10::str(part.entry.shape));
  }
  part.data = std::as_bytes(std::span(values.const_data_ptr<float>(), static_cast<std::size_t>(values.numel())));
  part.entry.type = *safetensors_name(at::kFloat);
  part.entry.bytes = part.data.size();
  part.offset = std::nullopt;
  part.element_bytes = sizeof(float);
}

std::vector<Part> parts_in_order(const Layout& layout, std::span<const std::byte> base, const std::string& origin,
                                 const WidenedTensors& widened) {
  std::vector<Part> parts;
  std::size_t found = 0;
  for (std::size_t i = 0; i < layout.header.names.size(); ++i) {
    auto& part = parts.emplace_back(part_of(layout, i, base));
    const auto wider = widened.find(layout.header.names[i]);
    if (wider == widened.end()) continue;
    widen(part, wider->second, origin);
    ++found;
  }
  if (found < widened.size()) fail("{}: lacks tensors that are to be widened", origin);
  std::ranges::stable_sort(parts, std::ranges::greater{}, &Part::element_bytes);
  return parts;
}

// The patches of [begin, begin + size), with offsets from its start.
std::vector<BytePatch> patches_within(const std::vector<BytePatch>& patches, std::uint64_t begin, std::uint64_t size) {
  std::vector<BytePatch> found;
  for (auto patch = std::ranges::lower_bound(patches, begin, {}, &BytePatch::offset);
       patch != patches.end() && patch->offset < begin + size; ++patch) {
    found.push_back(*patch);
    found.back().offset -= begin;
  }
  return found;
}

}  // namespace

void write_widened(std::span<const std::byte> base, const std::string& origin, const std::vector<BytePatch>& patches,
                   const WidenedTensors& widened, std::ostream& stream) {
  const auto layout = layout_of(base, origin);
  const auto parts = parts_in_order(layout, base, origin, widened);
  std::vector<HeaderEntry> entries;
  for (const auto& part : parts) entries.push_back(part.entry);
  stream << safetensors_header_bytes(entries, layout.header.metadata);
  for (const auto& part : parts) {
    const auto changes =
        part.offset ? patches_within(patches, *part.offset, part.data.size()) : std::vector<BytePatch>();
    write_patched(part.data, changes, stream);
  }
}

}  // namespace normtweak::formats
