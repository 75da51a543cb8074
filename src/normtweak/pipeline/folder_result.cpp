#include "normtweak/pipeline/folder_result.h"

#include "normtweak/pipeline/save_checkpoint.h"
#include "normtweak/pipeline/save_formats.h"
#include "normtweak/pipeline/stored_floats.h"
#include "normtweak/pipeline/types_in_result.h"

namespace normtweak::pipeline {
namespace {

class FolderResult : public ResultWriter {
 public:
  FolderResult(const model::Checkpoint& original, const SaveFormat& format, at::ScalarType stored)
      : original_(original), format_(format), stored_(stored), converts_(converts_floats(original, stored)) {}

  at::ScalarType float_type() const override { return stored_; }

  std::int64_t follow(const std::vector<PlannedLinear>& linears) override {
    return estimated_bytes(original_, stored_, format_, linears);
  }

  void check_floats(const quantize::QuantizationPlan& plan) const override {
    if (converts_) check_stored_type(original_, stored_, plan);
  }

  bool rounds_outside() const override { return converts_; }
  model::Decoder as_stored_outside(model::Decoder decoder) const override {
    return converts_ ? with_stored_outside(std::move(decoder), stored_) : decoder;
  }

  void write(const model::Decoder& decoder, const std::filesystem::path& output,
             const std::filesystem::path& copy) const override {
    save_checkpoint(original_, decoder, output, format_, copy);
  }

  bool copy_has_format_of_result() const override { return &copy_format() == &format_; }
  std::int64_t copy_bytes(const model::Decoder& decoder) const override {
    return saved_bytes(original_, decoder, copy_format());
  }
  void write_copy(const model::Decoder& decoder, const std::filesystem::path& place) const override {
    save_checkpoint(original_, decoder, place, copy_format());
  }

 private:
  // That of the result if it holds codes, otherwise one that holds those of any folder.
  const SaveFormat& copy_format() const {
    return format_.codes != nullptr ? format_ : find_save_format("compressed-tensors");
  }

  const model::Checkpoint& original_;
  const SaveFormat& format_;
  at::ScalarType stored_;
  bool converts_;  // the dtype of floats
};

}  // namespace

std::unique_ptr<ResultWriter> folder_result(const model::Checkpoint& original, const SaveFormat& format,
                                            const StoreOptions& options) {
  return std::make_unique<FolderResult>(original, format, options.store_type.value_or(original.result_type));
}

}  // namespace normtweak::pipeline
