// The layer error of each block type: the nearest point of the searched grid, and GPTQ with so many sweeps.
//     bench_block_types LAYERS.safetensors [TYPE ...]
// bench/block_types.py writes LAYERS: NAME.weight [out, in], NAME.hessian [in, in] and NAME.TYPE [out, in], which is
// what another program makes of the weight. Errors are printed as shares of that program's.
#include <ATen/TensorOperators.h>
#include <ATen/ops/matmul.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "normtweak/base/error.h"
#include "normtweak/formats/safetensors.h"
#include "normtweak/quantize/block_search.h"
#include "normtweak/quantize/quantizers.h"
#include "normtweak/weights/block_type.h"

namespace {

using namespace normtweak;

struct Layer {
  at::Tensor weight, hessian, other;
};

double layer_error(const Layer& layer, const at::Tensor& quantized) {
  const auto error = (layer.weight - quantized).to(at::kDouble);
  return (at::matmul(error, layer.hessian.to(at::kDouble)) * error).sum().item<double>();
}

// The mean over the layers of the error's share, and the seconds that it took.
template <class Quantize>
void print_method(const std::vector<Layer>& layers, const std::string& name, const Quantize& quantize) {
  const auto start = std::chrono::steady_clock::now();
  double shares = 0;
  for (const auto& layer : layers) {
    shares += layer_error(layer, weights::dequantize(quantize(layer))) / layer_error(layer, layer.other);
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  fmt::print("  {} {:.3f} ({:.1f} s)", name, shares / static_cast<double>(layers.size()), seconds.count());
}

void print_type(const formats::SafetensorsFile& file, const weights::BlockType& type) {
  std::vector<Layer> layers;
  for (const auto& name : file.names()) {
    const std::string ending = fmt::format(".{}", type.name);
    if (!name.ends_with(ending)) continue;
    const auto layer = name.substr(0, name.size() - ending.size());
    layers.push_back({file.read(layer + ".weight"), file.read(layer + ".hessian"), file.read(name)});
  }
  if (layers.empty()) return;
  fmt::print("{:7} {} layers", type.name, layers.size());
  print_method(layers, "nearest", [&](const Layer& layer) {
    return quantize::quantize_blocks(layer.weight, type, layer.hessian.diagonal());
  });
  for (const int sweeps : {0, 1, 2, 4}) {
    const quantize::LinearPlan plan = {.method = "gptq", .block_type = std::string(type.name), .sweeps = sweeps};
    print_method(layers, fmt::format("gptq+{}", sweeps), [&](const Layer& layer) {
      return quantize::find_quantizer("gptq").quantize(layer.weight, layer.hessian, plan);
    });
  }
  fmt::print("\n");
  std::fflush(stdout);
}

}  // namespace

int main(int count, char** arguments) {
  const std::vector<std::string> given(arguments + 1, arguments + count);
  if (given.empty()) {
    fmt::print(stderr, "usage: bench_block_types LAYERS.safetensors [TYPE ...]\n");
    return 2;
  }
  try {
    const formats::SafetensorsFile file(given.front());
    for (const auto& type : weights::kBlockTypes) {
      const bool wanted = given.size() == 1 || std::ranges::find(given, type.name) != given.end();
      if (wanted) print_type(file, type);
    }
  } catch (const Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
  return 0;
}
