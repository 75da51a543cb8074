// Metadata values of GGUF files.
#pragma once
#include "normtweak/base/json/json.h"
#include "normtweak/formats/byte_cursor.h"
#include "normtweak/formats/gguf_layout.h"

namespace normtweak::formats {

// A value of `type` (the number in the file) at the cursor. Throws Error naming `key`.
Json read_gguf_value(ByteCursor& cursor, std::uint32_t type, const std::string& key);

// Moves the cursor behind the array at it and returns how many values it holds, those of inner arrays included. Throws
// Error as read_gguf_value() does.
std::uint64_t skip_gguf_array(ByteCursor& cursor, const std::string& key);

}  // namespace normtweak::formats
