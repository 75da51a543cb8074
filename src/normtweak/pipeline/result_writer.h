// How the result of `quantize` is stored: what is known of it before the work starts, and its writing.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "normtweak/model/decoder.h"
#include "normtweak/pipeline/planned_linears.h"
#include "normtweak/quantize/plan.h"

namespace normtweak::pipeline {

// A row of weights::kBlockTypes for each linear, by the names of both; empty: it stays float.
using BlockTypes = std::map<std::string, std::string, std::less<>>;

class ResultWriter {
 public:
  ResultWriter() = default;
  ResultWriter(const ResultWriter&) = delete;
  ResultWriter& operator=(const ResultWriter&) = delete;
  virtual ~ResultWriter() = default;

  // The dtype of norms and biases.
  virtual at::ScalarType float_type() const = 0;
  // The block types that the format prescribes, by linear; empty: none, its linears are quantized as the plan says.
  virtual BlockTypes block_types() const { return {}; }

  // Takes what becomes of the linears, and returns the bytes of the result. Throws Error naming a linear that cannot be
  // stored so.
  virtual std::int64_t follow(const std::vector<PlannedLinear>& linears) = 0;
  // Throws Error naming a float of the original that does not fit into its dtype in the result. Reads all of them if
  // their dtype changes.
  virtual void check_floats(const quantize::QuantizationPlan& plan) const = 0;

  // Whether tensors outside the blocks are rounded; and a decoder with them as readers of the result see them, in their
  // own dtype.
  virtual bool rounds_outside() const = 0;
  virtual model::Decoder as_stored_outside(model::Decoder decoder) const = 0;

  // decoder: the quantized version of the original. Created, or replaced, atomically. copy: beside the output, what
  // write_copy() wrote in the format of the result, which it becomes: only what differs is written. Empty: there is
  // none.
  virtual void write(const model::Decoder& decoder, const std::filesystem::path& output,
                     const std::filesystem::path& copy) const = 0;
  // The same in a form that keeps all codes, even if the result does not: from it the tweak can go on. The first says
  // whether that form is the result's own.
  virtual bool copy_has_format_of_result() const = 0;
  virtual std::int64_t copy_bytes(const model::Decoder& decoder) const = 0;
  virtual void write_copy(const model::Decoder& decoder, const std::filesystem::path& place) const = 0;
};

}  // namespace normtweak::pipeline
