#include "normtweak/base/device/generator.h"

#include <ATen/Context.h>

namespace normtweak {

at::Generator make_generator(c10::Device device, std::uint64_t seed) {
  auto generator = at::globalContext().defaultGenerator(device).clone();
  generator.set_current_seed(seed);
  return generator;
}

}  // namespace normtweak
