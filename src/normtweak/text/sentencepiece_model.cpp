#include "normtweak/text/sentencepiece_model.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "normtweak/base/error.h"
#include "normtweak/text/token_index.h"
#include "normtweak/text/utf8.h"

namespace normtweak::text {
namespace {

// One field of a message. Which of the values counts follows from its wire type.
struct Field {
  std::uint64_t number = 0;
  std::uint64_t integer = 0;    // of varints and fixed-size values
  std::string_view bytes = {};  // of texts and messages
};

class Message {
 public:
  Message(std::string_view bytes, std::string_view origin) : bytes_(bytes), origin_(origin) {}

  // Calls visit(field) for each.
  template <class Visit>
  void for_each(Visit visit) {
    while (!bytes_.empty()) visit(next());
  }

  Field next() {
    constexpr std::uint64_t kVarint = 0, kEight = 1, kBytes = 2, kFour = 5;
    const auto tag = varint();
    Field field = {.number = tag >> 3};
    switch (tag & 7) {
      case kVarint:
        field.integer = varint();
        break;
      case kEight:
        field.integer = fixed(8);
        break;
      case kFour:
        field.integer = fixed(4);
        break;
      case kBytes:
        field.bytes = take(varint());
        break;
      default:
        refuse();
    }
    return field;
  }

  [[noreturn]] void refuse() const {
    fail("{}: not a SentencePiece model, or a damaged one; save a tokenizer.json (AutoTokenizer's save_pretrained)",
         origin_);
  }

 private:
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<std::uint8_t>(take(1).front());
      value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    refuse();
  }

  std::uint64_t fixed(std::size_t size) {
    std::uint64_t value = 0;
    std::memcpy(&value, take(size).data(), size);  // little-endian, as this machine
    return value;
  }

  std::string_view take(std::uint64_t size) {
    if (size > bytes_.size()) refuse();
    const auto part = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return part;
  }

  std::string_view bytes_, origin_;
};

void read_piece(std::string_view bytes, std::string_view origin, SentencePieceModel& model) {
  std::string text;
  float score = 0;
  std::int64_t type = kPieceNormal;
  Message message(bytes, origin);
  message.for_each([&](const Field& field) {
    if (field.number == 1) text = field.bytes;
    if (field.number == 2) score = std::bit_cast<float>(static_cast<std::uint32_t>(field.integer));
    if (field.number == 3) type = static_cast<std::int64_t>(field.integer);
  });
  if (std::string storage; valid_utf8(text, storage).data() != text.data()) message.refuse();
  model.pieces.push_back(std::move(text));
  model.scores.push_back(score);
  model.types.push_back(type);
}

void read_trainer(std::string_view bytes, std::string_view origin, SentencePieceModel& model) {
  const auto number = [](const Field& field) {  // 32 bits, extended with their sign
    return static_cast<std::int64_t>(static_cast<std::int32_t>(static_cast<std::uint32_t>(field.integer)));
  };
  Message(bytes, origin).for_each([&](const Field& field) {
    if (field.number == 3) model.kind = static_cast<SentencePieceKind>(number(field));
    if (field.number == 35) model.byte_fallback = field.integer != 0;
    if (field.number == 40) model.unknown_id = number(field);
    if (field.number == 41) model.bos_id = number(field);
    if (field.number == 42) model.eos_id = number(field);
    if (field.number == 45) model.unknown = field.bytes;
    if (field.number == 46) model.bos = field.bytes;
    if (field.number == 47) model.eos = field.bytes;
  });
}

void check(const SentencePieceModel& model, std::string_view origin) {
  if (model.kind != SentencePieceKind::unigram && model.kind != SentencePieceKind::bpe) {
    fail("{}: trainer_spec.model_type {} is not supported; 1 (Unigram) and 2 (BPE) are", origin,
         static_cast<std::int64_t>(model.kind));
  }
  const auto text_of = [&](std::int32_t id) -> std::string_view { return model.pieces[static_cast<std::size_t>(id)]; };
  TokenIndex seen(model.pieces.size());
  for (std::size_t id = 0; id < model.pieces.size(); ++id) {
    const auto before = seen.put(model.pieces[id], static_cast<std::int32_t>(id), text_of);
    if (before) fail("{}: the piece {} stands at {} and at {}", origin, model.pieces[id], *before, id);
  }
}

}  // namespace

SentencePieceModel read_sentencepiece_model(std::string_view bytes, std::string_view origin) {
  SentencePieceModel model;
  Message message(bytes, origin);
  message.for_each([&](const Field& field) {
    if (field.number == 1) read_piece(field.bytes, origin, model);
    if (field.number == 2) read_trainer(field.bytes, origin, model);
    if (field.number != 3) return;
    Message(field.bytes, origin).for_each([&](const Field& inner) {
      if (inner.number == 2) model.charsmap = inner.bytes;
    });
  });
  if (model.pieces.empty()) message.refuse();
  check(model, origin);
  return model;
}

}  // namespace normtweak::text
