// Data-parallel processes: each holds the whole model and works on its share of the rows.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "normtweak/base/error.h"

namespace normtweak {

// Another process ended or does not answer. Data exchanged since then is invalid.
class LostProcess : public Error {
 public:
  using Error::Error;
};

// The transport between processes. Every process must make the same calls in the same order.
class Transport {
 public:
  virtual ~Transport() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual int on_machine() const { return size(); }  // processes on this machine, this one included
  virtual c10::Device device() const = 0;            // where buffers must be

  // Take contiguous buffers of the same dtype and size in all processes. Both throw LostProcess.
  virtual void all_reduce_sum(at::Tensor buffer) = 0;
  virtual void broadcast(at::Tensor buffer, int root) = 0;
};

struct Share {
  std::int64_t begin = 0, count = 0;
};

// A cheap handle. A default-constructed one stands for a single process and exchanges nothing.
//
// All processes must make the same calls in the same order, with tensors of the same shapes and dtypes; a call returns
// when all have made it. Calls that exchange data throw LostProcess.
class Processes {
 public:
  Processes() = default;
  explicit Processes(std::shared_ptr<Transport> transport) : transport_(std::move(transport)) {}

  int rank() const { return transport_ ? transport_->rank() : 0; }
  int size() const { return transport_ ? transport_->size() : 1; }
  int on_machine() const { return transport_ ? transport_->on_machine() : 1; }  // of these, on this machine
  bool is_first() const { return rank() == 0; }                                 // rank 0, which writes files and prints

  // This process's share of `items`: a consecutive range, in rank order, as even as possible.
  Share share(std::int64_t items) const;

  // Replaces every tensor by its sum over the processes, bit-identical in all of them. Tensors of one dtype are sent
  // together.
  void all_reduce_sum(const std::vector<at::Tensor>& tensors) const;

  // [rows, ...] → the rows of all processes, in rank order. Only the number of rows may differ.
  at::Tensor gather_rows(const at::Tensor& rows) const;

  // Replaces every tensor by that of the process `root`.
  void broadcast(const std::vector<at::Tensor>& tensors, int root = 0) const;

  void barrier() const;

 private:
  std::shared_ptr<Transport> transport_;
};

}  // namespace normtweak
