// SentencePiece's own file, tokenizer.model: a protocol buffer message (sentencepiece_model.proto). Read are
//
//     1 pieces, each {1 text, 2 score, 3 type}
//     2 trainer_spec {3 model_type, 35 byte_fallback, 40 unk_id, 41 bos_id, 42 eos_id, 45 unk_piece, 46 bos_piece,
//                     47 eos_piece}
//     3 normalizer_spec {2 precompiled_charsmap}
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace normtweak::text {

enum class SentencePieceKind : std::int64_t { unigram = 1, bpe = 2, word = 3, character = 4 };
enum SentencePieceType : std::int64_t { kPieceNormal = 1, kPieceControl = 3, kPieceUserDefined = 4 };

struct SentencePieceModel {
  std::vector<std::string> pieces;  // by id; all different, and valid UTF-8
  std::vector<double> scores;
  std::vector<std::int64_t> types;
  SentencePieceKind kind = SentencePieceKind::unigram;
  bool byte_fallback = false;
  std::int64_t unknown_id = 0, bos_id = 1, eos_id = 2;  // -1: there is none
  std::string unknown = "<unk>", bos = "<s>", eos = "</s>";
  std::string charsmap;  // see charsmap.h; may be empty
};

// Throws Error naming `origin` for anything but such a message, and for kinds other than Unigram and BPE.
SentencePieceModel read_sentencepiece_model(std::string_view bytes, std::string_view origin);

}  // namespace normtweak::text
