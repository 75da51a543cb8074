// Documents of a text, as lm_eval's task `wikitext` has them.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/evaluate/continuations.h"

namespace normtweak::evaluate {

// The pages of WikiText, which begin at their headings, lines such as " = Title = ": those of the data set
// EleutherAI/wikitext_document_level. A page keeps its lines as they are, without the newline before the next heading;
// what stands before the first heading is a page if it is not blank. A text without headings is one page.
std::vector<std::string> pages(std::string_view text);

// Undoes the tokens of WikiText ("@-@", spaces before punctuation and within brackets), by the rules of that task, in
// their order.
std::string detokenized(std::string_view page);

// Runs of anything but white space, as re.split(r"\s+", page) counts them: white space at the start or at the end has
// an empty word before or after it.
std::int64_t count_words(std::string_view page);

// A document of ids longer than the model's context, cut so that each token is predicted once: the first window from
// `begin`, put before the text, the others from the token before them, and the last, which may have fewer tokens to
// predict, from all that fit before them. context: tokens that the model reads in one window.
std::vector<Continuation> rolling_windows(const std::vector<std::int64_t>& ids, std::int64_t begin,
                                          std::int64_t context);

}  // namespace normtweak::evaluate
