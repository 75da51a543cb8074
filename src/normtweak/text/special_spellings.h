#pragma once

namespace normtweak::text {

// What the spelling of a special token is where it stands in a text.
enum class SpecialSpellings {
  recognised,  // that token
  as_text,     // characters like any others, as with `encode_special_tokens` of the `tokenizers` package
};

}  // namespace normtweak::text
