"""What models write after a prompt, against transformers."""
import pytest
import torch
from transformers import AutoModelForCausalLM

import cli_models
import cli_program

PROMPT = " The river carries old stones"
TOKENS = 24


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    for seed, name in enumerate(("one", "two")):
        model = cli_models.llama()
        torch.manual_seed(seed)
        model.lm_head.weight.data = 0.5 * torch.randn_like(model.lm_head.weight)
        cli_models.save(model, folder / name)
        cli_models.save_tokenizer(folder / name)
    cli_models.save(cli_models.llama(), folder / "bare")
    return folder


def expected(folder):
    """The likeliest continuation according to transformers, decoded."""
    tokenizer = cli_models.load_tokenizer(folder)
    ids = torch.tensor([tokenizer.encode(PROMPT).ids])
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        written = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=TOKENS, do_sample=False)
    return tokenizer.decode(written[0, ids.shape[1]:].tolist())


def sample(home, *arguments):
    return cli_program.report("sample", *arguments, "--prompt", PROMPT, "--tokens", TOKENS, to=home)["samples"]


def test_likeliest_continuations(home):
    samples = sample(home, home / "one", home / "two")
    assert [entry["model"] for entry in samples] == [str(home / "one"), str(home / "two")]
    for entry, name in zip(samples, ("one", "two")):
        assert entry["text"] == expected(home / name)


def test_drawn_continuations_depend_on_the_seed(home):
    drawn = [sample(home, home / "one", "--temperature", 1, "--seed", seed)[0]["text"] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("arguments, message", [
    (["one", "bare"], "no tokenizer"),
    (["one", "--tokens", 1000], "context"),
])
def test_refused(home, arguments, message):
    name, *more = [home / argument if argument in ("one", "bare") else argument for argument in arguments]
    finished = cli_program.call("sample", name, *more, "--prompt", PROMPT)
    assert finished.returncode == 1 and message in finished.stderr and finished.stderr.count("\n") == 1
