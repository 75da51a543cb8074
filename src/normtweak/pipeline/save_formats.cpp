#include "normtweak/pipeline/save_formats.h"

#include <fmt/ranges.h>

#include "normtweak/base/error.h"
#include "normtweak/base/files/file_kind.h"
#include "normtweak/model/multimodal.h"
#include "normtweak/pipeline/converted_folder.h"
#include "normtweak/pipeline/converted_gguf.h"
#include "normtweak/pipeline/folder_result.h"
#include "normtweak/pipeline/gguf_result.h"

namespace normtweak::pipeline {
namespace {

std::vector<SaveFormat> make_save_formats() {
  std::vector<SaveFormat> rows = {{.name = "hf",
                                   .description = "export: dequantized weights, loads everywhere with no change, "
                                                  "holds no codes",
                                   .output = OutputKind::folder,
                                   .codes = nullptr,
                                   .readers = formats::float_readers,
                                   .writer = folder_result,
                                   .converted = nullptr}};
  for (const auto& format : formats::quantization_formats()) {
    if (format.encode == nullptr) continue;
    rows.push_back({.name = format.name,
                    .description = format.description,
                    .output = OutputKind::folder,
                    .codes = &format,
                    .readers = nullptr,
                    .writer = folder_result,
                    .converted = converted_folder});
  }
  rows.push_back({.name = "gguf",
                  .description = "one file for llama.cpp",
                  .output = OutputKind::file,
                  .codes = nullptr,
                  .readers = formats::gguf_readers,
                  .writer = gguf_result,
                  .converted = converted_gguf});
  return rows;
}

}  // namespace

std::span<const SaveFormat> save_formats() {
  static const auto rows = make_save_formats();
  return rows;
}

const SaveFormat& find_save_format(std::string_view name) {
  std::vector<std::string_view> known;
  for (const auto& format : save_formats()) {
    if (format.name == name) return format;
    known.push_back(format.name);
  }
  fail("{}: not written by this program; known are {}", name, fmt::join(known, ", "));
}

void check_ending(const SaveFormat& format, const std::filesystem::path& output) {
  if (format.output == OutputKind::folder || has_ending(output, ".gguf")) return;
  fail_usage("{}: --format {} writes a file, which programs know by the ending .gguf", output.string(), format.name);
}

at::ScalarType scale_type_for(at::ScalarType stored, const SaveFormat& format) {
  if (format.codes != nullptr && format.codes->scale_type) return *format.codes->scale_type;
  return stored == at::kFloat ? at::kHalf : stored;
}

Json quantization_config(const model::Checkpoint& original, const SaveFormat& format,
                         std::span<const formats::QuantizedModule> quantized, const std::vector<std::string>& floats) {
  const auto& family = *original.family;
  formats::WrittenFamily written = {.base_prefix = family.base_prefix,
                                    .others_read_it = family.linear_layout == model::Layout::out_in};
  if (original.outer_config.is_null()) return format.codes->make_config(quantized, floats, written);
  written.spellings = model::module_spellings(original);
  written.blocks = model::blocks_in_transformers(family);
  written.parts_beside = model::parts_beside(original);
  return format.codes->make_config(quantized, floats, written);
}

}  // namespace normtweak::pipeline
