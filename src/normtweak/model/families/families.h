// The rows of the table in families.cpp; each is defined in its own file.
#pragma once
#include "normtweak/model/family.h"

namespace normtweak::model {

extern const Family kBloom;
extern const Family kChatglm;
extern const Family kCohere;
extern const Family kErnie45;
extern const Family kFalcon;
extern const Family kGemma;
extern const Family kGemma2;
extern const Family kGemma3;
extern const Family kGlm;
extern const Family kGlm4;
extern const Family kGpt2;
extern const Family kGptNeox;
extern const Family kGptj;
extern const Family kGranite;
extern const Family kLlama;
extern const Family kMistral;
extern const Family kMixtral;
extern const Family kMpt;
extern const Family kOlmo2;
extern const Family kOlmo3;
extern const Family kOpt;
extern const Family kPhi;
extern const Family kPhi3;
extern const Family kQwen2;
extern const Family kQwen3;
extern const Family kQwen3Moe;
extern const Family kSeedOss;
extern const Family kSmollm3;
extern const Family kStablelm;
extern const Family kStarcoder2;

}  // namespace normtweak::model
