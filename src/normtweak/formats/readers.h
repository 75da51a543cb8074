// Which programs open a checkpoint, and with what. A checkpoint is judged as a whole: a program that cannot read one of
// its linears cannot use it. What was tried and what was read in their sources stands in docs/formats.md.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/base/json/json.h"

namespace normtweak::formats {

struct Reader {
  std::string_view program;  // "transformers"
  bool opens = true;
  std::string note;  // what it takes to open it (empty: nothing), or why the program cannot
};

// Of a folder with float weights only, as Hugging Face models come.
std::vector<Reader> float_readers();

// Of a GGUF file.
std::vector<Reader> gguf_readers();

// "transformers (with compressed-tensors)"
std::string reader_text(const Reader& reader);

// [{"program": "vLLM", "opens": false, "note": "no kernel for 3 bits"}, ...]
Json readers_json(const std::vector<Reader>& readers);

// "opens in transformers (with compressed-tensors), normtweak; not in vLLM (no kernel for 3 bits)"
std::string readers_line(const std::vector<Reader>& readers);

}  // namespace normtweak::formats
