"""Small byte-level BPE tokenizers of every kind that is met, trained by the `tokenizers` package."""
import json

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import text_samples

LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
END = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SUFFIX = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LLAMA3 = SUFFIX + "|" + LETTERS + r"|\p{N}{1,3}|" + END
QWEN2 = SUFFIX + "|" + LETTERS + r"|\p{N}|" + END
LOWER, UPPER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]", r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
O200K = (rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{SUFFIX}?|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{SUFFIX}?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK3 = [r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+",
             r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
             r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"]
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"  # a class within a class

# What llama.cpp does without tokenizer.ggml.pre: LLAMA_VOCAB_PRE_TYPE_DEFAULT in its src/llama-vocab.cpp.
GGUF_DEFAULT = [r"[\p{P}\$\+<=>\^~\|]+", r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
                r"\p{N}+", "[0-9][0-9][0-9]"]

ByteLevel, Sequence, Digits = pre_tokenizers.ByteLevel, pre_tokenizers.Sequence, pre_tokenizers.Digits
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
USER_DEFINED = ["foobar", "[two words]", "日本"]


def splits(*patterns, behavior="isolated", invert=False):
    parts = [pre_tokenizers.Split(Regex(pattern), behavior, invert) for pattern in patterns]
    return Sequence([*parts, ByteLevel(add_prefix_space=False, use_regex=False)])


def train(pre_tokenizer, normalizer=None, control=CONTROL, size=2000, alphabet=None):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = ByteLevel.alphabet() if alphabet is None else alphabet
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=control, initial_alphabet=alphabet,
                                  show_progress=False)
    tokenizer.train_from_iterator(text_samples.training_text(), trainer)
    return tokenizer


def change(tokenizer, edit):
    """The tokenizer after `edit` has changed the content of its tokenizer.json."""
    document = json.loads(tokenizer.to_str())
    edit(document)
    return Tokenizer.from_str(json.dumps(document))


def extend_vocabulary(tokens):
    def edit(document):
        vocabulary = document["model"]["vocab"]
        for token in tokens:
            vocabulary.setdefault(token, len(vocabulary))
    return edit


def begin_with(tokenizer, token, after=""):
    template = f"{token} $A {after}".strip()
    ids = [(name, tokenizer.token_to_id(name)) for name in {token, after} if name]
    tokenizer.post_processor = processors.TemplateProcessing(single=template, pair=None, special_tokens=ids)


def add_user_defined(tokenizer):
    """As tokens of the vocabulary that are never merged to."""
    tokenizer = change(tokenizer, extend_vocabulary(USER_DEFINED))
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in USER_DEFINED])
    return tokenizer


def add_demanding(tokenizer):
    """Added tokens with every flag."""
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True), AddedToken("<|im_end|>", rstrip=True)])
    tokenizer.add_tokens([
        AddedToken("<a>"), AddedToken("<a><b>", rstrip=True, lstrip=True), AddedToken("foo", single_word=True),
        AddedToken("foobar"), AddedToken("[two words]", normalized=False), AddedToken("[é]"),
        AddedToken("[e\u0301]", normalized=False), AddedToken("日本", single_word=True), AddedToken(" x", lstrip=True),
        AddedToken("\n\n\n", rstrip=True), AddedToken("[ ﬁ ]"), AddedToken("the", single_word=True, rstrip=True)])
    return tokenizer


def add_nested(tokenizer):
    """Added tokens that begin, end and overlap each other, in both texts that they are looked for in."""
    tokens = ["t", "th", "the ", "he", "he c", "e co", "in", "ing", "ing the", "aa", "aaa", "ab", "  ", "    ", " a", "a "]
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in tokens[::2]])
    tokenizer.add_tokens([AddedToken(token, lstrip=token == " a", rstrip=token == "    ") for token in tokens[1::2]])
    return tokenizer


def llama3():
    tokenizer = train(splits(LLAMA3))
    extra = ["Ġquantization", "International", "ĠÐĲ", "ĊĊĊĊ", "xyzzy", "12", "Ã©", "<>"]
    tokenizer = change(tokenizer, extend_vocabulary(extra))
    tokenizer = change(tokenizer, lambda document: document["model"].update(ignore_merges=True))
    begin_with(tokenizer, "<|im_start|>")
    return tokenizer


def falcon_like():
    """ByteLevel stands in the middle: what follows sees its alphabet."""
    steps = [pre_tokenizers.Punctuation("contiguous"), ByteLevel(add_prefix_space=False), Digits(False),
             pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated")]
    return train(Sequence(steps))


# These can be written as GGUF: name, tokenizer.ggml.pre, maker.
PLAIN = [
    ("gpt2", "gpt-2", lambda: train(ByteLevel(add_prefix_space=False))),
    ("llama3", "llama-bpe", llama3),
    ("qwen2", "qwen2", lambda: train(splits(QWEN2), normalizers.NFC())),
    ("smollm", "smollm", lambda: train(Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]))),
    ("o200k", "gpt-4o", lambda: train(splits(O200K))),
    ("deepseek3", "deepseek-v3", lambda: train(splits(*DEEPSEEK3))),
    ("default", "default", lambda: train(splits(*GGUF_DEFAULT))),
    ("bloom", "bloom", lambda: train(splits(BLOOM))),
    ("falcon", "falcon", falcon_like),
    ("superbpe", "superbpe", lambda: train(splits(r"\p{N}+", r"(?=(\d{3})+(?!\d))"))),
]


def roberta():
    tokenizer = add_demanding(train(ByteLevel(add_prefix_space=True), control=["<s>", "</s>"]))
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    return tokenizer


def rewriting():
    steps = [normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Replace(".", "…"),
             normalizers.Prepend("_")]
    tokenizer = add_demanding(train(ByteLevel(add_prefix_space=True), normalizers.Sequence(steps)))
    begin_with(tokenizer, "<|im_start|>", "<|endoftext|>")
    return tokenizer


def without_all_bytes(**options):
    """Bytes that the training text lacks are dropped, or become the unknown token."""
    tokenizer = train(ByteLevel(add_prefix_space=False), alphabet=list("abcdefghijklmnopqrstuvwxyzĠĊ"), size=600)

    def edit(document):
        model = document["model"]
        model.update(options)
        lost = [token for token in model["vocab"] if any(ord(character) > 0x120 for character in token)]
        for token in lost:
            del model["vocab"][token]
        model["merges"] = [merge for merge in model["merges"] if not any(half in lost for half in merge)
                           and "".join(merge) not in lost]
        model["vocab"] = {token: id for id, token in enumerate(model["vocab"])}
    return change(tokenizer, edit)


def demanding():
    yield "roberta", roberta()
    yield "added_nfc", add_demanding(train(splits(QWEN2), normalizers.NFC()))
    yield "added_nfd", add_demanding(train(ByteLevel(add_prefix_space=False), normalizers.NFD()))
    yield "added_nested", add_nested(train(ByteLevel(add_prefix_space=False), normalizers.Lowercase()))
    yield "rewriting", rewriting()
    yield "drops_bytes", without_all_bytes()
    yield "unknown", without_all_bytes(unk_token="<|endoftext|>", fuse_unk=False)
    yield "unknown_fused", without_all_bytes(unk_token="<|endoftext|>", fuse_unk=True)
    pattern = r"\w+|[^\w\s]+\b|\d+\W|^\S|\s$"
    for behavior in ("isolated", "removed", "contiguous", "merged_with_previous", "merged_with_next"):
        yield behavior, train(splits(pattern, behavior=behavior))
        yield behavior + "_inverted", train(splits(pattern, behavior=behavior, invert=True))
    literal = Sequence([pre_tokenizers.Split("the", "merged_with_next"), ByteLevel(add_prefix_space=True)])
    yield "literal", train(literal)
