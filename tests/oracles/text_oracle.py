"""Tokenizers, lines of text, and the ids and texts that the `tokenizers` package makes of them."""
import json
import pathlib
import sys

import text_regexes
import text_samples
import text_subwords
import text_tokenizers

LINES, FEWER_LINES = 10_500, 3_000  # fewer for tokenizers that only tests have


def write(path, content):
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def write_expectations(folder, name, tokenizer, lines):
    plain = [encoding.ids for encoding in tokenizer.encode_batch(lines, add_special_tokens=False)]
    marked = [encoding.ids for encoding in tokenizer.encode_batch(lines, add_special_tokens=True)]
    tokenizer.encode_special_tokens = True
    spelled = [encoding.ids for encoding in tokenizer.encode_batch(lines, add_special_tokens=False)]
    tokenizer.encode_special_tokens = False
    cut = [ids[1:-1] for ids in marked]  # characters lose bytes where a token ends within one
    write(folder / f"{name}.expected.json", {
        "size": tokenizer.get_vocab_size(),
        "plain": plain,
        "marked": marked,
        "spelled": {str(i): ids for i, ids in enumerate(spelled) if ids != plain[i]},  # special tokens as text
        "decoded": tokenizer.decode_batch(cut, skip_special_tokens=False),
        "decoded_for_people": tokenizer.decode_batch(cut, skip_special_tokens=True)})


def spell_merges_as_lines(document):
    """As files were written before tokens could hold spaces."""
    document["model"]["merges"] = [" ".join(merge) for merge in document["model"]["merges"]]


def gguf_metadata(tokenizer, pre):
    document = json.loads(tokenizer.to_str())
    tokens = [tokenizer.id_to_token(id) for id in range(tokenizer.get_vocab_size())]
    special = {token["id"]: token["special"] for token in document["added_tokens"]}
    types = [1 if id not in special else 3 if special[id] else 4 for id in range(len(tokens))]
    return {
        "general.architecture": "llama", "llama.context_length": 512,
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": pre, "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": [" ".join(merge) for merge in document["model"]["merges"]],
        "tokenizer.ggml.bos_token_id": tokens.index("<|im_start|>"),
        "tokenizer.ggml.eos_token_id": tokens.index("<|im_end|>"),
        "tokenizer.ggml.unknown_token_id": tokens.index("<|endoftext|>"),
        "tokenizer.chat_template": "{% for message in messages %}{{ message['content'] }}{% endfor %}"}


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    lines = text_samples.lines(LINES)
    write(folder / "lines.json", lines)
    write(folder / "malformed.json", [[data.hex(), data.decode("utf-8", errors="replace")]
                                      for data in text_samples.malformed_bytes()])
    write(folder / "regexes.json", text_regexes.expectations())
    names, gguf_names = [], []
    for name, pre, make in text_tokenizers.PLAIN:
        tokenizer = text_tokenizers.add_user_defined(make())
        document = json.loads(tokenizer.to_str())
        if len(names) % 2:
            spell_merges_as_lines(document)
        write(folder / f"{name}.json", document)
        write(folder / f"{name}.gguf.json", gguf_metadata(tokenizer, pre))
        write_expectations(folder, name, tokenizer, lines)
        names.append(name)
        gguf_names.append(name)
    others = [(name, tokenizer, FEWER_LINES) for name, tokenizer in text_tokenizers.demanding()]
    others += [(name, make(), LINES if name in text_subwords.MAIN else FEWER_LINES // 2)
               for name, make in text_subwords.KINDS]
    for name, tokenizer, count in others:
        tokenizer.save(str(folder / f"{name}.json"))
        write_expectations(folder, name, tokenizer, lines[:count])
        names.append(name)
    write(folder / "names.json", {"all": names, "gguf": gguf_names})


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
