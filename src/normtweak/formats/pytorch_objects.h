// What the pickle of torch.save may name: a table of classes and functions, none of which is ever called. A name that
// is not in it is refused.
//
//     (storage, offset, size, stride, requires_grad, hooks)        torch._utils._rebuild_tensor_v2, in elements
//     ("storage", torch.FloatStorage, key, device, elements)       the persistent id of a storage
//
// Traps: several tensors share a storage (tied weights, slices), and a tensor may lie in it with any strides. Newer
// types come as _rebuild_tensor_v3 with a dtype, over an UntypedStorage that counts bytes. Before PyTorch 0.4 a storage
// may be a part of another one.
#pragma once
#include <c10/core/ScalarType.h>

#include <deque>
#include <optional>
#include <string>
#include <unordered_map>

#include "normtweak/formats/pickle.h"

namespace normtweak::formats {

struct PytorchStorage {
  at::ScalarType type = at::kByte;
  std::string_view key = {};
  std::uint64_t elements = 0;
  std::optional<std::uint32_t> whole = {};  // the storage that it is a part of
  std::uint64_t first = 0;                  // its first element there
  std::span<const std::byte> bytes = {};    // found by read_pytorch_container()
};

struct PytorchTensor {
  std::uint32_t storage = 0;
  at::ScalarType type = at::kFloat;
  std::int64_t offset = 0;                                // in elements of `type`, like the strides
  std::span<const PickleValue> sizes = {}, strides = {};  // integers, of the same number
  std::string_view problem = {};                          // why it cannot be read; usually empty
};

class PytorchObjects : public PickleNames {
 public:
  explicit PytorchObjects(std::string origin) : origin_(std::move(origin)) {}

  // Throws Error naming the object that is asked for.
  PickleValue global(std::string_view module, std::string_view name) override;
  // Throws Error if the arguments are not those of the function.
  PickleValue call(const PickleValue& function, std::span<const PickleValue> arguments, PickleMemory& memory) override;
  PickleValue persistent(const PickleValue& id, PickleMemory& memory) override;

  // Null if `value` is no tensor.
  const PytorchTensor* tensor(const PickleValue& value) const;

  std::deque<PytorchStorage>& storages() { return storages_; }
  std::optional<std::uint32_t> find_storage(std::string_view key) const;

 private:
  PickleValue rebuild(std::span<const PickleValue> arguments, std::optional<at::ScalarType> type,
                      const PickleValue* metadata, PickleMemory& memory);
  PickleValue ordered_dict(std::span<const PickleValue> arguments, PickleMemory& memory) const;
  PickleValue of_device(std::span<const PickleValue> arguments, PickleMemory& memory);
  PickleValue of_class(std::span<const PickleValue> arguments, PickleMemory& memory);
  PickleValue add_tensor(const PytorchTensor& tensor, PickleMemory& memory);
  std::uint32_t add_storage(const PytorchStorage& storage, PickleMemory& memory);
  PickleValue part_of(std::uint32_t whole, const PickleValue& view, PickleMemory& memory);
  [[noreturn]] void refuse_arguments(std::string_view what) const;

  std::string origin_;
  std::deque<PytorchStorage> storages_;
  std::unordered_map<std::string_view, std::uint32_t> storage_of_key_;
  std::deque<PytorchTensor> tensors_;
};

}  // namespace normtweak::formats
