#include "normtweak/text/pre_tokenizer.h"

#include <algorithm>
#include <array>
#include <utility>

#include "normtweak/text/byte_level.h"
#include "normtweak/text/pattern.h"

namespace normtweak::text {
namespace {

// OpenAI's regex for GPT-2, which ByteLevel applies with use_regex.
constexpr std::string_view kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kDigit = R"(\p{N})";
constexpr std::string_view kWhiteSpace = R"(\s+)";
constexpr std::string_view kWordOrOther =
    R"([\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200C}\x{200D}]+|[^\s\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200C}\x{200D}]+)";

// Unicode punctuation and ASCII symbols; without what is newer than the tables of the `tokenizers` package (Unicode 8).
constexpr std::string_view kPunctuation =
    R"((?![\x{61D}\x{9FD}\x{A76}\x{C77}\x{C84}\x{1B7D}-\x{1B7E}\x{2E43}-\x{2E4F}\x{2E52}-\x{2E5D}\x{10EAD})"
    R"(\x{10F55}-\x{10F59}\x{10F86}-\x{10F89}\x{1144B}-\x{1145D}\x{11660}-\x{1166C}\x{116B9}\x{1183B})"
    R"(\x{11944}-\x{11946}\x{119E2}\x{11A3F}-\x{11A46}\x{11A9A}-\x{11AA2}\x{11B00}-\x{11B09}\x{11C41}-\x{11C45})"
    R"(\x{11C70}-\x{11C71}\x{11EF7}-\x{11EF8}\x{11F43}-\x{11F4F}\x{11FFF}\x{12FF1}-\x{12FF2}\x{16E97}-\x{16E9A})"
    R"(\x{16FE2}\x{1E95E}-\x{1E95F}])[\p{P}\x{166D}\x{111C9}!-/:-@\[-`{-~])";

// Of UnicodeScripts: those that are not as Unicode has them, and those that are.
constexpr std::array<std::string_view, 6> kScriptRows = {R"(\p{Han}\p{Hiragana}\p{Katakana}\x{30FC})",
                                                         R"([\p{Common}\x{589}\x{61C}&&[^ \x{30FC}]])",
                                                         R"([\p{Armenian}&&[^\x{589}]])",
                                                         R"([\p{Arabic}&&[^\x{61C}]])",
                                                         R"(\p{Devanagari}\x{953}\x{954})",
                                                         R"([\p{Inherited}&&[^\x{953}\x{954}]])"};
constexpr std::string_view kScripts =
    "Adlam Ahom Anatolian_Hieroglyphs Avestan Balinese Bamum Bassa_Vah Batak Bengali Bhaiksuki Bopomofo Brahmi "
    "Braille Buginese Buhid Canadian_Aboriginal Carian Caucasian_Albanian Chakma Cham Cherokee Coptic Cuneiform "
    "Cypriot Cyrillic Deseret Duployan Egyptian_Hieroglyphs Elbasan Ethiopic Georgian Glagolitic Gothic Grantha "
    "Greek Gujarati Gurmukhi Hangul Hanunoo Hatran Hebrew Imperial_Aramaic Inscriptional_Pahlavi "
    "Inscriptional_Parthian Javanese Kaithi Kannada Kayah_Li Kharoshthi Khmer Khojki Khudawadi Lao Latin Lepcha "
    "Limbu Linear_A Linear_B Lisu Lycian Lydian Mahajani Malayalam Mandaic Manichaean Marchen Meetei_Mayek "
    "Mende_Kikakui Meroitic_Cursive Meroitic_Hieroglyphs Miao Modi Mongolian Mro Multani Myanmar Nabataean "
    "New_Tai_Lue Newa Nko Ogham Ol_Chiki Old_Hungarian Old_Italic Old_North_Arabian Old_Permic Old_Persian "
    "Old_South_Arabian Old_Turkic Oriya Osage Osmanya Pahawh_Hmong Palmyrene Pau_Cin_Hau Phags_Pa Phoenician "
    "Psalter_Pahlavi Rejang Runic Samaritan Saurashtra Sharada Shavian Siddham SignWriting Sinhala Sora_Sompeng "
    "Sundanese Syloti_Nagri Syriac Tagalog Tagbanwa Tai_Le Tai_Tham Tai_Viet Takri Tamil Tangut Telugu Thaana "
    "Thai Tibetan Tifinagh Tirhuta Ugaritic Vai Warang_Citi Yi";

constexpr std::array<std::pair<std::string_view, SplitBehavior>, 5> kBehaviors = {{
    {"Isolated", SplitBehavior::isolated},
    {"Removed", SplitBehavior::removed},
    {"Contiguous", SplitBehavior::contiguous},
    {"MergedWithPrevious", SplitBehavior::merged_with_previous},
    {"MergedWithNext", SplitBehavior::merged_with_next},
}};

SplitBehavior read_behavior(const JsonPart& part, SplitBehavior otherwise) {
  if (part.is_null()) return otherwise;
  for (const auto& [name, behavior] : kBehaviors) {
    if (part.text() == name) return behavior;
  }
  part.fail("the behavior {} is not supported", part.text());
}

// The pre-tokenizers that are one split.
SplitRule read_split(const JsonPart& part) {
  return {read_pattern(part["pattern"]), read_behavior(part["behavior"], SplitBehavior::isolated),
          part["invert"].flag(false)};
}

SplitRule read_digits(const JsonPart& part) {
  const bool each = part["individual_digits"].flag(false);
  return {Regex(kDigit), each ? SplitBehavior::isolated : SplitBehavior::contiguous};
}

SplitRule read_punctuation(const JsonPart& part) {
  return {Regex(kPunctuation), read_behavior(part["behavior"], SplitBehavior::isolated)};
}

SplitRule read_whitespace(const JsonPart& /*part*/) { return {Regex(kWordOrOther), SplitBehavior::removed, true}; }

SplitRule read_whitespace_split(const JsonPart& /*part*/) { return {Regex(kWhiteSpace), SplitBehavior::removed}; }

SplitRule read_delimiter(const JsonPart& part) {
  return {Regex::literal(read_character(part["delimiter"])), SplitBehavior::removed};
}

SplitRule read_fixed_length(const JsonPart& part) {
  constexpr std::int64_t kMost = 65'535;  // of PCRE2
  const auto length = part["length"];
  const auto characters = length.is_null() ? 5 : length.integer();
  if (characters < 1 || characters > kMost) length.fail("{} is not within 1 to {} characters", characters, kMost);
  return {Regex(fmt::format(R"([\s\S]{{1,{}}})", characters)), SplitBehavior::isolated};
}

// Runs of one script, with the spaces and unassigned characters behind them; those in front of the first run are
// dropped, as in `tokenizers`. Its tables end with Unicode 9: younger characters are of no script there.
SplitRule read_scripts(const JsonPart& /*part*/) {
  std::string pattern;
  const auto add = [&](std::string_view characters) {
    pattern += fmt::format(R"({}[{}][{} \p{{Cn}}\p{{Co}}]*)", pattern.empty() ? "" : "|", characters, characters);
  };
  for (const auto& row : kScriptRows) add(row);
  for (auto names = kScripts; !names.empty();) {
    const auto end = std::min(names.find(' '), names.size());
    add(fmt::format(R"(\p{{{}}})", names.substr(0, end)));
    names.remove_prefix(std::min(end + 1, names.size()));
  }
  return {Regex(pattern), SplitBehavior::removed, true};
}

struct Reader {
  std::string_view name;
  SplitRule (*read)(const JsonPart& part);
};

constexpr std::array<Reader, 8> kReaders = {{{"Split", read_split},
                                             {"Digits", read_digits},
                                             {"Punctuation", read_punctuation},
                                             {"Whitespace", read_whitespace},
                                             {"WhitespaceSplit", read_whitespace_split},
                                             {"CharDelimiterSplit", read_delimiter},
                                             {"FixedLength", read_fixed_length},
                                             {"UnicodeScripts", read_scripts}}};

}  // namespace

PreTokenizer::PreTokenizer(const JsonPart& part, bool takes_bytes) {
  if (!part.is_null()) add(part);
  choose_spelling(takes_bytes);
}

void PreTokenizer::add(const JsonPart& part) {
  const auto& type = part["type"].text();
  if (type == "Sequence") {
    for (const auto& member : part["pretokenizers"].elements()) add(member);
  } else if (type == "ByteLevel") {
    add_byte_level(part);
  } else if (type == "Metaspace") {
    steps_.emplace_back(Metaspace(part));
  } else if (type == "BertPreTokenizer") {
    steps_.emplace_back(read_whitespace_split(part));
    steps_.emplace_back(SplitRule{Regex(kPunctuation)});
  } else if (const auto* const reader = std::ranges::find(kReaders, type, &Reader::name); reader != kReaders.end()) {
    steps_.emplace_back(reader->read(part));
  } else {
    std::string names = "Sequence, ByteLevel, Metaspace, BertPreTokenizer";
    for (const auto& row : kReaders) names += fmt::format(", {}", row.name);
    part.fail("the pre-tokenizer {} is not supported; these are: {}", type, names);
  }
}

void PreTokenizer::add_byte_level(const JsonPart& part) {
  const auto spells = [](const Step& step) { return std::holds_alternative<SpellBytes>(step); };
  if (std::ranges::any_of(steps_, spells)) {
    part.fail("ByteLevel stands twice; the second would spell the first one's characters again");
  }
  if (part["add_prefix_space"].flag(true)) steps_.emplace_back(PrefixSpace{});
  if (part["use_regex"].flag(true)) steps_.emplace_back(SplitRule{Regex(kGpt2)});
  steps_.emplace_back(SpellBytes{});
}

// Spelling bytes only matters to later steps, and to models that look at characters: else it would be undone at once.
void PreTokenizer::choose_spelling(bool takes_bytes) {
  const auto spells = [](const Step& step) { return std::holds_alternative<SpellBytes>(step); };
  const auto place = std::ranges::find_if(steps_, spells);
  const bool adds = std::any_of(place, steps_.end(), [](const Step& step) {
    return std::holds_alternative<Metaspace>(step);  // characters that are not of the alphabet
  });
  if (!takes_bytes || place == steps_.end() || adds) return;
  spelling_ = Spelling::bytes;
  if (place + 1 == steps_.end()) {
    steps_.pop_back();
  } else {
    undo_bytes_ = true;
  }
}

// The steps on the words of one text.
class PreTokenizer::Run {
 public:
  Run(std::string_view text, bool is_first, Growth& growth) : growth_(growth), size_(text.size()), is_first_(is_first) {
    words_.views.push_back(text);
  }

  Words finish() {
    growth_.take(size_, largest_);
    return std::move(words_);
  }

  void operator()(const SplitRule& rule) {
    replace_all(
        [&](std::string_view piece, std::vector<std::string_view>& pieces) { text::split(piece, rule, pieces); });
  }

  void operator()(const PrefixSpace& /*step*/) {
    change_all(
        [](std::string_view view) { return view.starts_with(' ') ? std::string(view) : fmt::format(" {}", view); });
  }

  void operator()(const SpellBytes& /*step*/) { change_all(to_byte_level); }

  void operator()(const Metaspace& step) {
    bool is_first = is_first_;
    change_all([&](std::string_view view) { return step.spell(view, std::exchange(is_first, false)); });
    if (!step.split) return;
    replace_all([&](std::string_view piece, std::vector<std::string_view>& pieces) {
      split_before(piece, step.replacement, pieces);
    });
  }

  void undo_bytes() {
    change_all([](std::string_view view) { return from_byte_level(view).value_or(""); });
  }

 private:
  template <class Change>
  void change_all(Change change) {
    const auto most = growth_.most(size_);
    std::size_t size = 0;
    std::deque<std::string> changed;  // in place of what earlier steps made
    for (auto& view : words_.views) {
      view = changed.emplace_back(change(view));
      size += view.size();
      if (size > most) fail("the pre-tokenizer makes more than {} bytes of a text; the tokenizer is damaged", most);
    }
    words_.storage = std::move(changed);
    largest_ = std::max(largest_, size);
  }

  template <class Divide>
  void replace_all(Divide divide) {
    if (words_.views.empty()) return;
    const auto pieces = std::exchange(words_.views, {});
    for (const auto piece : pieces) divide(piece, words_.views);
    const bool is_kept = !words_.views.empty() && words_.views.front().data() == pieces.front().data();
    is_first_ = is_first_ && is_kept;  // else the start of the text is no longer among them
  }

  Words words_;
  Growth& growth_;
  std::size_t size_, largest_ = 0;  // of the text; of all words after a step, at most
  bool is_first_;                   // the first word is the start of the text
};

Words PreTokenizer::split(std::string_view text, bool is_first, Growth& growth) const {
  if (text.empty()) return {};
  Run run(text, is_first, growth);
  for (const auto& step : steps_) std::visit(run, step);
  if (undo_bytes_) run.undo_bytes();
  return run.finish();
}

}  // namespace normtweak::text
