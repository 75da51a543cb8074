#include "normtweak/formats/linears/bitsandbytes_state.h"

#include <cmath>

#include "normtweak/formats/linears/settings.h"

namespace normtweak::formats {
namespace {

// The values that its kernels look codes up in.
constexpr std::array<double, 16> kNf4 = {-1,
                                         -0.6961928009986877,
                                         -0.5250730514526367,
                                         -0.39491748809814453,
                                         -0.28444138169288635,
                                         -0.18477343022823334,
                                         -0.09105003625154495,
                                         0,
                                         0.07958029955625534,
                                         0.16093020141124725,
                                         0.24611230194568634,
                                         0.33791524171829224,
                                         0.44070982933044434,
                                         0.5626170039176941,
                                         0.7229568362236023,
                                         1};
constexpr std::array<double, 16> kFp4 = {0,    0.0625 / 12,  2.0 / 3,  1,  1.0 / 3,  0.5,  1.0 / 6,  0.25,
                                         -0.0, -0.0625 / 12, -2.0 / 3, -1, -1.0 / 3, -0.5, -1.0 / 6, -0.25};

constexpr std::array<BitsandbytesTable, 2> kTables = {{
    {"nf4", "weight.quant_state.bitsandbytes__nf4", kNf4},
    {"fp4", "weight.quant_state.bitsandbytes__fp4", kFp4},
}};

constexpr const char* kOffset = "nested_offset";

}  // namespace

std::span<const BitsandbytesTable> bitsandbytes_tables() { return kTables; }

BitsandbytesState read_bitsandbytes_state(const ModuleTensors& tensors) {
  BitsandbytesState state;
  for (const auto& table : bitsandbytes_tables()) {
    if (tensors.has(table.part)) state.table = &table;
  }
  if (state.table == nullptr) {
    tensors.refuse("weight", "has no {}, or that of fp4; other types of bitsandbytes are not supported",
                   bitsandbytes_tables().front().part);
  }
  const auto part = state.table->part;
  const auto bytes = tensors.read(part, at::kByte, {-1}).contiguous();
  state.text.assign(reinterpret_cast<const char*>(bytes.const_data_ptr<std::uint8_t>()),
                    static_cast<std::size_t>(bytes.numel()));
  const auto where = tensors.described_part(part);
  const auto json = parse_json(state.text, where);
  const Settings values(json, where);
  constexpr int kLargest = 1 << 20;
  state.run = values.whole({"blocksize"}, std::nullopt, 1, kLargest);
  const auto& shape = values.get("shape");
  const bool is_matrix =
      shape.is_array() && shape.size() == 2 && shape[0].is_number_integer() && shape[1].is_number_integer();
  constexpr std::int64_t kMost = std::int64_t{1} << 31;
  if (is_matrix) {
    state.rows = shape[0].get<std::int64_t>();
    state.columns = shape[1].get<std::int64_t>();
  }
  if (!is_matrix || state.rows <= 0 || state.columns <= 0 || state.rows > kMost || state.columns > kMost) {
    fail("{}: `shape` is {}; that of a matrix expected", where, show(shape));
  }
  const auto& offset = values.get(kOffset);
  if (offset.is_null()) return state;
  if (!offset.is_number()) fail("{}: `{}` is {}; a number expected", where, kOffset, show(offset));
  state.offset = offset.get<float>();
  if (!std::isfinite(*state.offset)) fail("{}: `{}` is {}; a finite number expected", where, kOffset, show(offset));
  state.nested_run = values.whole({"nested_blocksize"}, 256, 1, kLargest);
  return state;
}

std::string with_offset(const std::string& text, float offset, const std::string& where) {
  const auto key = text.find(fmt::format("\"{}\"", kOffset));
  const auto begin = text.find_first_not_of(": \t", text.find(':', key));
  const auto end = text.find_first_of(",} \t", begin);
  if (key == std::string::npos || end == std::string::npos) fail("{}: has no `{}`", where, kOffset);
  const auto room = end - begin;
  constexpr int kEnough = 9;  // digits that tell any two floats apart
  for (int digits = kEnough; digits > 0; --digits) {
    const auto number = fmt::format("{:.{}g}", offset, digits);
    if (number.size() <= room) return text.substr(0, begin) + fmt::format("{:>{}}", number, room) + text.substr(end);
  }
  fail("{}: `{}` is now {}, for which the {} characters of {} leave no room; tune this model without its scales", where,
       kOffset, offset, room, text.substr(begin, room));
}

}  // namespace normtweak::formats
