// What a family's rows must have, so that a mistake in a table is found when the program starts and not in a pass.
#pragma once
#include "normtweak/model/family.h"

namespace normtweak::model {

// Throws Error naming the family and what is wrong with its rows.
void check_family(const Family& family);

}  // namespace normtweak::model
