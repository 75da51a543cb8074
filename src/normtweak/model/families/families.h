// The rows of the table in families.cpp; each is defined in its own file.
#pragma once
#include "normtweak/model/family.h"

namespace normtweak::model {

extern const Family kGpt2;
extern const Family kLlama;

}  // namespace normtweak::model
