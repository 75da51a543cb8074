#include "normtweak/formats/pytorch_source.h"

#include <algorithm>
#include <limits>
#include <unordered_set>

#include "normtweak/base/device/type_name.h"
#include "normtweak/base/error.h"
#include "normtweak/base/files/out_of_memory.h"
#include "normtweak/formats/pytorch_container.h"
#include "normtweak/formats/tensor_bytes.h"

namespace normtweak::formats {
namespace {

using Kind = PickleValue::Kind;

constexpr std::uint64_t kMemoryBesideFile = 160 << 20;  // of the pickle's objects: a large file may have many tensors
// Of a tensor that repeats the values of a smaller storage, such as a norm expanded from one number; the file's size if
// that is more.
constexpr std::uint64_t kMostRepeatedBytes = 4 << 20;
constexpr std::uint64_t kMostShares = 256;  // of the bytes of a file: layers may share weights

// 1 + the place of the last element, counted from the first; nullopt if it overflows. Sizes are not negative.
std::optional<std::uint64_t> reach(at::IntArrayRef sizes, at::IntArrayRef strides) {
  std::uint64_t last = 0;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i] == 0) return 0;
    const auto step = checked_product(static_cast<std::uint64_t>(sizes[i] - 1), static_cast<std::uint64_t>(strides[i]));
    if (!step || __builtin_add_overflow(last, *step, &last)) return std::nullopt;
  }
  return last == std::numeric_limits<std::uint64_t>::max() ? std::nullopt : std::optional(last + 1);
}

at::Tensor with_swapped_bytes(const at::Tensor& tensor) {
  auto swapped = tensor.clone();
  const std::span bytes(static_cast<std::byte*>(swapped.data_ptr()), swapped.nbytes());
  for (auto rest = bytes; !rest.empty(); rest = rest.subspan(swapped.element_size())) {
    std::ranges::reverse(rest.first(swapped.element_size()));
  }
  return swapped;
}

// Dicts inside the state dict: which holds the most tensors.
struct InnerDicts {
  std::string_view largest;
  std::size_t most = 0;
  std::unordered_set<const PickleItems*> seen = {};  // a pickle may use one many times

  void add(std::string_view name, const PickleValue& value, const PytorchObjects& objects, PickleMemory& memory) {
    if (!value.is(Kind::dict) || !seen.insert(value.items).second) return;
    constexpr std::uint64_t kNodeBytes = 40;
    memory.spend(kNodeBytes);
    const auto& items = value.items->values;
    std::size_t count = 0;
    for (std::size_t i = 1; i < items.size(); i += 2) count += objects.tensor(items[i]) != nullptr ? 1U : 0U;
    if (count > most) {
      largest = name;
      most = count;
    }
  }
};

}  // namespace

PytorchFile::PytorchFile(const std::filesystem::path& path)
    : file_(path), origin_(path.string()), bytes_(file_->bytes()) {
  within_memory(origin_, [&] { parse(); });
}

PytorchFile::PytorchFile(std::span<const std::byte> bytes, std::string origin)
    : origin_(std::move(origin)), bytes_(bytes) {
  parse();
}

void PytorchFile::parse() {
  PickleMemory memory(bytes_.size() + kMemoryBesideFile, origin_);
  PytorchObjects objects(origin_);
  const auto container = read_pytorch_container(bytes_, origin_, objects, memory);
  is_big_endian_ = container.is_big_endian;
  collect(container.saved, objects, memory);
  if (const auto twice = index_.build(names_)) {
    fail("{}: tensor {} occurs twice; the file is damaged", origin_, *twice);
  }
}

void PytorchFile::collect(const PickleValue& state_dict, PytorchObjects& objects, PickleMemory& memory) {
  const auto& items = state_dict.items->values;
  InnerDicts inner;
  for (std::size_t i = 0; i + 1 < items.size(); i += 2) {
    const auto& value = items[i + 1];
    const auto* tensor = objects.tensor(value);
    if (!items[i].is(Kind::text)) {
      if (tensor != nullptr) fail("{}: has a tensor whose name is no text; save model.state_dict()", origin_);
      not_tensors_.emplace_back("an entry whose name is no text");
      continue;
    }
    memory.spend(sizeof(std::string) + items[i].size);  // a pickle may use one long text as many names
    if (tensor != nullptr) {
      memory.spend(sizeof(Tensor) + (tensor->sizes.size() + tensor->strides.size()) * sizeof(std::int64_t));
      add(std::string(items[i].as_text()), *tensor,
          tensor->problem.empty() ? objects.storages()[tensor->storage].bytes : std::span<const std::byte>());
      continue;
    }
    not_tensors_.emplace_back(items[i].as_text());
    inner.add(items[i].as_text(), value, objects, memory);
  }
  if (inner.most <= names_.size()) return;
  fail(
      "{}: its weights are inside `{}`, where transformers does not look either; save that part alone: "
      "torch.save(torch.load(FILE)[\"{}\"], FILE)",
      origin_, inner.largest, inner.largest);
}

void PytorchFile::add(std::string name, const PytorchTensor& tensor, std::span<const std::byte> storage) {
  if (name.find('\0') != std::string::npos) fail("{}: tensor {}: its name holds a zero byte", origin_, name);
  Tensor added = {.storage = storage,
                  .problem = tensor.problem,
                  .type = tensor.type,
                  .offset = tensor.offset,
                  .first_extent = extents_.size(),
                  .rank = static_cast<std::uint32_t>(tensor.sizes.size())};
  for (const auto& size : tensor.sizes) extents_.push_back(size.integer);
  for (const auto& stride : tensor.strides) extents_.push_back(stride.integer);
  if (added.problem.empty()) {
    measure(name, added);
    count_bytes(added);
    if (repeats_too_much(added)) added.problem = "is expanded from few values to more bytes than its file has";
  }
  names_.push_back(std::move(name));
  tensors_.push_back(added);
}

// Finds the elements and the reach.
void PytorchFile::measure(const std::string& name, Tensor& tensor) const {
  const auto is_negative = [](std::int64_t extent) { return extent < 0; };
  const auto room = tensor.storage.size() / c10::elementSize(tensor.type);
  const auto elements = element_count(sizes(tensor));
  const bool is_sound = elements && std::ranges::none_of(strides(tensor), is_negative) && tensor.offset >= 0 &&
                        static_cast<std::uint64_t>(tensor.offset) <= room;
  const auto needed = is_sound ? reach(sizes(tensor), strides(tensor)) : std::nullopt;
  if (elements && needed && *needed <= room - static_cast<std::uint64_t>(tensor.offset)) {
    tensor.elements = *elements;
    tensor.reach = *needed;
    return;
  }
  fail(
      "{}: tensor {}: shape {} with strides {} from element {} on reaches beyond the {} elements of its storage; the "
      "file is damaged",
      origin_, name, c10::str(sizes(tensor)), c10::str(strides(tensor)), tensor.offset, room);
}

void PytorchFile::count_bytes(const Tensor& tensor) {
  tensor_bytes_ += tensor.reach * c10::elementSize(tensor.type);
  if (tensor_bytes_ / kMostShares <= std::max<std::uint64_t>(kMostRepeatedBytes, bytes_.size())) return;
  fail("{}: its tensors share their storages {} times over; the file is damaged, or made to take forever", origin_,
       kMostShares);
}

bool PytorchFile::repeats_too_much(const Tensor& tensor) const {
  return tensor.elements > tensor.reach &&
         tensor.elements > std::max<std::uint64_t>(kMostRepeatedBytes, bytes_.size()) / c10::elementSize(tensor.type);
}

const PytorchFile::Tensor& PytorchFile::entry(const std::string& name) const {
  const auto place = index_.find(names_, name);
  if (!place) fail("{}: has no tensor {} among its {}", origin_, name, names_.size());
  const auto& found = tensors_[*place];
  if (!found.problem.empty()) {
    fail("{}: tensor {} {}; save it as a plain dense tensor on the CPU", origin_, name, found.problem);
  }
  const auto has_type = [&](const TypeName& row) { return row.type == found.type; };
  if (std::ranges::none_of(kTypeNames, has_type)) {
    fail("{}: tensor {}: type {} is not supported; store weights as BF16 and token ids as I64", origin_, name,
         type_name(found.type));
  }
  return found;
}

TensorInfo PytorchFile::info(const std::string& name) const {
  const auto& found = entry(name);
  const auto bytes = found.elements * c10::elementSize(found.type);
  return {found.type, sizes(found).vec(), type_name(found.type), static_cast<std::int64_t>(bytes)};
}

at::Tensor PytorchFile::read(const std::string& name) const {
  const auto& found = entry(name);
  const auto element = c10::elementSize(found.type);
  const auto part = found.storage.subspan(static_cast<std::size_t>(found.offset) * element, found.reach * element);
  if (found.elements == 0) return tensor_over({}, found.type, sizes(found));
  const auto tensor = tensor_over(part, found.type, {static_cast<std::int64_t>(found.reach)})
                          .as_strided(sizes(found), strides(found))
                          .contiguous();
  return is_big_endian_ ? with_swapped_bytes(tensor) : tensor;
}

}  // namespace normtweak::formats
