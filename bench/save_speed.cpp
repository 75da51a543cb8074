// Speed of the parts of loading and saving on this machine: packing codes, writing a file of packed tensors until it is
// on disk, writing it again where only its scales differ, and reading bf16 tensors from the page cache into F32.
//
//     cmake --build build --target bench_save && build/bench_save FOLDER [cpu|cuda]     # 1 GB, removed at the end
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <fmt/format.h>
#include <torch/cuda.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <limits>
#include <string>

#include "normtweak/base/device/device.h"
#include "normtweak/base/device/host_transfer.h"
#include "normtweak/base/error.h"
#include "normtweak/base/files/temporary_path.h"
#include "normtweak/base/stopwatch.h"
#include "normtweak/formats/bit_packing.h"
#include "normtweak/formats/safetensors.h"

namespace normtweak {
namespace {

constexpr std::int64_t kOut = 11008, kIn = 4096;  // a linear of LLaMA-7B

// Of the quickest of some runs.
double seconds_of(c10::Device device, int repeats, const std::function<void()>& work) {
  auto least = std::numeric_limits<double>::infinity();
  for (int i = 0; i < repeats; ++i) {
    const Stopwatch watch;
    work();
    if (!device.is_cpu()) torch::cuda::synchronize();
    least = std::min(least, watch.seconds());
  }
  return least;
}

void print_row(const std::string& what, double bytes, double seconds) {
  fmt::print("| {} | {:.3f} | {:.2f} |\n", what, seconds, bytes / 1e9 / seconds);
}

void measure_packing(c10::Device device) {
  for (const int bits : {2, 3, 4, 8}) {
    const auto codes = at::randint(0, 1 << bits, {kOut, kIn}, at::kByte).to(device);
    const auto seconds = seconds_of(device, 5, [&] { formats::pack_rows(codes, bits); });
    print_row(fmt::format("codes of {} bits packed", bits), static_cast<double>(codes.nbytes()), seconds);
  }
}

void measure_files(const std::filesystem::path& folder, c10::Device device) {
  const TemporaryPath path(folder / "bench_save.safetensors");
  const auto codes = at::randint(0, 16, {kOut, kIn}, at::kByte).to(device);
  auto scales = at::randn({kOut, kIn / 128}).to(device, at::kHalf);
  std::vector<formats::TensorToWrite> tensors;
  double bytes = 0;
  for (int i = 0; bytes < 1e9; ++i) {
    tensors.push_back({fmt::format("{}.weight_packed", i), at::kInt, {kOut, formats::packed_columns(kIn, 4)}, [&] {
                         return formats::pack_rows(codes, 4);
                       }});
    tensors.push_back({fmt::format("{}.weight_scale", i), at::kHalf, scales.sizes().vec(), [&] { return scales; }});
    bytes += kOut * kIn / 2.0 + static_cast<double>(scales.nbytes());
  }
  print_row("packed and written to disk", bytes,
            seconds_of(device, 3, [&] { formats::write_safetensors(path.path(), tensors); }));
  print_row("the same over it, with other scales", bytes, seconds_of(device, 3, [&] {
              scales = scales + 1;
              formats::write_safetensors(path.path(), tensors, {}, change_file);
            }));
}

void measure_loading(const std::filesystem::path& folder, c10::Device device) {
  const TemporaryPath path(folder / "bench_load.safetensors");
  formats::NamedTensors tensors;
  for (int i = 0; i < 11; ++i) tensors.emplace_back(std::to_string(i), at::randn({kOut, kIn}).to(at::kBFloat16));
  formats::write_safetensors(path.path(), formats::to_write(tensors));
  for (const auto type : {at::kBFloat16, at::kFloat}) {
    double bytes = 0;
    const auto seconds = seconds_of(device, 3, [&] {
      const formats::SafetensorsFile file(path.path());
      bytes = 0;
      for (const auto& name : file.names()) {
        const auto stored = file.read(name);
        to_device(stored, device, type);
        bytes += static_cast<double>(stored.nbytes());
      }
    });
    print_row(fmt::format("bf16 in the page cache read as {}", float_type_name(type)), bytes, seconds);
  }
}

int run(const std::string& folder, const std::string& device_name) {
  const auto device = choose_device(device_name);
  fmt::print("{}, {} threads\n\n| | seconds | GB/s |\n|-|-|-|\n", device.str(), at::get_num_threads());
  measure_packing(device);
  measure_files(folder, device);
  measure_loading(folder, device);
  return 0;
}

}  // namespace
}  // namespace normtweak

int main(int count, char** values) {
  if (count < 2) {
    fmt::print(stderr, "usage: bench_save FOLDER [cpu|cuda]\n");
    return 2;
  }
  try {
    return normtweak::run(values[1], count > 2 ? values[2] : "");
  } catch (const normtweak::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
