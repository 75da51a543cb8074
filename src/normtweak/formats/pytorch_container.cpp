#include "normtweak/formats/pytorch_container.h"

#include <algorithm>

#include "normtweak/base/error.h"
#include "normtweak/base/files/file_kind.h"
#include "normtweak/formats/byte_cursor.h"
#include "normtweak/formats/tensor_bytes.h"
#include "normtweak/formats/zip_entries.h"

namespace normtweak::formats {
namespace {

using namespace std::string_view_literals;
using Bytes = std::span<const std::byte>;
using Kind = PickleValue::Kind;

constexpr auto kMagicNumber = "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"sv;
constexpr std::int64_t kVersion = 1001;
constexpr std::byte kFirstOfPickle{0x80};
constexpr auto kPickleName = "data.pkl"sv;

std::string_view text_of(Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

std::uint64_t bytes_of(const PytorchStorage& storage, const std::string& origin) {
  const auto size = checked_product(storage.elements, c10::elementSize(storage.type));
  if (!size)
    fail("{}: storage {} has {} elements, too many; the file is damaged", origin, storage.key, storage.elements);
  return *size;
}

void check_state_dict(const PickleValue& saved, std::string_view origin) {
  if (saved.is(Kind::dict)) return;
  fail("{}: holds no state dict (names and tensors); save model.state_dict()", origin);
}

// The folder of the archive, with a slash behind it.
std::string_view folder_of(const ZipEntries& entries, std::string_view origin) {
  std::optional<std::string_view> folder;
  for (const auto& [name, entry] : entries) {
    if (name != kPickleName && !name.ends_with("/data.pkl")) continue;
    if (folder) fail("{}: has a data.pkl in several folders; the file is not of torch.save", origin);
    folder = name.substr(0, name.size() - kPickleName.size());
  }
  if (!folder)
    fail("{}: a zip archive without data.pkl, which torch.save writes; it holds no weights of PyTorch", origin);
  return *folder;
}

// The content of the entry of that name; nullopt if there is none.
std::optional<Bytes> find(const ZipEntries& entries, std::string_view folder, std::string_view name,
                          std::string_view origin) {
  const auto found = entries.find(std::string(folder).append(name));
  if (found == entries.end()) return std::nullopt;
  const auto& [stored, problem] = found->second;
  if (problem.empty()) return stored;
  fail("{}: {} in this zip archive {}, which torch.save does not do; unpack it and zip it without compression", origin,
       found->first, problem);
}

void place_entry(const ZipEntries& entries, std::string_view folder, const std::string& origin,
                 PytorchStorage& storage) {
  const auto size = bytes_of(storage, origin);
  const auto found = find(entries, folder, fmt::format("data/{}", storage.key), origin);
  if (!found) {
    if (size == 0) return;
    fail("{}: has no storage {}, whose tensors it names; the file is damaged", origin, storage.key);
  }
  // Bytes that make up no whole element may follow.
  if (found->size() < size || found->size() - size >= c10::elementSize(storage.type)) {
    fail("{}: storage {} has {} bytes, {} are announced; the file is damaged", origin, storage.key, found->size(),
         size);
  }
  storage.bytes = found->first(size);
}

// Of the file: the pages of storages are not in memory while the pickle is read.
std::uint64_t unread_bytes(Bytes bytes, Bytes pickle, const ZipEntries& entries) {
  constexpr std::uint64_t kBytesOfEntry = 192;  // of its row in the directory, and in `entries`
  const auto read = pickle.size() + entries.size() * kBytesOfEntry;
  return bytes.size() - std::min<std::uint64_t>(bytes.size(), read);
}

PytorchContainer read_archive(Bytes bytes, const std::string& origin, PytorchObjects& objects, PickleMemory& memory) {
  const auto entries = read_zip_entries(bytes, origin);
  const auto folder = folder_of(entries, origin);
  if (entries.contains(std::string(folder).append("constants.pkl"))) {
    fail("{}: is a TorchScript program, not weights alone; load it with torch.jit.load() and save its state_dict()",
         origin);
  }
  const auto order = find(entries, folder, "byteorder", origin);
  const auto order_name = order ? text_of(*order) : "little"sv;
  if (order_name != "little" && order_name != "big") {
    fail("{}: byteorder is `{}`, neither little nor big; the file is damaged", origin, order_name);
  }
  const auto pickle = *find(entries, folder, kPickleName, origin);
  memory.allow(unread_bytes(bytes, pickle, entries));
  const auto saved = read_pickle(pickle, origin, objects, memory).value;
  check_state_dict(saved, origin);
  for (auto& storage : objects.storages()) {
    if (!storage.whole) place_entry(entries, folder, origin, storage);
  }
  return {saved, order_name == "big"};
}

void place_all(Bytes bytes, const PickleValue& keys, const std::string& origin, PytorchObjects& objects) {
  if (!keys.is(Kind::list)) fail("{}: the list of its storages is missing; the file is damaged", origin);
  auto& storages = objects.storages();
  std::vector<bool> is_placed(storages.size());
  ByteCursor cursor(bytes, origin);
  for (const auto& key : keys.items->values) {
    const auto place = key.is(Kind::text) ? objects.find_storage(key.as_text()) : std::nullopt;
    if (!place || is_placed[*place])
      fail("{}: lists a storage that no tensor has, or twice; the file is damaged", origin);
    auto& storage = storages[*place];
    const auto elements = cursor.number<std::uint64_t>("a storage");
    if (elements != storage.elements) {
      fail("{}: storage {} has {} elements, {} are announced; the file is damaged", origin, storage.key, elements,
           storage.elements);
    }
    storage.bytes = cursor.take(bytes_of(storage, origin), "a storage");
    is_placed[*place] = true;
  }
  for (std::size_t i = 0; i < storages.size(); ++i) {
    if (is_placed[i] || storages[i].whole) continue;
    fail("{}: has no storage {}, whose tensors it names; the file is damaged", origin, storages[i].key);
  }
}

PytorchContainer read_pickles(Bytes bytes, const std::string& origin, PytorchObjects& objects, PickleMemory& memory) {
  const auto next = [&] {
    const auto pickle = read_pickle(bytes, origin, objects, memory);
    bytes = bytes.subspan(pickle.size);
    return pickle.value;
  };
  const auto magic = next();
  if (!magic.is(Kind::large_integer) || magic.as_text() != kMagicNumber) {
    fail("{}: is a Python pickle that torch.save did not write; save the state dict with torch.save", origin);
  }
  const auto version = next();
  if (!version.is(Kind::integer) || version.integer != kVersion) {
    fail("{}: not version {} of PyTorch's older layout; the file is damaged", origin, kVersion);
  }
  next();
  const auto saved = next();
  check_state_dict(saved, origin);
  place_all(bytes, next(), origin, objects);
  return {saved};
}

// Parts of storages, once these are placed.
void place_parts(std::deque<PytorchStorage>& storages) {
  for (auto& storage : storages) {
    if (!storage.whole) continue;
    const auto size = c10::elementSize(storage.type);
    storage.bytes = storages[*storage.whole].bytes.subspan(storage.first * size, storage.elements * size);
  }
}

}  // namespace

PytorchContainer read_pytorch_container(Bytes bytes, const std::string& origin, PytorchObjects& objects,
                                        PickleMemory& memory) {
  const bool is_archive = begins_as_zip(bytes);
  if (!is_archive && (bytes.empty() || bytes.front() != kFirstOfPickle)) {
    refuse_mistaken(text_of(bytes), Expected::pytorch, origin);
    fail("{}: not a file of torch.save (a zip archive, or pickles of protocol 2 to 5)", origin);
  }
  const auto found =
      is_archive ? read_archive(bytes, origin, objects, memory) : read_pickles(bytes, origin, objects, memory);
  place_parts(objects.storages());
  return found;
}

}  // namespace normtweak::formats
