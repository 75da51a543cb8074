// What the tests of formats share: where the oracles wrote, a folder to write to, bytes put together by hand.
#pragma once
#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>

#include "normtweak/base/error.h"
#include "normtweak/base/files/temporary_path.h"
#include "normtweak/formats/safetensors.h"

namespace normtweak::formats {

inline std::filesystem::path oracle_folder(const char* part) {
  const char* folder = std::getenv("NORMTWEAK_FORMATS_ORACLE");
  return std::filesystem::path(folder != nullptr ? folder : "") / part;
}

// The oracles need Python packages; without these their tests are skipped.
#define REQUIRE_ORACLE(folder) \
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no oracle output: run ctest, with requirements-test.txt"

class TemporaryFolder {
 public:
  TemporaryFolder() : path_(std::filesystem::temp_directory_path() / unique_name()) {
    std::filesystem::create_directories(path_);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() { remove_tree(path_); }
  const std::filesystem::path& path() const { return path_; }

 private:
  static std::string unique_name() {
    static std::atomic<int> count = 0;
    return fmt::format("normtweak-formats-{}-{}", ::getpid(), count++);
  }
  std::filesystem::path path_;
};

inline std::span<const std::byte> as_bytes(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

// The little-endian bytes of a number.
template <class Number>
std::string raw(Number value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

inline std::string hex(const at::Tensor& tensor) {
  const auto data = tensor.contiguous();
  const auto* bytes = static_cast<const unsigned char*>(data.const_data_ptr());
  std::string text;
  for (std::size_t i = 0; i < data.nbytes(); ++i) text += fmt::format("{:02x}", bytes[i]);
  return text;
}

// What a writer would make of them, all at once.
inline NamedTensors made(const std::vector<TensorToWrite>& tensors) {
  NamedTensors all;
  for (const auto& tensor : tensors) all.emplace_back(tensor.name, tensor.load());
  return all;
}

// Names the cases of a table by their field `name`.
inline constexpr auto by_name = [](const auto& row) { return row.param.name; };

// The message of the Error that `action` throws; a failure of the test if it throws none.
template <class Action>
std::string error_of(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "no Error was thrown";
  return {};
}

}  // namespace normtweak::formats
