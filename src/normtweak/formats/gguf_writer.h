// Writes GGUF files (version 3; formats/gguf.h draws their bytes): metadata with the types that their readers ask for,
// and tensors that are made one after the other, while they are written.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/base/files/file.h"
#include "normtweak/formats/gguf_layout.h"

namespace normtweak::formats {

// The metadata of a file, in the order of the file.
class GgufKeys {
 public:
  // A value takes the place of an earlier one of that name. llama.cpp refuses a value of another type than it asks for.
  void put(std::string_view name, std::uint32_t value);
  void put(std::string_view name, std::int32_t value);
  void put(std::string_view name, float value);
  void put(std::string_view name, bool value);
  void put(std::string_view name, std::string_view value);
  void put(std::string_view name, const char* value) { put(name, std::string_view(value)); }
  void put(std::string_view name, const std::vector<std::string>& values);
  void put(std::string_view name, const std::vector<std::int32_t>& values);
  void put(std::string_view name, const std::vector<float>& values);
  void put(std::string_view name, const std::vector<std::uint8_t>& values);
  void put(std::string_view name, const std::vector<bool>& values);
  // stored: the value with its type, as GgufFile::stored_key() returns it.
  void put_stored(std::string_view name, std::span<const std::byte> stored);

  void remove(std::string_view name);
  bool contains(std::string_view name) const { return find(name) != nullptr; }
  std::size_t size() const { return keys_.size(); }
  // `general.alignment`, or what its absence means. Throws Error if it is no power of two in a u32.
  std::uint64_t alignment() const;
  // As they stand in the file.
  std::string bytes() const;

 private:
  struct Key {
    std::string name, stored;
  };
  const Key* find(std::string_view name) const;
  void set(std::string_view name, std::string stored);

  std::vector<Key> keys_;
};

// Takes the next bytes of a tensor.
using GgufSink = std::function<void(std::span<const std::byte>)>;

struct GgufTensorToWrite {
  std::string name;
  const GgmlType* type = nullptr;
  std::vector<std::int64_t> shape;  // row-major, [out, in] for a linear
  // Hands the tensor's bytes on, all at once or in pieces, so that a tensor larger than memory can be written.
  std::function<void(const GgufSink& sink)> write;
};

// The header with the descriptions of the tensors, up to where their data begin. Throws Error naming a tensor whose
// name occurs twice, or whose shape GGUF cannot hold.
std::string gguf_header(const GgufKeys& keys, std::span<const GgufTensorToWrite> tensors);

// `write`: how the file is written. Throws Error as gguf_header() does, or naming a tensor whose bytes are more or
// fewer than its type and shape need.
void write_gguf(const std::filesystem::path& path, const GgufKeys& keys, std::span<const GgufTensorToWrite> tensors,
                WriteFile* write = write_file_atomically);

// The size of the file that this will write.
std::uint64_t gguf_file_bytes(const GgufKeys& keys, std::span<const GgufTensorToWrite> tensors);

}  // namespace normtweak::formats
