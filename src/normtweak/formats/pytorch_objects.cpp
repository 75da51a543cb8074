#include "normtweak/formats/pytorch_objects.h"

#include <algorithm>
#include <array>

#include "normtweak/base/error.h"

namespace normtweak::formats {
namespace {

using Kind = PickleValue::Kind;

// What a value of the kind `named` is; `integer` is the type, the number of the storage, tensor or row of kNames.
enum class Named : std::uint32_t { storage_type, type, storage, tensor, name, other };

struct Type {
  std::string_view storage, name;  // of the class of its storages, if it has one, and of the dtype, both in `torch`
  at::ScalarType type;
};

constexpr std::array<Type, 26> kTypes = {{
    {"DoubleStorage", "float64", at::kDouble},
    {"FloatStorage", "float32", at::kFloat},
    {"HalfStorage", "float16", at::kHalf},
    {"BFloat16Storage", "bfloat16", at::kBFloat16},
    {"LongStorage", "int64", at::kLong},
    {"IntStorage", "int32", at::kInt},
    {"ShortStorage", "int16", at::kShort},
    {"CharStorage", "int8", at::kChar},
    {"ByteStorage", "uint8", at::kByte},
    {"BoolStorage", "bool", at::kBool},
    {"", "uint16", at::kUInt16},
    {"", "uint32", at::kUInt32},
    {"", "uint64", at::kUInt64},
    {"", "float8_e4m3fn", at::kFloat8_e4m3fn},
    {"", "float8_e5m2", at::kFloat8_e5m2},
    {"", "float8_e4m3fnuz", at::kFloat8_e4m3fnuz},
    {"", "float8_e5m2fnuz", at::kFloat8_e5m2fnuz},
    {"", "float8_e8m0fnu", at::kFloat8_e8m0fnu},
    {"", "complex32", at::kComplexHalf},
    {"ComplexFloatStorage", "complex64", at::kComplexFloat},
    {"ComplexDoubleStorage", "complex128", at::kComplexDouble},
    {"QInt8Storage", "qint8", at::kQInt8},
    {"QUInt8Storage", "quint8", at::kQUInt8},
    {"QInt32Storage", "qint32", at::kQInt32},
    {"QUInt4x2Storage", "quint4x2", at::kQUInt4x2},
    {"QUInt2x4Storage", "quint2x4", at::kQUInt2x4},
}};

enum class Role : std::uint8_t {
  tensor,          // (storage, offset, size, stride, ...)
  typed_tensor,    // the same with a dtype
  first_argument,  // stands for its first argument
  of_device,       // the same, if the dtype is right
  of_class,        // (another function, a class, its arguments, attributes)
  tensor_class,    // a class whose objects are plain tensors
  ordered_dict,    // ((), or a list of pairs)
  unread_tensor,   // refused where it is read
  other            // no tensor, and of no effect
};

struct Name {
  std::string_view module, name;
  Role role = Role::other;
  std::string_view problem = {};
};

constexpr std::size_t kMostExtents = 64;   // PyTorch's limit
constexpr std::size_t kLongestKey = 1024;  // of a storage; PyTorch's are numbers

constexpr std::string_view kUtils = "torch._utils";

constexpr std::array<Name, 45> kNames = {{
    {kUtils, "_rebuild_tensor", Role::tensor},
    {kUtils, "_rebuild_tensor_v2", Role::tensor},
    {kUtils, "_rebuild_tensor_v3", Role::typed_tensor},
    {kUtils, "_rebuild_parameter", Role::first_argument},
    {kUtils, "_rebuild_parameter_with_state", Role::first_argument},
    {kUtils, "_rebuild_device_tensor_from_cpu_tensor", Role::of_device},
    {"torch._tensor", "_rebuild_from_type_v2", Role::of_class},
    {"torch", "Tensor", Role::tensor_class},
    {"torch.nn.parameter", "Parameter", Role::tensor_class},
    {"torch.nn.parameter", "Buffer", Role::tensor_class},
    {"torch", "Size", Role::first_argument},
    {"collections", "OrderedDict", Role::ordered_dict},
    {kUtils, "_rebuild_sparse_tensor", Role::unread_tensor, "is sparse"},
    {kUtils, "_rebuild_sparse_csr_tensor", Role::unread_tensor, "is sparse"},
    {kUtils, "_rebuild_nested_tensor", Role::unread_tensor, "is a nested tensor"},
    {kUtils, "_rebuild_qtensor", Role::unread_tensor, "is quantized by PyTorch"},
    {kUtils, "_rebuild_meta_tensor_no_storage", Role::unread_tensor, "was saved without its data (device meta)"},
    {kUtils, "_rebuild_wrapper_subclass", Role::unread_tensor, "is of a class of its own"},
    {kUtils, "_rebuild_device_tensor_from_numpy", Role::unread_tensor, "was saved as a NumPy array"},
    {kUtils, "_rebuild_xla_tensor", Role::unread_tensor, "was saved as a NumPy array"},
    {"torch", "device"},
    {"torch", "per_tensor_affine"},
    {"torch", "per_tensor_symmetric"},
    {"torch", "per_channel_affine"},
    {"torch", "per_channel_symmetric"},
    {"torch", "per_channel_affine_float_qparams"},
    {"torch.serialization", "_get_layout"},
    {"collections", "Counter"},
    {"collections", "defaultdict"},
    {"_codecs", "encode"},
    {"builtins", "bytearray"},
    {"builtins", "complex"},
    {"builtins", "dict"},
    {"builtins", "set"},
    {"builtins", "slice"},
    {"__builtin__", "bytearray"},
    {"__builtin__", "complex"},
    {"__builtin__", "set"},
    {"numpy", "dtype"},
    {"numpy", "ndarray"},
    {"numpy.core.multiarray", "scalar"},
    {"numpy.core.multiarray", "_reconstruct"},
    {"numpy._core.multiarray", "scalar"},
    {"numpy._core.multiarray", "_reconstruct"},
    {"numpy._core.numeric", "_frombuffer"},
}};

PickleValue named(Named what, std::int64_t number) {
  PickleValue made;
  made.kind = Kind::named;
  made.size = static_cast<std::uint32_t>(what);
  made.integer = number;
  return made;
}

bool is_named(const PickleValue& value, Named what) {
  return value.is(Kind::named) && value.size == static_cast<std::uint32_t>(what);
}

const Name& row(const PickleValue& name) { return kNames.at(static_cast<std::size_t>(name.integer)); }

bool is_integers(const PickleValue& value) {
  return value.is(Kind::tuple) &&
         std::ranges::all_of(value.as_tuple(), [](const PickleValue& item) { return item.is(Kind::integer); });
}

// Whether metadata of a tensor change its values: `neg` or `conj`, or what is not known.
bool changes_values(const PickleValue* metadata) {
  if (metadata == nullptr || metadata->is(Kind::none)) return false;
  constexpr std::size_t kMany = 16;
  if (!metadata->is(Kind::dict) || metadata->items->values.size() > kMany) return true;
  const auto& items = metadata->items->values;
  for (std::size_t i = 1; i < items.size(); i += 2) {
    if (!items[i].is(Kind::boolean) || items[i].integer != 0) return true;
  }
  return false;
}

}  // namespace

void PytorchObjects::refuse_arguments(std::string_view what) const {
  fail("{}: the pickle in it describes {} in a way that is not PyTorch's; the file is damaged", origin_, what);
}

PickleValue PytorchObjects::global(std::string_view module, std::string_view name) {
  if (module == "torch") {
    for (const auto& type : kTypes) {
      if (name == type.storage) return named(Named::storage_type, static_cast<std::int64_t>(type.type));
      if (name == type.name) return named(Named::type, static_cast<std::int64_t>(type.type));
    }
  }
  if (module == "torch.storage" && name == "UntypedStorage") {
    return named(Named::storage_type, static_cast<std::int64_t>(at::kByte));
  }
  const auto* const found =
      std::ranges::find_if(kNames, [&](const Name& row) { return row.module == module && row.name == name; });
  if (found != kNames.end()) return named(Named::name, found - kNames.begin());
  fail(
      "{}: asks for the Python object {}.{}, which is no part of weights and may run a program; nothing was run; if "
      "you "
      "trust the file, load it in Python and save its state dict alone",
      origin_, module, name);
}

PickleValue PytorchObjects::call(const PickleValue& function, std::span<const PickleValue> arguments,
                                 PickleMemory& memory) {
  if (!is_named(function, Named::name)) refuse_arguments("a call");
  const auto& name = row(function);
  const auto has = [&](std::size_t count) {
    if (arguments.size() < count) refuse_arguments(name.name);
  };
  switch (name.role) {
    case Role::tensor:
      return rebuild(arguments, {}, arguments.size() > 6 ? &arguments[6] : nullptr, memory);
    case Role::typed_tensor:
      has(7);
      if (!is_named(arguments[6], Named::type)) refuse_arguments("a dtype");
      return rebuild(arguments, static_cast<at::ScalarType>(arguments[6].integer),
                     arguments.size() > 7 ? &arguments[7] : nullptr, memory);
    case Role::tensor_class:
    case Role::first_argument:
      has(1);
      return arguments[0];
    case Role::of_device:
      has(2);
      return of_device(arguments, memory);
    case Role::of_class:
      has(3);
      return of_class(arguments, memory);
    case Role::ordered_dict:
      return ordered_dict(arguments, memory);
    case Role::unread_tensor:
      return add_tensor({.problem = name.problem}, memory);
    case Role::other:
      break;
  }
  return named(Named::other, 0);
}

PickleValue PytorchObjects::rebuild(std::span<const PickleValue> arguments, std::optional<at::ScalarType> type,
                                    const PickleValue* metadata, PickleMemory& memory) {
  if (arguments.size() >= 4 && arguments[2].is(Kind::tuple) && arguments[2].size > kMostExtents) {
    fail("{}: a tensor in it has {} dimensions, more than the {} of PyTorch; the file is damaged", origin_,
         arguments[2].size, kMostExtents);
  }
  const bool is_sound = arguments.size() >= 4 && is_named(arguments[0], Named::storage) &&
                        arguments[1].is(Kind::integer) && arguments[2].size == arguments[3].size &&
                        is_integers(arguments[2]) && is_integers(arguments[3]);
  if (!is_sound) refuse_arguments("a tensor");
  const auto storage = static_cast<std::uint32_t>(arguments[0].integer);
  return add_tensor({.storage = storage,
                     .type = type.value_or(storages_[storage].type),
                     .offset = arguments[1].integer,
                     .sizes = arguments[2].as_tuple(),
                     .strides = arguments[3].as_tuple(),
                     .problem = changes_values(metadata) ? "is a negated or conjugated view" : ""},
                    memory);
}

// Python 2 hands its items over, Python 3 adds them later.
PickleValue PytorchObjects::ordered_dict(std::span<const PickleValue> arguments, PickleMemory& memory) const {
  const auto made = memory.items(Kind::dict);
  if (arguments.empty()) return made;
  if (!arguments[0].is(Kind::list)) refuse_arguments("an OrderedDict");
  for (const auto& pair : arguments[0].items->values) {
    const bool is_list = pair.is(Kind::list);
    if (!is_list && !pair.is(Kind::tuple)) refuse_arguments("an OrderedDict");
    const auto both = is_list ? std::span<const PickleValue>(pair.items->values) : pair.as_tuple();
    if (both.size() != 2) refuse_arguments("an OrderedDict");
    memory.append(*made.items, both);
  }
  return made;
}

PickleValue PytorchObjects::of_device(std::span<const PickleValue> arguments, PickleMemory& memory) {
  const auto* data = tensor(arguments[0]);
  if (data == nullptr || !is_named(arguments[1], Named::type)) refuse_arguments("a tensor of a device");
  if (data->type == static_cast<at::ScalarType>(arguments[1].integer)) return arguments[0];
  return add_tensor({.problem = "is stored in another type than it has"}, memory);
}

PickleValue PytorchObjects::of_class(std::span<const PickleValue> arguments, PickleMemory& memory) {
  const auto is_role = [&](const PickleValue& value, Role role) {
    return is_named(value, Named::name) && row(value).role == role;
  };
  if (!is_named(arguments[0], Named::name) || is_role(arguments[0], Role::of_class) ||
      !is_role(arguments[1], Role::tensor_class) || !arguments[2].is(Kind::tuple)) {
    refuse_arguments("a tensor of a class");
  }
  return call(arguments[0], arguments[2].as_tuple(), memory);
}

PickleValue PytorchObjects::add_tensor(const PytorchTensor& tensor, PickleMemory& memory) {
  memory.spend(sizeof tensor);
  tensors_.push_back(tensor);
  return named(Named::tensor, static_cast<std::int64_t>(tensors_.size() - 1));
}

PickleValue PytorchObjects::persistent(const PickleValue& id, PickleMemory& memory) {
  const auto parts = id.is(Kind::tuple) ? id.as_tuple() : std::span<const PickleValue>();
  if (!parts.empty() && parts[0].is(Kind::text) && parts[0].as_text() == "module") {
    fail("{}: holds a whole Python module, not its weights alone; save model.state_dict() instead", origin_);
  }
  const bool is_sound = parts.size() >= 5 && parts[0].is(Kind::text) && parts[0].as_text() == "storage" &&
                        is_named(parts[1], Named::storage_type) && parts[2].is(Kind::text) &&
                        parts[2].size <= kLongestKey && parts[4].is(Kind::integer) && parts[4].integer >= 0;
  if (!is_sound) refuse_arguments("a storage");
  const auto storage = add_storage({.type = static_cast<at::ScalarType>(parts[1].integer),
                                    .key = parts[2].as_text(),
                                    .elements = static_cast<std::uint64_t>(parts[4].integer)},
                                   memory);
  if (parts.size() > 5 && !parts[5].is(Kind::none)) return part_of(storage, parts[5], memory);
  return named(Named::storage, storage);
}

// `view`: (key, first element, elements).
PickleValue PytorchObjects::part_of(std::uint32_t whole, const PickleValue& view, PickleMemory& memory) {
  const auto parts = view.is(Kind::tuple) ? view.as_tuple() : std::span<const PickleValue>();
  if (parts.size() != 3 || !parts[1].is(Kind::integer) || !parts[2].is(Kind::integer)) {
    refuse_arguments("a part of a storage");
  }
  const auto first = parts[1].integer, elements = parts[2].integer;
  const auto all = static_cast<std::int64_t>(storages_[whole].elements);
  if (first < 0 || elements < 0 || first > all || elements > all - first) refuse_arguments("a part of a storage");
  memory.spend(sizeof(PytorchStorage));
  storages_.push_back({.type = storages_[whole].type,
                       .elements = static_cast<std::uint64_t>(elements),
                       .whole = whole,
                       .first = static_cast<std::uint64_t>(first)});
  return named(Named::storage, static_cast<std::int64_t>(storages_.size() - 1));
}

std::uint32_t PytorchObjects::add_storage(const PytorchStorage& storage, PickleMemory& memory) {
  const auto [found, is_new] = storage_of_key_.emplace(storage.key, static_cast<std::uint32_t>(storages_.size()));
  if (!is_new) {
    const auto& earlier = storages_[found->second];
    if (earlier.type == storage.type && earlier.elements == storage.elements) return found->second;
    fail("{}: storage {} is described twice and not alike; the file is damaged", origin_, storage.key);
  }
  constexpr std::uint64_t kNodeBytes = 64;  // of the map
  memory.spend(sizeof storage + kNodeBytes);
  storages_.push_back(storage);
  return found->second;
}

const PytorchTensor* PytorchObjects::tensor(const PickleValue& value) const {
  return is_named(value, Named::tensor) ? &tensors_[static_cast<std::size_t>(value.integer)] : nullptr;
}

std::optional<std::uint32_t> PytorchObjects::find_storage(std::string_view key) const {
  const auto found = storage_of_key_.find(key);
  return found == storage_of_key_.end() ? std::nullopt : std::optional<std::uint32_t>(found->second);
}

}  // namespace normtweak::formats
