#include "normtweak/formats/gguf_writer.h"

#include <ostream>
#include <unordered_set>

#include "normtweak/base/error.h"

namespace normtweak::formats {
namespace {

constexpr std::uint32_t kVersion = 3;

template <class Number>
void append(std::string& bytes, Number value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

std::string where(const GgufTensorToWrite& tensor) { return fmt::format("tensor {}", tensor.name); }

std::uint64_t bytes_of(const GgufTensorToWrite& tensor) {
  return gguf_stored_size(*tensor.type, tensor.shape, where(tensor));
}

void append_description(std::string& header, const GgufTensorToWrite& tensor, std::uint64_t offset) {
  if (tensor.shape.size() > kMostGgufDimensions) {
    fail("{}: {} dimensions, GGUF has at most {}", where(tensor), tensor.shape.size(), kMostGgufDimensions);
  }
  append(header, std::uint64_t{tensor.name.size()});
  header += tensor.name;
  append(header, static_cast<std::uint32_t>(tensor.shape.size()));
  for (auto extent = tensor.shape.rbegin(); extent != tensor.shape.rend(); ++extent) {  // innermost first
    append(header, static_cast<std::uint64_t>(*extent));
  }
  append(header, tensor.type->id);
  append(header, offset);
}

void write_zeros(std::ostream& file, std::uint64_t count) {
  const std::string zeros(count, '\0');
  file.write(zeros.data(), static_cast<std::streamsize>(count));
}

void write_data(std::ostream& file, const GgufTensorToWrite& tensor) {
  const auto expected = bytes_of(tensor);
  std::uint64_t written = 0;
  tensor.write([&](std::span<const std::byte> bytes) {
    written += bytes.size();
    file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  });
  if (written != expected) fail("{}: {} bytes were announced, {} came", where(tensor), expected, written);
}

}  // namespace

std::string gguf_header(const GgufKeys& keys, std::span<const GgufTensorToWrite> tensors) {
  const auto alignment = keys.alignment();
  std::string header = "GGUF";
  append(header, kVersion);
  append(header, std::uint64_t{tensors.size()});
  append(header, std::uint64_t{keys.size()});
  header += keys.bytes();
  std::unordered_set<std::string_view> names;
  std::uint64_t offset = 0;
  for (const auto& tensor : tensors) {
    if (!names.insert(tensor.name).second) {
      fail("{}: the name is taken; each tensor of a GGUF file needs its own", where(tensor));
    }
    append_description(header, tensor, offset);
    offset = gguf_aligned(offset + bytes_of(tensor), alignment);
  }
  header.resize(gguf_aligned(header.size(), alignment), '\0');
  return header;
}

void write_gguf(const std::filesystem::path& path, const GgufKeys& keys, std::span<const GgufTensorToWrite> tensors,
                WriteFile* write) {
  const auto header = gguf_header(keys, tensors);
  const auto alignment = keys.alignment();
  write(path, [&](std::ostream& file) {
    file << header;
    for (const auto& tensor : tensors) {
      write_data(file, tensor);
      write_zeros(file, gguf_aligned(bytes_of(tensor), alignment) - bytes_of(tensor));
      if (!file) return;  // disk full: do not create the other tensors; the caller reports it
    }
  });
}

std::uint64_t gguf_file_bytes(const GgufKeys& keys, std::span<const GgufTensorToWrite> tensors) {
  auto bytes = std::uint64_t{gguf_header(keys, tensors).size()};
  for (const auto& tensor : tensors) bytes += gguf_aligned(bytes_of(tensor), keys.alignment());
  return bytes;
}

}  // namespace normtweak::formats
