// The groups of input columns that share a codebook.
#pragma once
#include "normtweak/weights/codebook_weight.h"

namespace normtweak::weights {

// Adjacent input columns that share a codebook; 0: the whole row. Throws Error if the codebook does not fit the codes.
int codebook_group_size(const CodebookWeight& weight);

}  // namespace normtweak::weights
