#include "normtweak/tweak/head_loss_kernel.h"

#include <cstdint>
#include <limits>

#include "normtweak/base/device/cuda_kernel.h"
#include "normtweak/base/device/eight_floats.h"

namespace normtweak::tweak {
namespace {

// A warp for each token, whose lanes take eight logits at a time.
constexpr const char* kSource = R"(
struct Exponentials {  // of some logits: the greatest, and the sum of exp(logit - greatest)
  float greatest, sum;
};

__device__ float scaled_sum(Exponentials part, float greatest) {
  return part.sum == 0 ? 0 : part.sum * expf(part.greatest - greatest);  // of no logits: -inf - -inf
}

__device__ Exponentials joined(Exponentials one, Exponentials other) {
  const float greatest = fmaxf(one.greatest, other.greatest);
  return {greatest, scaled_sum(one, greatest) + scaled_sum(other, greatest)};
}

__device__ Exponentials of_eight(const Eight& logits) {
  Exponentials found = {logits.at[0], 0};
  for (int k = 1; k < 8; ++k) found.greatest = fmaxf(found.greatest, logits.at[k]);
  for (int k = 0; k < 8; ++k) found.sum += expf(logits.at[k] - found.greatest);
  return found;
}

__device__ Exponentials of_warp(Exponentials own) {
  for (int step = 16; step > 0; step /= 2) {
    Exponentials other;
    other.greatest = __shfl_xor_sync(0xffffffffu, own.greatest, step);
    other.sum = __shfl_xor_sync(0xffffffffu, own.sum, step);
    own = joined(own, other);
  }
  return own;
}

extern "C" __global__ void loss_of_logits(const float* teacher, const float* student, float* divergence, void* gradient,
                                          unsigned int tokens, unsigned int eights, int type) {
  const unsigned int token = (blockIdx.x * blockDim.x + threadIdx.x) / 32, lane = threadIdx.x % 32;
  if (token >= tokens) return;
  const unsigned long long row = (unsigned long long)token * eights;
  Exponentials of_teacher = {__int_as_float(0xff800000), 0}, of_student = of_teacher;
  for (unsigned int i = lane; i < eights; i += 32) {
    of_teacher = joined(of_teacher, of_eight(load_eight(teacher, row + i, 0)));
    of_student = joined(of_student, of_eight(load_eight(student, row + i, 0)));
  }
  of_teacher = of_warp(of_teacher);
  of_student = of_warp(of_student);
  const float log_teacher = logf(of_teacher.sum), log_student = logf(of_student.sum);
  float sum = 0;
  for (unsigned int i = lane; i < eights; i += 32) {
    const Eight t = load_eight(teacher, row + i, 0), s = load_eight(student, row + i, 0);
    Eight difference;
    for (int k = 0; k < 8; ++k) {
      const float log_t = t.at[k] - of_teacher.greatest - log_teacher, log_s = s.at[k] - of_student.greatest - log_student;
      const float p = expf(log_t);
      sum += p * (log_t - log_s);
      difference.at[k] = expf(log_s) - p;
    }
    if (gradient) store_eight(gradient, row + i, type, difference);
  }
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
  if (lane == 0) divergence[token] = sum;
}
)";

constexpr int kTokensPerBlock = 4;

CudaKernel& kernel() {
  static const auto source = with_eight_floats(kSource);
  static CudaKernel kernel("loss_of_logits", source.c_str());
  return kernel;
}

bool fits(const at::Tensor& logits) {
  return logits.is_cuda() && logits.scalar_type() == at::kFloat && logits.is_contiguous() &&
         logits.size(1) % kEight == 0 && logits.size(0) < std::numeric_limits<std::int32_t>::max() / kWarp;
}

}  // namespace

bool has_loss_kernel(const at::Tensor& teacher, const at::Tensor& student, at::ScalarType type) {
  return fits(teacher) && fits(student) && teacher.sizes() == student.sizes() && float_type_code(type) &&
         kernel().unavailable(teacher.device()).empty();
}

void loss_on_gpu(const at::Tensor& teacher, const at::Tensor& student, const at::Tensor& divergence,
                 const at::Tensor& gradient) {
  const auto *of_teacher = teacher.const_data_ptr(), *of_student = student.const_data_ptr();
  auto *sums = divergence.data_ptr(), *differences = gradient.defined() ? gradient.data_ptr() : nullptr;
  const auto tokens = static_cast<unsigned int>(teacher.size(0)),
             eights = static_cast<unsigned int>(teacher.size(1) / kEight);
  const int type = gradient.defined() ? *float_type_code(gradient.scalar_type()) : 0;
  auto arguments = arguments_of(of_teacher, of_student, sums, differences, tokens, eights, type);
  const auto blocks = (tokens + kTokensPerBlock - 1) / kTokensPerBlock;
  kernel().launch(teacher.device(), blocks, kTokensPerBlock * kWarp, arguments);
}

}  // namespace normtweak::tweak
