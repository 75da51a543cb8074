#include <algorithm>
#include <array>

#include "normtweak/base/error.h"
#include "normtweak/formats/compressed_tensors_config.h"
#include "normtweak/formats/linears/auto_round.h"
#include "normtweak/formats/linears/awq.h"
#include "normtweak/formats/linears/bitsandbytes.h"
#include "normtweak/formats/linears/compressed_tensors_linears.h"
#include "normtweak/formats/linears/fp8.h"
#include "normtweak/formats/linears/gptq.h"
#include "normtweak/formats/linears/quantized_linears.h"

namespace normtweak::formats {
namespace {

std::string method_of(const Json& config) {
  const auto found = config.is_object() ? config.find("quant_method") : config.end();
  return config.is_object() && found != config.end() && found->is_string() ? found->get<std::string>() : "";
}

bool is_gptq(const Json& config) { return method_of(config) == "gptq"; }
bool is_awq(const Json& config) { return method_of(config) == "awq"; }
bool is_fp8(const Json& config) { return method_of(config) == "fp8" || method_of(config) == "fbgemm_fp8"; }

bool is_auto_round(const Json& config) {
  const auto method = method_of(config);
  return method == "auto-round" || method == "intel/auto-round";
}

// Before it had a method, its keys told.
bool is_bitsandbytes(const Json& config) {
  const auto method = method_of(config);
  return method == "bitsandbytes" ||
         (method.empty() && config.is_object() && (config.contains("load_in_4bit") || config.contains("load_in_8bit")));
}

constexpr std::array<QuantizationFormat, 6> kFormats = {{
    {.name = "compressed-tensors",
     .description = "packed codes, scales and zero-points (pack-quantized)",
     .recognises = &is_packed_config,
     .open = &open_compressed_tensors,
     .readers = &compressed_tensors_readers,
     .make_config = &make_compressed_tensors_config,
     .encode = &encode_compressed_tensors},
    {.name = "gptq",
     .description = "as GPTQModel and AutoGPTQ: 2, 3, 4 or 8 bits",
     .recognises = &is_gptq,
     .open = &open_gptq,
     .readers = &gptq_readers,
     .make_config = &make_gptq_config,
     .encode = &encode_gptq,
     .side_file = "quantize_config.json",
     .scale_type = at::kHalf},
    {.name = "awq",
     .description = "as AutoAWQ (gemm): 4 bits",
     .recognises = &is_awq,
     .open = &open_awq,
     .readers = &awq_readers,
     .make_config = &make_awq_config,
     .encode = &encode_awq,
     .side_file = {},
     .scale_type = at::kHalf},
    {.name = "auto-round",
     .description = {},
     .recognises = &is_auto_round,
     .open = &open_auto_round,
     .readers = &auto_round_readers},
    {.name = "bitsandbytes",
     .description = {},
     .recognises = &is_bitsandbytes,
     .open = &open_bitsandbytes,
     .readers = &bitsandbytes_readers},
    {.name = "fp8", .description = {}, .recognises = &is_fp8, .open = &open_fp8, .readers = &fp8_readers},
}};

}  // namespace

std::span<const QuantizationFormat> quantization_formats() { return kFormats; }

const QuantizationFormat& find_quantization_format(const Json& config, std::string_view origin) {
  std::string known;
  for (const auto& format : kFormats) {
    if (format.recognises(config)) return format;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", format.name);
  }
  const bool has_method = config.is_object() && config.contains("quant_method");
  fail("{}: method {} is not supported; {} are", origin, show(has_method ? config.at("quant_method") : config), known);
}

}  // namespace normtweak::formats
