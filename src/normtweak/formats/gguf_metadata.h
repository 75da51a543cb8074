// Metadata values of GGUF files.
#pragma once
#include "normtweak/base/json.h"
#include "normtweak/formats/byte_cursor.h"

namespace normtweak::formats {

// A value of `type` (the number in the file) at the cursor. Throws Error naming `key`.
Json read_gguf_value(ByteCursor& cursor, std::uint32_t type, const std::string& key);

}  // namespace normtweak::formats
