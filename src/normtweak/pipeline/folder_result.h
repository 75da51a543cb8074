// The result of `quantize` as a folder that readers of Hugging Face checkpoints open.
#pragma once
#include <memory>

#include "normtweak/model/checkpoint.h"
#include "normtweak/pipeline/result_writer.h"

namespace normtweak::pipeline {

struct SaveFormat;
struct StoreOptions;

// As save_checkpoint.h writes it. The copy from which a tweak can go on is packed, even where the result is an export.
std::unique_ptr<ResultWriter> folder_result(const model::Checkpoint& original, const SaveFormat& format,
                                            const StoreOptions& options);

}  // namespace normtweak::pipeline
