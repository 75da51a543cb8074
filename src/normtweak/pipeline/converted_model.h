// A quantized model in another format, where that loses nothing.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "normtweak/formats/readers.h"

namespace normtweak::pipeline {

// What is known before anything is written: the constructors of what implements this throw Error naming a linear and
// the reason if the format cannot hold it as it is.
class ConvertedModel {
 public:
  ConvertedModel() = default;
  ConvertedModel(const ConvertedModel&) = delete;
  ConvertedModel& operator=(const ConvertedModel&) = delete;
  virtual ~ConvertedModel() = default;

  virtual std::int64_t linears() const = 0;  // quantized ones
  virtual std::string from() const = 0;      // kinds of weights that the source has
  virtual std::int64_t bytes() const = 0;
  virtual std::vector<formats::Reader> readers() const = 0;
  // Created, or replaced, atomically.
  virtual void write(const std::filesystem::path& output) const = 0;
};

}  // namespace normtweak::pipeline
