// Formats of quantized weights in Hugging Face folders. A format is one row of the table below and one file: which
// configs are its own, how the tensors of a linear become a weight with its codes kept, where its floats stand, how it
// is written, and who reads it. Nothing outside this folder knows a name or suffix of these tensors.
#pragma once
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/base/json/json.h"
#include "normtweak/formats/linears/written_family.h"
#include "normtweak/formats/readers.h"
#include "normtweak/formats/safetensors.h"
#include "normtweak/formats/tensor_source.h"
#include "normtweak/weights/weight.h"

namespace normtweak::formats {

// The tensors of one quantized linear; the first holds its codes.
struct StoredLinear {
  std::string module;  // "model.layers.0.mlp.up_proj", as the file has it
  std::vector<std::string> tensors;
};

// How the linears of one folder are stored.
class QuantizedLinears {
 public:
  virtual ~QuantizedLinears() = default;

  // What tensors of this format are called in reports, such as "gptq"; a literal.
  virtual std::string_view name() const = 0;

  // Those that `file` stores quantized, by the names of its tensors. Throws Error naming file and tensor if the config
  // says otherwise of one of them.
  virtual std::vector<StoredLinear> find(const TensorSource& file) const = 0;

  // One of them, with its codes. Throws Error naming file, tensor, what was expected and found.
  virtual weights::Weight read(const TensorSource& file, const std::string& module) const = 0;
  // The same without data (tensors of the meta device), from shapes alone.
  virtual weights::Weight outline(const TensorSource& file, const std::string& module) const = 0;

  // How servers round the input of this linear; nullopt: not at all, or in a way that is not known here, which a note
  // of open() says.
  virtual std::optional<weights::ActivationQuantizer> input_quantizer(const TensorSource& /*file*/,
                                                                      const std::string& /*module*/) const {
    return std::nullopt;
  }

  // The tensors that hold the floats of `weight`, as the file has them but in any float dtype; all others stay.
  virtual NamedTensors floats(const TensorSource& file, const std::string& module,
                              const weights::Weight& weight) const = 0;

  // Whether the config says that this linear is quantized; where it does not tell, the tensors decide.
  virtual bool expects_codes(const std::string& /*module*/) const { return false; }

  // What other programs may read otherwise, or what is odd, one line each: for reports.
  virtual std::vector<std::string> doubts(const TensorSource& /*file*/, const std::string& /*module*/) const {
    return {};
  }
};

// A linear of a checkpoint that is written or judged. Its weight may be an outline.
struct QuantizedModule {
  std::string name;
  weights::Weight weight;
  std::optional<weights::ActivationQuantizer> input_quantizer = {};  // nullopt: its input is not rounded
};

struct QuantizationFormat {
  std::string_view name;         // of --format, and mostly `quant_method`
  std::string_view description;  // for --help; empty: it is read, but not written
  // Whether a `quantization_config` is of this format.
  bool (*recognises)(const Json& config);
  // Throws Error naming `origin` and what was found if the config asks for something unsupported. spellings: by which
  // the config may call the modules. notes: gets a line for what is read otherwise than the file says.
  std::unique_ptr<QuantizedLinears> (*open)(const Json& config, const std::string& origin,
                                            const ModuleSpellings& spellings, std::vector<std::string>& notes);
  // Who opens a checkpoint with this config and these linears. floats: the linears that are not quantized. head:
  // whether the head is among `modules`.
  std::vector<Reader> (*readers)(const Json& config, std::span<const QuantizedModule> modules,
                                 const std::vector<std::string>& floats, bool head);

  // Writing; null where the format is only read.
  // The `quantization_config`. floats: the model's other linears. Throws Error naming a module that the format cannot
  // hold, or linears whose settings it cannot hold side by side.
  Json (*make_config)(std::span<const QuantizedModule> modules, const std::vector<std::string>& floats,
                      const WrittenFamily& family) = nullptr;
  // The tensors of `module` in a checkpoint with that config, each made when it is loaded. Throws Error naming the
  // module if the format cannot hold the weight: at once where its shape and settings tell, else when it is loaded.
  std::vector<TensorToWrite> (*encode)(const Json& config, const QuantizedModule& module) = nullptr;
  std::string_view side_file = {};                // a copy of the config for some readers; empty: none
  std::optional<at::ScalarType> scale_type = {};  // dtype of the scales; nullopt: that of the other floats
};

std::span<const QuantizationFormat> quantization_formats();

// The row of a `quantization_config`. Throws Error naming `origin` and what was found if there is none.
const QuantizationFormat& find_quantization_format(const Json& config, std::string_view origin);

}  // namespace normtweak::formats
