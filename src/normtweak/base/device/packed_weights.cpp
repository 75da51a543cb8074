#include "normtweak/base/device/packed_weights.h"

#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>

#include <optional>

#include "normtweak/base/device/device.h"
#include "normtweak/base/device/torch_operator.h"

namespace normtweak {
namespace {

using Pack = at::Tensor(const at::Tensor& weight, std::int64_t rows);
using Linear = at::Tensor(const at::Tensor& x, const at::Tensor& packed, const at::Tensor& weight,
                          const std::optional<at::Tensor>& bias, std::int64_t rows);

struct MklOperators {
  std::optional<c10::TypedOperatorHandle<Pack>> pack;
  std::optional<c10::TypedOperatorHandle<Linear>> linear;
};

MklOperators find_operators() {
  if (!at::hasMKL() || !at::hasMKLDNN() || is_amd_cpu()) return {};
  return {find_operator<Pack>("mkl::_mkl_reorder_linear_weight"), find_operator<Linear>("mkl::_mkl_linear")};
}

const MklOperators& operators() {
  static const auto found = find_operators();
  return found;
}

thread_local const PackedWeights* innermost = nullptr;

// MKL asks for 8 MB more than it writes to, which is nothing beside a large weight.
constexpr std::int64_t kLeastNumbers = 1 << 18;

}  // namespace

bool can_be_packed(const at::Tensor& weight) {
  if (!operators().pack || !operators().linear) return false;
  const bool is_matrix = weight.is_cpu() && weight.dim() == 2 && weight.is_contiguous();
  return is_matrix && weight.scalar_type() == at::kFloat && weight.numel() >= kLeastNumbers;
}

PackedWeights::PackedWeights(const std::vector<at::Tensor>& weights, std::int64_t rows)
    : rows_(rows), outer_(innermost) {
  for (const auto& weight : weights) {
    if (can_be_packed(weight)) packed_[weight.const_data_ptr()] = {weight, operators().pack->call(weight, rows)};
  }
  innermost = this;
}

PackedWeights::~PackedWeights() { innermost = outer_; }

at::Tensor PackedWeights::product(const at::Tensor& x, const at::Tensor& weight) {
  const auto* held = innermost;
  if (held == nullptr || at::GradMode::is_enabled() || !x.is_cpu() || x.numel() != held->rows_ * x.size(-1)) return {};
  const auto found = held->packed_.find(weight.const_data_ptr());
  if (found == held->packed_.end() || found->second.weight.sizes() != weight.sizes()) return {};
  return operators().linear->call(x, found->second.values, weight, std::nullopt, held->rows_);
}

}  // namespace normtweak
