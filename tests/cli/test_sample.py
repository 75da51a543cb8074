"""What models write after a prompt, against transformers."""
import html.parser

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


def log_probabilities(folder, row, first):
    """Of the tokens of a row from `first` on, according to transformers."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        return model(torch.tensor([row])).logits[0, first - 1:-1].double().log_softmax(-1)


def divergences(reference, folder, text):
    """KL(reference || model) in nats before each token of what the model wrote."""
    tokenizer = cli_models.load_tokenizer(folder)
    prompt = tokenizer.encode(PROMPT).ids
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.tensor([prompt])
    with torch.no_grad():
        row = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=TOKENS, do_sample=False)[0].tolist()
    written = row[len(prompt):]
    if written[-1] == cli_models.END:  # ends the text, and is no part of it
        row.pop()
        written.pop()
    assert tokenizer.decode(written) == text
    theirs, ours = (log_probabilities(each, row, len(prompt)) for each in (reference, folder))
    return (theirs.exp() * (theirs - ours)).sum(-1), written


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


@pytest.mark.parametrize("named", ["first", "--reference", "--reference of another"])
def test_side_by_side(named, home):
    """Where each parts from the float model, and the divergence before each of its tokens."""
    arguments = {"first": [home / "one", home / "two"], "--reference": [home / "two", home / "one", "--reference", home / "one"],
                 "--reference of another": [home / "two", "--reference", home / "one"]}[named]
    of_one, of_two = sample(home, *arguments)
    assert [of_one["model"], of_two["model"]] == [str(home / "one"), str(home / "two")]
    assert "kld" not in of_one and "".join(of_two["pieces"]) == of_two["text"]
    expected, written = divergences(home / "one", home / "two", of_two["text"])
    theirs = divergences(home / "one", home / "one", of_one["text"])[1]
    assert len(of_two["pieces"]) == len(of_two["kld"]) == len(written) > 0
    assert torch.allclose(torch.tensor(of_two["kld"], dtype=torch.float64), expected, rtol=1e-4, atol=1e-4)
    assert of_two["kld_mean"] == pytest.approx(expected.mean().item(), rel=1e-4) and expected.max() > 0.1
    same = [one == two for one, two in zip(theirs, written)]
    assert of_two["parts_at"] == same.index(False)


def test_the_same_model_parts_nowhere(home):
    _, again = sample(home, home / "one", home / "one")
    assert again["parts_at"] is None and max(map(abs, again["kld"])) < 1e-9


class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.heads, self.cells, self.parts = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag == "th":
            self.heads.append("")
        if tag == "td":
            self.cells.append([])
        if tag == "span":
            self.cells[-1].append("")
            if dict(attributes).get("class") == "parts":
                self.parts.append((len(self.cells) - 1, len(self.cells[-1]) - 1))

    def handle_endtag(self, tag):
        self.tags.append("/" + tag)

    def handle_data(self, data):
        if self.tags[-1:] == ["th"]:
            self.heads[-1] += data
        if self.tags[-1:] == ["span"]:
            self.cells[-1][-1] += data


def test_page(home):
    """Each prompt is a row, each model a column; what is written or named cannot become markup."""
    prompts = [PROMPT, "<script>alert('river & \"stones\"')</script>"]
    found = cli_program.report("sample", home / "one", home / "two", "--prompt", prompts[0], "--prompt", prompts[1], "--tokens", 12,
                               "--html", home / "page.html", to=home)["samples"]
    text = (home / "page.html").read_bytes().decode("utf-8")
    page = Page()
    page.feed(text)
    assert "script" not in page.tags and "src=" not in text and "http" not in text
    assert page.heads == [prompts[0], str(home / "one"), str(home / "two"), prompts[1], str(home / "one"), str(home / "two")]
    assert [(one["prompt"], one["model"]) for one in found] == [(prompt, str(home / name)) for prompt in prompts for name in ("one", "two")]
    assert ["".join(cell) for cell in page.cells] == [one["text"] for one in found]
    assert page.parts == [(place, one["parts_at"]) for place, one in enumerate(found) if one.get("parts_at") is not None]


def test_text_marks_where_they_part(home):
    finished = cli_program.call("sample", home / "one", home / "two", "--prompt", PROMPT, "--tokens", TOKENS)
    _, of_two = sample(home, home / "one", home / "two")
    at = of_two["parts_at"]
    assert PROMPT + "".join(of_two["pieces"][:at]) + "▸" + "".join(of_two["pieces"][at:]) in finished.stdout
    assert f"parts from {home / 'one'} at token {at + 1}" in finished.stdout


def test_vocabularies_must_be_one(home, tmp_path):
    cli_models.save_with_tokenizer(cli_models.llama(vocab_size=cli_models.VOCABULARY + 8), tmp_path / "larger")
    finished = cli_program.call("sample", home / "one", tmp_path / "larger", "--prompt", PROMPT)
    assert finished.returncode == 1 and "cannot be compared" in finished.stderr
