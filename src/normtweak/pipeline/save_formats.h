// The formats that a model is saved in: a row each.
#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/formats/linears/quantized_linears.h"
#include "normtweak/pipeline/converted_model.h"
#include "normtweak/pipeline/output_kind.h"
#include "normtweak/pipeline/result_writer.h"

namespace normtweak::pipeline {

// What a user may choose besides the format.
struct StoreOptions {
  std::optional<at::ScalarType> store_type;  // of floats; nullopt: the original's
  std::string gguf_type;                     // a row of formats::gguf_presets()
};

struct SaveFormat {
  std::string_view name, description;
  OutputKind output;
  const formats::QuantizationFormat* codes;   // null: no folder that holds codes
  std::vector<formats::Reader> (*readers)();  // who opens it; null: the codes decide
  // For a float model. It, the row and what this returns must outlive each other in this order.
  std::unique_ptr<ResultWriter> (*writer)(const model::Checkpoint& original, const SaveFormat& format,
                                          const StoreOptions& options);
  // For a quantized model, which keeps its codes; null: the format holds none.
  std::unique_ptr<ConvertedModel> (*converted)(const model::Checkpoint& source, const SaveFormat& format);
};

std::span<const SaveFormat> save_formats();
const SaveFormat& find_save_format(std::string_view name);  // throws Error listing them

// Throws UsageError if this format is a file, and `output` has another ending than programs know it by.
void check_ending(const SaveFormat& format, const std::filesystem::path& output);

// The dtype of the scales that go with floats in `stored`: some formats have one of their own. 16-bit models have
// theirs, so that readers do not round scales again; F32 models F16.
at::ScalarType scale_type_for(at::ScalarType stored, const SaveFormat& format);

// The `quantization_config` that this will write for these linears in a format with codes. Throws Error naming a linear
// that the format cannot hold.
Json quantization_config(const model::Checkpoint& original, const SaveFormat& format,
                         std::span<const formats::QuantizedModule> quantized, const std::vector<std::string>& floats);

}  // namespace normtweak::pipeline
