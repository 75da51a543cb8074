// Several processes that share the work on one model: data-parallel, each with a model and a part of the rows.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "normtweak/base/error.h"

namespace normtweak {

// Another process ended, or does not answer. What was exchanged since is worth nothing.
class LostProcess : public Error {
 public:
  using Error::Error;
};

// What carries bytes from process to process. Every process must make the same calls in the same order.
class Transport {
 public:
  virtual ~Transport() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual int on_machine() const { return size(); }  // how many of them share this one's machine, itself included
  virtual c10::Device device() const = 0;            // where buffers have to lie

  // Contiguous buffers of the same type and size in all processes. Both throw LostProcess.
  virtual void all_reduce_sum(at::Tensor buffer) = 0;
  virtual void broadcast(at::Tensor buffer, int root) = 0;
};

struct Share {
  std::int64_t begin = 0, count = 0;
};

// A cheap handle. As constructed by default it stands for one process alone: nothing is exchanged.
//
// All processes have to make the same calls in the same order, with tensors of the same shapes and types; each call
// returns when the others have made it, too. Those that exchange something throw LostProcess.
class Processes {
 public:
  Processes() = default;
  explicit Processes(std::shared_ptr<Transport> transport) : transport_(std::move(transport)) {}

  int rank() const { return transport_ ? transport_->rank() : 0; }
  int size() const { return transport_ ? transport_->size() : 1; }
  int on_machine() const { return transport_ ? transport_->on_machine() : 1; }  // of them, on this machine
  bool is_first() const { return rank() == 0; }                                 // the one that writes files and talks

  // The part of `items` that is this process's: consecutive ones, in the order of ranks, as even as can be.
  Share share(std::int64_t items) const;

  // Replaces every tensor by its sum over the processes, the same bytes in all of them. Those of one type travel
  // together.
  void all_reduce_sum(const std::vector<at::Tensor>& tensors) const;

  // [rows, ...] → the rows of all processes in the order of ranks. Only the number of rows may differ.
  at::Tensor gather_rows(const at::Tensor& rows) const;

  // Replaces every tensor by that of the process `root`.
  void broadcast(const std::vector<at::Tensor>& tensors, int root = 0) const;

  void barrier() const;

 private:
  std::shared_ptr<Transport> transport_;
};

}  // namespace normtweak
