#include "normtweak/base/processes/processes.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <map>

namespace normtweak {
namespace {

bool is_buffer(const at::Tensor& tensor, const Transport& transport) {
  return tensor.is_contiguous() && tensor.device() == transport.device();
}

// One buffer for tensors of one type, and back.
void sum_together(const std::vector<at::Tensor>& tensors, Transport& transport) {
  if (tensors.size() == 1 && is_buffer(tensors.front(), transport)) {  // avoids copying a large tensor
    transport.all_reduce_sum(tensors.front());
    return;
  }
  std::vector<at::Tensor> flat;
  flat.reserve(tensors.size());
  for (const auto& tensor : tensors) flat.push_back(tensor.reshape({-1}).to(transport.device()));
  const auto buffer = at::cat(flat);
  transport.all_reduce_sum(buffer);
  std::int64_t offset = 0;
  for (const auto& tensor : tensors) {
    tensor.copy_(buffer.narrow(0, offset, tensor.numel()).view(tensor.sizes()));
    offset += tensor.numel();
  }
}

// Sent as bytes, so that every dtype is supported.
void broadcast_one(const at::Tensor& tensor, int root, Transport& transport) {
  if (tensor.numel() == 0) return;
  const auto buffer = tensor.to(transport.device()).contiguous();
  transport.broadcast(buffer.view({-1}).view(at::kByte), root);
  if (transport.rank() != root && !is_buffer(tensor, transport)) tensor.copy_(buffer);
}

}  // namespace

Share Processes::share(std::int64_t items) const {
  const auto begin = items * rank() / size();
  return {begin, items * (rank() + 1) / size() - begin};
}

void Processes::all_reduce_sum(const std::vector<at::Tensor>& tensors) const {
  if (!transport_) return;
  const at::NoGradGuard no_gradients;
  std::map<at::ScalarType, std::vector<at::Tensor>> by_type;
  for (const auto& tensor : tensors) by_type[tensor.scalar_type()].push_back(tensor);
  for (const auto& [type, all] : by_type) sum_together(all, *transport_);
}

at::Tensor Processes::gather_rows(const at::Tensor& rows) const {
  if (!transport_) return rows;
  const at::NoGradGuard no_gradients;
  auto counts = at::zeros({size()}, at::kLong);
  counts[rank()] = rows.size(0);
  all_reduce_sum({counts});
  auto shape = rows.sizes().vec();
  shape[0] = counts.sum().item<std::int64_t>();
  auto all = at::empty(shape, rows.options());
  std::int64_t begin = 0;
  for (int root = 0; root < size(); ++root) {
    auto part = all.narrow(0, begin, counts[root].item<std::int64_t>());
    if (root == rank()) part.copy_(rows);
    broadcast_one(part, root, *transport_);
    begin += part.size(0);
  }
  return all;
}

void Processes::broadcast(const std::vector<at::Tensor>& tensors, int root) const {
  if (!transport_) return;
  const at::NoGradGuard no_gradients;
  for (const auto& tensor : tensors) broadcast_one(tensor, root, *transport_);
}

void Processes::barrier() const { all_reduce_sum({at::zeros({1})}); }

}  // namespace normtweak
