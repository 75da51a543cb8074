"""Folders with tiktoken's vocabularies and Mistral's tekken.json, and what is expected of them: AutoTokenizer's ids, or
for classes that transformers does not have, those of the `tiktoken` package under the rules of the class's own code."""
import base64
import json
import unicodedata

import tiktoken
from transformers import AutoTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

import text_tokenizers

BYTES = {character: byte for byte, character in bytes_to_unicode().items()}
EXTRA = [" quantization", "International", "\n\n\n\n", "xyzzy", "é日", "aaaaaaa", " x = 1"]  # in no merge


def ranks(pattern=text_tokenizers.LLAMA3, size=1800):
    """Tokens as bytes, by rank: those of a tokenizer without special tokens, and some that no merge leads to."""
    vocabulary = text_tokenizers.train(text_tokenizers.splits(pattern), control=[], size=size).get_vocab()
    tokens = [bytes(BYTES[character] for character in token) for token, _ in sorted(vocabulary.items(), key=lambda row: row[1])]
    return tokens + [token.encode() for token in EXTRA if token.encode() not in tokens]


def tiktoken_file(tokens):
    return b"".join(b"%s %d\n" % (base64.b64encode(token), rank) for rank, token in enumerate(tokens))


def tekken_file(tokens, padded=3, **config):
    special = ["<unk>", "<s>", "</s>", "[INST]", "<|im_start|>"]
    vocabulary = [{"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": None}
                  for rank, token in enumerate([*tokens, *(b"\xff" * (5 + i) for i in range(padded))])]
    config = {"pattern": text_tokenizers.O200K, "num_vocab_tokens": len(vocabulary), "default_num_special_tokens": 12,
              "default_vocab_size": len(tokens) + 12, "version": "v7", **config}
    return json.dumps({"config": config, "vocab": vocabulary, "special_tokens": [
        {"rank": rank, "token_str": token, "is_control": True} for rank, token in enumerate(special)]}).encode()


def declared(first):
    """Some of the ids behind the vocabulary, with flags that differ."""
    flags = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False}
    return {"added_tokens_decoder": {
        str(first + 1): {"content": "<|im_start|>", "special": True, **flags},
        str(first): {"content": "<s>", "special": True, **flags},
        str(first + 4): {"content": "foo", "special": False, **flags, "lstrip": True},
        str(first + 7): {"content": "<|im_end|>", "special": True, **flags}}}


FAST, LLAMA = {"tokenizer_class": "PreTrainedTokenizerFast"}, {"tokenizer_class": "LlamaTokenizer"}
BOS, ROLES = {"add_bos_token": True}, {"bos_token": "<s>", "eos_token": "<|im_end|>"}
# name → model type, file, tokenizer_config.json, whether with declared(), other files
READ = {
    "tiktoken_llama3": ("llama", "tokenizer.model", {**FAST, **BOS, **ROLES}, True, {}),
    "tiktoken_no_class": ("llama", "tokenizer.model", None, False, {}),
    "tiktoken_llama_class": ("llama", "tokenizer.model", {**LLAMA, **BOS, "add_eos_token": True}, True, {}),
    "tiktoken_extra": ("llama", "tokenizer.model", {**FAST, "extra_special_tokens": ["<mask>", "foo", "<s>"]}, True, {}),
    "tiktoken_additional": ("mistral", "tokenizer.model", {**FAST, "additional_special_tokens": ["<mask>", "foo"]}, False, {}),
    "tiktoken_added": ("llama", "tokenizer.model", FAST, False, {
        "added_tokens.json": {"<|im_end|>": 1812, "<|im_start|>": 1810},
        "special_tokens_map.json": {"bos_token": "<s>", "additional_special_tokens": ["<a>"]}}),
    "tiktoken_named": ("mistral", "tiktoken.model", {**BOS, **ROLES}, True, {}),
    "tiktoken_glm4": ("glm4", "tokenizer.model", {"tokenizer_class": "PreTrainedTokenizer", **ROLES}, True, {}),
    "tiktoken_qwen2": ("qwen2", "tokenizer.model", None, True, {}),
    "tiktoken_gemma2": ("gemma2", "tokenizer.model", BOS, False, {}),
    "tiktoken_neox": ("gpt_neox", "tokenizer.model", BOS, False, {}),
    "tiktoken_opt": ("opt", "tokenizer.model", None, True, {}),
    "tiktoken_cohere": ("cohere", "tokenizer.model", BOS, True, {}),
}
TEKKEN = {
    "tekken_mistral": ("mistral", {**FAST, **BOS, "bos_token": "<s>"}, {}),
    "tekken_plain": ("llama", None, {"default_vocab_size": None, "default_num_special_tokens": None}),
}
GLM = ["<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|system|>", "<|user|>", "<|assistant|>",
       "<|observation|>", "<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>"]
ARCADE = ["<|endoftext|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>", "<gh_stars>", "<filename>",
          "<issue_start>", "<issue_comment>", "<issue_closed>", "<jupyter_start>", "<jupyter_text>", "<jupyter_code>",
          "<jupyter_output>", "<empty_output>", "<commit_before>", "<commit_msg>", "<commit_after>", "<reponame>",
          "<|endofprompt|>", "<|im_start|>", "<|im_end|>", "<|pause|>", *(f"<|reg{i}|>" for i in range(8)), "<|extra0|>"]
HAN, SUFFIX = r"[^\p{Han}]", text_tokenizers.SUFFIX
UPPER, LOWER = rf"[\p{{Lu}}\p{{Lt}}\p{{Lm}}\p{{Lo}}\p{{M}}&&{HAN}]", rf"[\p{{Ll}}\p{{Lm}}\p{{Lo}}\p{{M}}&&{HAN}]"
KIMI = (rf"[\p{{Han}}]+|[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{SUFFIX}?|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{SUFFIX}?"
        r"|\p{N}{1,3}|" + text_tokenizers.END)
# name → file, class, pattern, whether NFC comes first, special tokens at their distance from the vocabulary, in front
OWN = {
    "tiktoken_class_qwen": ("qwen.tiktoken", "QWenTokenizer", text_tokenizers.QWEN2, True, dict(enumerate(
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|extra_{i}|>" for i in range(205))])), []),
    "tiktoken_class_glm": ("tokenizer.model", "ChatGLM4Tokenizer", text_tokenizers.LLAMA3, False, dict(enumerate(GLM)),
                           ["[gMASK]", "<sop>"]),
    "tiktoken_class_arcade": ("arcade100k.tiktoken", "Arcade100kTokenizer", text_tokenizers.QWEN2, True,
                              dict(enumerate(ARCADE, 1)), []),
    "tiktoken_class_kimi": ("tiktoken.model", "TikTokenTokenizer", KIMI, False,
                            {0: "<s>", 1: "<|im_start|>", 4: "[two words]", 7: "<|im_end|>"}, []),
}
MAIN = {"tiktoken_llama3", "tekken_mistral", "tiktoken_class_qwen", "tiktoken_class_kimi"}


def make(folder, model_type, file, content, config, files):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    for name, value in {"tokenizer_config.json": config, **files}.items():
        if value is not None:
            (folder / name).write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    (folder / file).write_bytes(content)


def folders(root):
    """Yields each that AutoTokenizer reads, with its tokenizer."""
    tokens = ranks()
    for name, (model_type, file, config, is_declared, files) in READ.items():
        config = {**(config or {}), **declared(len(tokens))} if is_declared else config
        make(root / name, model_type, file, tiktoken_file(tokens), config, files)
        yield name, AutoTokenizer.from_pretrained(root / name)
    for name, (model_type, config, sizes) in TEKKEN.items():
        make(root / name, model_type, "tekken.json", tekken_file(ranks(text_tokenizers.O200K), **sizes), config, {})
        yield name, AutoTokenizer.from_pretrained(root / name)


def encoding_of(name, pattern, tokens, special):
    return tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks={token: rank for rank, token in enumerate(tokens)},
                             special_tokens={token: len(tokens) + i for i, token in special.items()})


def expected_of_class(encoding, is_nfc, front, lines):
    ids, texts = [], []
    for line in lines:
        line = unicodedata.normalize("NFC", line) if is_nfc else line
        found = encoding.encode(line, allowed_special="all")
        ids.append([encoding.encode_single_token(token) for token in front] + found)
        plain = [id for id in found if not encoding.is_special_token(id)]
        texts.append(encoding.decode_bytes(plain).decode("utf-8", errors="replace"))
    return {"ids": ids, "texts": texts}


def folders_of_classes(root, lines_of):
    """Yields each with its expectation, on the lines that lines_of(name) gives."""
    for name, (file, tokenizer_class, pattern, is_nfc, special, front) in OWN.items():
        tokens = ranks(pattern.replace("&&" + HAN, ""))
        config = {"tokenizer_class": tokenizer_class}
        if tokenizer_class == "TikTokenTokenizer":  # it reserves ids, and the folder names some
            config |= declared(len(tokens))
            special = {i: special.get(i, f"<|reserved_token_{len(tokens) + i}|>") for i in range(256)}
            config["added_tokens_decoder"][str(len(tokens) + 4)].update(content="[two words]", lstrip=False)
        make(root / name, "llama", file, tiktoken_file(tokens), config, {})
        encoding = encoding_of(name, pattern, tokens, special)
        yield name, expected_of_class(encoding, is_nfc, front, lines_of(name))
