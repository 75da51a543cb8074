"""The text that `normtweak generate` lets a model write."""
import json
import re

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import cli_models
import cli_program

BEGIN, END = cli_models.BEGIN, cli_models.END
KNOWN = cli_models.VOCABULARY - 4  # ids that the tokenizer has; the model's embedding has four more
ENGLISH = re.compile(r"^ [A-Z][a-z]*$")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """`model` ends a text with END, `same` with the token that begins one, `bare` has no tokenizer."""
    folder = tmp_path_factory.mktemp("generate")
    model = cli_models.llama()
    for name, end in (("model", END), ("same", BEGIN), ("bare", END)):
        cli_models.save(model, folder / name)
        if name == "bare":
            continue
        cli_models.save_tokenizer(folder / name, end)
        cli_models.edit_config(folder / name, lambda config: config.update(eos_token_id=end))
    return folder


def generate(home, *options, model="model", to=None, samples=8, tokens=32):
    path = (to or home) / "text.safetensors"
    figures = cli_program.report("generate", home / model, "-o", path, "--samples", samples, "--tokens", tokens,
                                 "--dtype", "f32", *options, to=home)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    found = load_file(path)
    assert found.keys() == {"input_ids"} and found["input_ids"].dtype == torch.int64
    ids = found["input_ids"]
    assert ids.shape == (samples, tokens)
    assert figures["provenance"] == metadata
    assert (figures["samples"], figures["tokens"]) == (samples, tokens)
    assert figures["tokens_per_second"] > 0 and figures["seconds"].keys() == {"generate", "total"}
    return ids, metadata


@pytest.fixture(scope="module")
def tokenizer(home):
    return cli_models.load_tokenizer(home / "model")


def starts(ids, end):
    """(row, place) of the first token of every document, which stands behind BEGIN."""
    for row, content in enumerate(ids.tolist()):
        yield row, 1
        yield from ((row, place + 2) for place, id in enumerate(content[:-2]) if id == end and place > 0)


def check_documents(ids, end):
    """BEGIN comes first in every row and after every END, and nowhere else."""
    assert ids.min() >= 0 and ids.max() < KNOWN
    for row in ids.tolist():
        assert row[0] == BEGIN
        for before, id in zip(row, row[1:]):
            if end != BEGIN:
                assert (before == END) == (id == BEGIN)


def check_greedy(ids, end):
    """The three tokens after a document's first one are those that the model likes best."""
    logits = cli_models.logits(cli_models.llama(), ids)
    logits[..., [id for id in (BEGIN, END) if id != end] + list(range(KNOWN, cli_models.VOCABULARY))] = -torch.inf
    checked = 0
    for row, first in starts(ids, end):
        chosen = ids[row, first + 1:first + 4].tolist()
        if end in chosen:
            chosen = chosen[:chosen.index(end) + 1]
        best = logits[row, first:first + len(chosen)].argmax(-1).tolist()
        assert chosen == best, (row, first)
        checked += len(chosen)
    return checked


def test_any_first_token(home, tokenizer):
    ids, metadata = generate(home, "--strategy", "llm-qat", "--seed", 5, samples=24)
    check_documents(ids, END)
    assert check_greedy(ids, END) >= 3 * 20
    assert len(set(ids[:, 1].tolist())) > 12
    assert metadata == {"strategy": "llm-qat", "model": str(home / "model"), "seed": "5", "temperature": "1",
                        "top_k": "0", "top_p": "1"}
    # After the greedy tokens comes sampling: not every row goes on as the model likes best.
    logits = cli_models.logits(cli_models.llama(), ids)
    assert (logits[:, 8:-1].argmax(-1) != ids[:, 9:]).float().mean() > 0.3


def test_first_word_of_a_language(home, tokenizer):
    ids, metadata = generate(home, samples=24)  # the default
    check_documents(ids, END)
    assert metadata["strategy"] == "language" and metadata["languages"] == "en"
    for row, place in starts(ids, END):
        assert ENGLISH.match(tokenizer.decode([ids[row, place]])), (row, place)


def test_random_tokens(home):
    ids, metadata = generate(home, "--strategy", "random-tokens", samples=64)
    assert metadata["strategy"] == "random-tokens"
    assert ids.min() > END and ids.max() < KNOWN  # ordinary ones alone
    assert len(ids.unique()) > 150  # of 2048 draws from about 190


@pytest.mark.parametrize("model, end", [("model", END), ("same", BEGIN)])
def test_after_the_end_a_new_text_begins(model, end, home, tokenizer):
    """At this temperature every token is as likely as any other, so that many texts end."""
    ids, _ = generate(home, "--temperature", 1000, "--top-k", 0, model=model, samples=24, tokens=96)
    check_documents(ids, end)
    places = list(starts(ids, end))
    if end == BEGIN:  # twice: the end of one text and the beginning of the next
        twice = (ids[:, :-2] == BEGIN) & (ids[:, 1:-1] == BEGIN)
        places = [(row, place + 2) for row, place in twice.nonzero().tolist()]
    assert len(places) > (24 if end != BEGIN else 0)
    for row, place in places:
        assert ENGLISH.match(tokenizer.decode([ids[row, place]])), (row, place)
    if end != BEGIN:
        check_greedy(ids, end)
    assert (ids == end).float().mean() < 0.1


def test_seed(home, tmp_path):
    contents = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        generate(home, "--seed", seed, "--generate-batch", 3, to=tmp_path / name)
        contents.append((tmp_path / name / "text.safetensors").read_bytes())
    assert contents[0] == contents[1] != contents[2]
    ids = load_file(tmp_path / "a" / "text.safetensors")["input_ids"]
    assert len({tuple(row) for row in ids.tolist()}) == len(ids)  # batches of one run differ, too


def test_narrow_sampling_is_greedy(home):
    # The two likeliest may be as near as 2e-5: the temperature has to tell them apart.
    for narrow in (["--top-k", 1], ["--top-p", 1e-6, "--top-k", 0], ["--temperature", 1e-6]):
        ids, _ = generate(home, *narrow, samples=4)
        logits = cli_models.logits(cli_models.llama(), ids)
        logits[..., [BEGIN, *range(KNOWN, cli_models.VOCABULARY)]] = -torch.inf
        for row in range(4):
            ended = END in ids[row].tolist()
            assert ended or torch.equal(ids[row, 2:], logits[row, 1:-1].argmax(-1))


def test_without_a_tokenizer(home):
    ids, metadata = generate(home, model="bare")
    assert ids.min() >= 0 and ids.max() < cli_models.VOCABULARY
    assert metadata["strategy"] == "llm-qat"


def test_a_language_that_the_tokenizer_has_no_word_of(home, tmp_path):
    arguments = ["generate", home / "model", "-o", tmp_path / "x.safetensors", "--samples", 2, "--tokens", 8,
                 "--languages", "ja"]
    by_default = cli_program.call(*arguments)
    assert by_default.returncode == 0 and "no whole word of ja" in by_default.stderr
    assert cli_program.call(*arguments, "--strategy", "language").returncode == 1


def test_rows_are_as_long_as_the_context_by_default(home, tmp_path):
    cli_program.run("generate", home / "model", "-o", tmp_path / "x.safetensors", "--samples", 2)
    context = json.loads((home / "model" / "config.json").read_text())["max_position_embeddings"]
    assert cli_program.tensors(tmp_path)["input_ids"].shape == (2, min(512, context))


@pytest.fixture(scope="module")
def unreadable(home):
    """As `bare`, with a tokenizer of a kind that is not supported."""
    cli_models.save(cli_models.llama(), home / "unreadable")
    tokens = [{"id": 5, "content": "<x>", "special": True}, {"id": 6, "content": "<y>", "special": False}, "not one"]
    (home / "unreadable" / "tokenizer.json").write_text(
        json.dumps({"model": {"type": "Syllables"}, "added_tokens": tokens}))
    return home / "unreadable"


def test_a_tokenizer_that_cannot_be_used_is_done_without(home, unreadable, tmp_path):
    ids, _ = generate(home, "--strategy", "random-tokens", model="unreadable", samples=64)
    assert set(ids.unique().tolist()).isdisjoint({BEGIN, END, 5}) and 6 in ids
    ids, _ = generate(home, "--strategy", "llm-qat", "--temperature", 1000, model="unreadable", samples=64)
    assert set(ids.unique().tolist()).isdisjoint({BEGIN, 5}) and {END, 6} <= set(ids.unique().tolist())
    arguments = ["generate", unreadable, "-o", tmp_path / "x", "--samples", 2, "--tokens", 8]
    said = cli_program.call(*arguments, "--strategy", "llm-qat")
    assert said.returncode == 0 and "Syllables" in said.stderr
    by_default = cli_program.call(*arguments)
    assert by_default.returncode == 0 and by_default.stderr.splitlines()[0] == said.stderr.splitlines()[0]
    refused = cli_program.call(*arguments, "--strategy", "language")
    assert refused.returncode == 1 and len(refused.stderr.splitlines()) == 1
    assert "Syllables" in refused.stderr and "--strategy llm-qat" in refused.stderr


def test_cut_from_a_text(home, tokenizer, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text(cli_models.text(500, seed=4), encoding="utf-8")
    ids, metadata = generate(home, "--text", text, samples=5, tokens=30)
    encoded = tokenizer.encode(text.read_text(encoding="utf-8")).ids
    step = len(encoded) // 5
    assert step > 30
    assert ids.tolist() == [encoded[row * step:row * step + 30] for row in range(5)]
    assert metadata == {"strategy": "text", "file": str(text)}
