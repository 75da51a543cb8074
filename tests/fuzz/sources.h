// What targets share: bytes as a file that has a path, and tensors read to their last byte.
#pragma once
#include <filesystem>
#include <functional>
#include <string_view>

#include "normtweak/formats/tensor_source.h"

namespace normtweak::fuzz {

// Bytes under a path that nothing is written to disk for; gone with this.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view bytes);
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile();

  std::filesystem::path path() const;

 private:
  int file_;
};

// A folder of its own, for readers that look beside a file; gone with this.
class Folder {
 public:
  explicit Folder(const std::function<void(const std::filesystem::path& folder)>& fill);
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder();

  const std::filesystem::path& path() const { return path_; }
  void write(std::string_view name, std::string_view bytes) const;

 private:
  std::filesystem::path path_;
};

// Every tensor with its description, and every byte of it.
void read_all(const formats::TensorSource& source);

}  // namespace normtweak::fuzz
