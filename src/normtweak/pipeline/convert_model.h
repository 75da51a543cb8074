// A quantized model in another format, where that loses nothing: the same codes, scales and zero-points.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "normtweak/base/progress.h"
#include "normtweak/formats/readers.h"

namespace normtweak::pipeline {

struct ConvertOptions {
  std::string model;             // a quantized folder, or a GGUF file
  std::filesystem::path output;  // a folder
  std::string format;            // a row of save_formats() that holds codes
};

struct ConvertResult {
  std::string from, to;      // kinds of weights, and the format
  std::int64_t linears = 0;  // quantized ones
  std::int64_t bytes = 0;    // of the result's tensors
  std::vector<formats::Reader> readers;
};

// All tensors but those of quantized linears keep their values and dtypes. Throws Error naming a linear and the reason
// if the format cannot hold it as it is; nothing is written then.
ConvertResult convert_model(const ConvertOptions& options, ProgressSink& progress);

}  // namespace normtweak::pipeline
