#include "sources.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <fstream>
#include <numeric>
#include <span>

#include "contract.h"
#include "normtweak/base/error.h"

namespace normtweak::fuzz {
namespace fs = std::filesystem;

MemoryFile::MemoryFile(std::string_view bytes) : file_(::memfd_create("fuzz", MFD_CLOEXEC)) {
  require(file_ >= 0, "a file in memory can be made");
  require(::write(file_, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()), "memory can be written to");
}

MemoryFile::~MemoryFile() { ::close(file_); }

fs::path MemoryFile::path() const { return fmt::format("/proc/self/fd/{}", file_); }

Folder::Folder(const std::function<void(const fs::path&)>& fill)
    : path_(fs::temp_directory_path() / fmt::format("normtweak-fuzz-{}", ::getpid())) {
  fs::create_directories(path_);
  fill(path_);
}

Folder::~Folder() {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(path_)) fs::remove(entry.path(), ignored);
  fs::remove(path_, ignored);
}

void Folder::write(std::string_view name, std::string_view bytes) const {
  std::ofstream(path_ / name, std::ios::binary) << bytes;
}

void read_all(const formats::TensorSource& source) {
  for (const auto& name : source.names()) {
    const auto info = source.info(name);
    const auto tensor = source.read(name);
    require(tensor.scalar_type() == info.type && tensor.sizes() == info.shape, "a tensor is what info() says of it");
    const auto flat = tensor.contiguous();
    const std::span bytes(static_cast<const std::uint8_t*>(flat.const_data_ptr()), flat.nbytes());
    [[maybe_unused]] const volatile auto sum = std::accumulate(bytes.begin(), bytes.end(), 0U);  // touches each byte
  }
}

}  // namespace normtweak::fuzz
