"""Small tokenizers of the kinds that are not byte-level, trained by the `tokenizers` and `sentencepiece` packages."""
import functools
import io
import json

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import text_samples
from text_tokenizers import add_demanding, begin_with, change

SPECIAL = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|endoftext|>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
SPACE = "▁"

Metaspace, Sequence = pre_tokenizers.Metaspace, pre_tokenizers.Sequence
REPLACE_SPACES = normalizers.Replace(" ", SPACE)
FALLBACK = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]


def set_model(**options):
    return lambda document: document["model"].update(options)


def drop_added(tokens):
    """Those tokens stay in the vocabulary, but are not matched in the text."""
    def edit(document):
        document["added_tokens"] = [token for token in document["added_tokens"] if token["content"] not in tokens]
    return edit


def build(model, trainer, normalizer, pre_tokenizer, decoder):
    tokenizer = Tokenizer(model)
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, pre_tokenizer
    tokenizer.train_from_iterator(text_samples.training_text(1500), trainer)
    tokenizer.decoder = decoder
    begin_with(tokenizer, "<s>", "</s>")
    return tokenizer


def bpe(normalizer=None, pre_tokenizer=None, decoder=None, fallback=True, train_on=None, size=1500, **options):
    """train_on: a pre-tokenizer for the training, where the tokenizer's own does not split words."""
    prefix = {key: options[key] for key in ("continuing_subword_prefix", "end_of_word_suffix") if key in options}
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=SPECIAL + (BYTES if fallback else []),
                                  show_progress=False, limit_alphabet=200, **prefix)
    tokenizer = build(models.BPE(**prefix), trainer, normalizer, train_on or pre_tokenizer,
                      decoder or decoders.Sequence(FALLBACK))
    tokenizer = change(tokenizer, drop_added(BYTES))
    tokenizer = change(tokenizer, set_model(byte_fallback=fallback, unk_token="<unk>", fuse_unk=True))
    tokenizer = change(tokenizer, set_model(**options))
    if train_on is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    return tokenizer


def unigram(normalizer=None, pre_tokenizer=None, decoder=None, fallback=False, **options):
    trainer = trainers.UnigramTrainer(vocab_size=4000, special_tokens=SPECIAL + (BYTES if fallback else []),
                                      unk_token="<unk>", show_progress=False, shrinking_factor=0.5, n_sub_iterations=1)
    tokenizer = build(models.Unigram(), trainer, normalizer, pre_tokenizer,
                      decoder or decoders.Metaspace(SPACE, "always"))
    tokenizer = change(tokenizer, drop_added(BYTES))
    return change(tokenizer, set_model(byte_fallback=fallback, **options))


def word_level(normalizer=None, pre_tokenizer=None, **options):
    trainer = trainers.WordLevelTrainer(vocab_size=1500, special_tokens=SPECIAL, show_progress=False)
    return build(models.WordLevel(unk_token="<unk>"), trainer, normalizer, pre_tokenizer, None)


@functools.cache
def sentencepiece_model(**options):
    """A model file of SentencePiece's trainer, as bytes."""
    model = io.BytesIO()
    sentences = [line.replace("\n", " ")[:2000] for line in text_samples.training_text(1500)]
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(sentences), model_writer=model, minloglevel=2,
                                             num_threads=1, **{"vocab_size": 1500, "character_coverage": 0.98, **options})
    return model.getvalue()


def charsmap(rules="nmt_nfkc"):
    proto = sentencepiece_model_pb2.ModelProto.FromString(sentencepiece_model(normalization_rule_name=rules,
                                                                              hard_vocab_limit=False))
    return proto.normalizer_spec.precompiled_charsmap


def llama(scheme="first", **options):
    strip = [] if scheme == "never" else [decoders.Strip(" ", 1, 0)]
    return bpe(pre_tokenizer=Metaspace(SPACE, scheme, split=False), train_on=Metaspace(SPACE, "always"),
               decoder=decoders.Sequence(FALLBACK + strip), **options)


def llama_legacy():
    return bpe(normalizer=normalizers.Sequence([normalizers.Prepend(SPACE), REPLACE_SPACES]),
               train_on=Metaspace(SPACE, "always"), decoder=decoders.Sequence([*FALLBACK, decoders.Strip(" ", 1, 0)]))


def gemma():
    return bpe(normalizer=REPLACE_SPACES, pre_tokenizer=pre_tokenizers.Split(" ", "merged_with_previous"),
               train_on=Metaspace(SPACE, "always"))


def some_bytes():
    """Characters with a byte that has no token are unknown, among others that are not."""
    lost = BYTES[0xE0:0xF0]

    def edit(document):
        for token in lost:
            del document["model"]["vocab"][token]
        document["model"]["vocab"] = {token: id for id, token in enumerate(document["model"]["vocab"])}
        document["added_tokens"] = [token for token in document["added_tokens"] if token["content"] not in lost]
    return change(llama(), edit)


def t5(scheme="always", normalizer=None, **options):
    return unigram(normalizer or normalizers.Precompiled(charsmap()),
                   Sequence([pre_tokenizers.WhitespaceSplit(), Metaspace(SPACE, scheme)]),
                   decoders.Metaspace(SPACE, scheme), **options)


def albert():
    steps = [normalizers.Replace("``", "\""), normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(),
             normalizers.Precompiled(charsmap("nmt_nfkc_cf")), normalizers.Strip(False, True),
             normalizers.Replace(Regex(" {2,}"), SPACE)]
    return unigram(normalizers.Sequence(steps), Metaspace(SPACE, "always"))


def unsplit():
    return unigram(normalizers.Sequence([normalizers.Nmt(), REPLACE_SPACES]), decoder=decoders.Sequence(FALLBACK),
                   fallback=True, pre_tokenizer=pre_tokenizers.Split(Regex("(?=▁)"), "isolated"))


def bert(normalizer):
    return word_level(normalizer, pre_tokenizers.BertPreTokenizer())


def word_piece(normalizer=None, cleanup=True, **options):
    trainer = trainers.WordPieceTrainer(vocab_size=1500, special_tokens=SPECIAL, show_progress=False, limit_alphabet=200)
    tokenizer = build(models.WordPiece(unk_token="<unk>"), trainer, normalizer, pre_tokenizers.BertPreTokenizer(),
                      decoders.WordPiece("##", cleanup))
    return change(tokenizer, set_model(**options))


def scripts():
    """Without characters that the package's tables lack, which are of no script: such a character splits nothing."""
    splitter = pre_tokenizers.UnicodeScripts()
    characters = sorted(set("".join(text_samples.lines(10_500))) - {" "})
    young = [c for c in characters if all(len(splitter.pre_tokenize_str(a + c)) == 1 for a in "aΩ")]
    drop = normalizers.Replace(Regex("[" + "".join(rf"\x{{{ord(c):x}}}" for c in young) + "]"), "")
    return bpe(drop, splitter, fallback=False)


MAIN = {"llama", "llama_legacy", "gemma", "some_bytes", "t5", "unigram_fallback", "bert", "word_piece"}  # met often: on all lines

# name, maker
KINDS = [
    ("llama", llama),
    ("llama_always", lambda: llama("always")),
    ("llama_never", lambda: llama("never")),
    ("llama_legacy", llama_legacy),
    ("llama_demanding", lambda: add_demanding(llama())),
    ("llama_legacy_demanding", lambda: add_demanding(llama_legacy())),
    ("gemma", gemma),
    ("some_bytes", some_bytes),
    ("whole_words", lambda: llama(ignore_merges=True)),
    ("unknown_unfused", lambda: llama(fallback=False, fuse_unk=False)),
    ("unknown_fused", lambda: llama(fallback=False)),
    ("unknown_dropped", lambda: llama(fallback=False, unk_token=None)),
    ("joined_words", lambda: bpe(REPLACE_SPACES, size=900)),
    ("metaspace_words", lambda: bpe(pre_tokenizer=Metaspace("_", "first"), fallback=False,
                                    decoder=decoders.Metaspace("_", "first"))),
    ("word_ends", lambda: bpe(normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()]),
                              pre_tokenizers.Whitespace(), decoders.BPEDecoder("</w>"), fallback=False,
                              end_of_word_suffix="</w>")),
    ("word_parts", lambda: bpe(None, pre_tokenizers.BertPreTokenizer(), decoders.BPEDecoder("@@"),
                               continuing_subword_prefix="##")),
    ("byte_fallback_of_bytes", lambda: bpe(None, pre_tokenizers.ByteLevel(), decoders.ByteLevel())),
    ("normalized_bytes", lambda: bpe(normalizers.Sequence([normalizers.NFD(), normalizers.ByteLevel()]),
                                     pre_tokenizers.Split(Regex("(?=Ġ)"), "isolated"), decoders.ByteLevel())),
    ("t5", t5),
    ("t5_first", lambda: add_demanding(t5("first", normalizer=normalizers.NFC()))),
    ("albert", albert),
    ("unigram_fallback", unsplit),
    ("unigram_bytes", lambda: unigram(None, pre_tokenizers.ByteLevel(), decoders.ByteLevel())),
    ("bert", lambda: bert(normalizers.BertNormalizer())),
    ("bert_cased", lambda: bert(normalizers.BertNormalizer(clean_text=False, lowercase=False, strip_accents=True))),
    ("bert_accents", lambda: bert(normalizers.BertNormalizer(handle_chinese_chars=False, strip_accents=False))),
    ("stripped", lambda: word_level(normalizers.Sequence([normalizers.Strip(), normalizers.NFKC()]),
                                    Sequence([pre_tokenizers.CharDelimiterSplit("e"), Metaspace(SPACE, "first")]))),
    ("word_piece", lambda: word_piece(normalizers.BertNormalizer())),
    ("word_piece_cased", lambda: add_demanding(word_piece(cleanup=False, max_input_chars_per_word=7))),
    ("scripts", scripts),
    ("fixed_length", lambda: bpe(None, pre_tokenizers.FixedLength(3), fallback=False)),
    ("words", lambda: word_level(normalizers.Nmt(), Sequence([pre_tokenizers.WhitespaceSplit(),
                                                              pre_tokenizers.Punctuation("removed"),
                                                              pre_tokenizers.Digits(True)]))),
]
