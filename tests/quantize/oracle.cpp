#include "oracle.h"

#include <ATen/ops/from_blob.h>

#include <filesystem>
#include <regex>

#include "normtweak/base/error.h"
#include "normtweak/base/files/file.h"

namespace normtweak::test {
namespace {

const std::filesystem::path kFolder = NORMTWEAK_ORACLE_FOLDER;

}  // namespace

Json oracle_cases(const std::string& suite) { return read_json(kFolder / "cases.json").at(suite); }

// .npy, version 1: "\x93NUMPY", two bytes of version, u16 length of the header, the header as a Python dictionary,
// data.
at::Tensor oracle_array(const std::string& name) {
  const auto file = read_file(kFolder / (name + ".npy"));
  const auto length = static_cast<unsigned char>(file.at(8)) + 256U * static_cast<unsigned char>(file.at(9));
  const auto header = file.substr(10, length);
  std::smatch type, shape;
  if (!std::regex_search(header, type, std::regex("'descr': '[<|](f4|u1)'")) ||
      !std::regex_search(header, shape, std::regex(R"('shape': \(([\d, ]+)\))"))) {
    fail("{}.npy: not an array of f32 or u8: {}", name, header);
  }
  std::vector<std::int64_t> sizes;
  const auto numbers = shape[1].str();
  const std::regex digits("\\d+");
  for (std::sregex_iterator number(numbers.begin(), numbers.end(), digits), end; number != end; ++number) {
    sizes.push_back(std::stoll(number->str()));
  }
  auto data = file.substr(10 + length);
  return at::from_blob(data.data(), sizes, type[1] == "f4" ? at::kFloat : at::kByte).clone();
}

}  // namespace normtweak::test
