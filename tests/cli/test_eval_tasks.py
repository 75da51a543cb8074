"""Tasks of `normtweak eval` against what they are by hand, with logits of transformers: one text at a time."""
import json
import math
import re

import pytest
import torch

import choice_rows
import cli_models
import cli_program

ROWS = 12


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A model, the same with noise in place of a quantized one, and a tokenizer that puts BOS before texts."""
    folder = tmp_path_factory.mktemp("models")
    exact, noisy = cli_models.llama(), cli_models.llama()
    generator = torch.Generator().manual_seed(5)
    for parameter in noisy.parameters():
        parameter.data += 0.05 * parameter.std() * torch.randn(parameter.shape, generator=generator)
    for name, model in (("exact", exact), ("noisy", noisy)):
        cli_models.save_with_tokenizer(model, folder / name)
    return folder, exact, noisy, cli_models.load_tokenizer(folder / "exact")


def close(value, tolerance=2e-4):  # F32 sums in another order
    return pytest.approx(value, rel=tolerance, abs=1e-7)


def figures(report, task, model="model"):
    found = [figure for figure in report["figures"] if (figure["task"], figure["model"]) == (task, model)]
    assert all(figure.keys() == {"task", "text", "metric", "model", "value", "error", "count"} for figure in found)
    assert len({figure["metric"] for figure in found}) == len(found)
    return {figure["metric"]: figure for figure in found}


def log_probabilities(model, ids, predicted):
    """Of the last tokens: log probabilities [predicted, vocabulary], in F64."""
    inputs = torch.tensor([ids[-(cli_models.CONTEXT + 1):][:-1]])
    return cli_models.logits(model, inputs)[0, -predicted:].double().log_softmax(-1)


def log_likelihood(model, ids, predicted):
    found = log_probabilities(model, ids, predicted)
    return found.gather(1, torch.tensor(ids[-predicted:])[:, None]).sum().item()


# ---------------------------------------------------------------- multiple choice ------------------------------------


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def choice_log_likelihood(model, tokenizer, context, continuation):
    kept = context.rstrip()
    whole = tokenizer.encode(kept + context[len(kept):] + continuation).ids
    return log_likelihood(model, whole, len(whole) - len(tokenizer.encode(kept).ids))


def accuracies(model, tokenizer, examples):
    plain, by_length = [], []
    for _, pairs, answers, right in examples:
        found = torch.tensor([choice_log_likelihood(model, tokenizer, *pair) for pair in pairs], dtype=torch.float64)
        plain.append(found.argmax().item() == right)
        by_length.append((found / torch.tensor([len(answer) for answer in answers])).argmax().item() == right)
    return plain, by_length


def share(values):
    mean = sum(values) / len(values)
    return {"value": close(mean), "error": close(math.sqrt(mean * (1 - mean) / (len(values) - 1))), "count": len(values)}


def test_multiple_choice(models, tmp_path):
    """All formats in one call."""
    folder, exact, noisy, tokenizer = models
    examples = {name: list(choice_rows.examples(name, ROWS)) for name in choice_rows.FORMATS}
    words = [word for name, rows in examples.items()
             for word in ("--task", f"{name}={write_rows(tmp_path / f'{name}.jsonl', [row[0] for row in rows])}")]
    found = cli_program.report("eval", folder / "noisy", "--reference", folder / "exact", *words, to=tmp_path)
    seen = set()
    for name, rows in examples.items():
        for role, model in (("model", noisy), ("reference", exact)):
            plain, by_length = accuracies(model, tokenizer, rows)
            ours = figures(found, name, role)
            for metric, values in {"acc": plain, "acc_norm": by_length}.items():
                if metric == "acc_norm" and name == "winogrande":
                    assert metric not in ours  # the answers are in the contexts
                    continue
                assert ours[metric] == share(values) | {"task": name, "text": f"{name}.jsonl", "metric": metric,
                                                        "model": role}
                seen.add((name, metric, sum(values)))
    assert len({count for _, _, count in seen}) > 3  # they do differ


def test_answers_of_one_question_share_a_row(models, tmp_path):
    """Of a file whose questions begin alike, have answers of many lengths, or take more than a row, with any batches."""
    folder, exact, noisy, tokenizer = models
    words = cli_models.text(60, seed=3).split()
    rows = [{"question_stem": " ".join(words[:start]), "choices": {
        "text": [" ".join(words[at:at + 1 + 3 * i]) for i, at in enumerate(range(start, start + 5))], "label": list("ABCDE")},
        "answerKey": "ABCDE"[start % 5]} for start in (1, 2, 3, 20, 21)]
    long = {"question_stem": " ".join(words[:9]), "choices": {
        "text": [cli_models.text(24, seed=i).strip() for i in range(40)], "label": [str(i) for i in range(40)]},
        "answerKey": "7"}
    path = write_rows(tmp_path / "rows.jsonl", [*rows, long])
    pairs = [[(row["question_stem"], f" {answer}") for answer in row["choices"]["text"]] for row in [*rows, long]]
    for role, model in (("model", noisy), ("reference", exact)):
        right = [max(range(len(answers)), key=lambda i: choice_log_likelihood(model, tokenizer, *answers[i]))
                 == row["choices"]["label"].index(row["answerKey"])
                 for row, answers in zip([*rows, long], pairs, strict=True)]
        for options in ([], ["--batch-rows", 1]):
            found = cli_program.report("eval", folder / "noisy", "--reference", folder / "exact", "--task",
                                       f"openbookqa={path}", *options, to=tmp_path)
            assert figures(found, "openbookqa", role)["acc"]["value"] == close(sum(right) / len(right))


def test_examples_are_limited(models, tmp_path):
    folder, exact, _, tokenizer = models
    rows = list(choice_rows.examples("openbookqa", ROWS))
    path = write_rows(tmp_path / "rows.jsonl", [row[0] for row in rows])
    for options in (["--max-examples", 5], ["--max-examples", 5, "--batch-rows", 1]):
        found = cli_program.report("eval", folder / "exact", "--task", f"openbookqa={path}", *options, to=tmp_path)
        plain, _ = accuracies(exact, tokenizer, rows[:5])
        assert figures(found, "openbookqa")["acc"]["value"] == close(sum(plain) / 5)
        assert figures(found, "openbookqa")["acc"]["count"] == 5


def test_line_ends_of_windows_and_blank_lines(models, tmp_path):
    rows = [row for row, *_ in choice_rows.examples("piqa", ROWS)]
    plain = write_rows(tmp_path / "plain.jsonl", rows)
    other = tmp_path / "other.jsonl"
    other.write_bytes(b"\r\n \r\n".join(json.dumps(row).encode() for row in rows))
    found = cli_program.report("eval", models[0] / "exact", "--task", f"piqa={plain}", "--task", f"piqa={other}",
                               to=tmp_path)
    values = [(figure["metric"], figure["value"], figure["count"]) for figure in found["figures"]]
    assert values[:2] == values[2:] and values[0][2] == ROWS


def test_flavours_of_lambada(models, tmp_path):
    """They differ in their data alone; --lambada is OpenAI's."""
    folder = models[0]
    path = write_rows(tmp_path / "rows.jsonl", [{"text": cli_models.text(9, seed=i).strip()} for i in range(6)])
    found = cli_program.report("eval", folder / "exact", "--lambada", path, "--task", f"lambada_standard={path}",
                               to=tmp_path)
    ours, others = (figures(found, f"lambada_{flavour}") for flavour in ("openai", "standard"))
    assert ours.keys() == {"acc", "perplexity"}
    for metric, figure in ours.items():
        assert figure | {"task": "lambada_standard"} == others[metric]
    assert found["lambada"] == {"accuracy": ours["acc"]["value"], "stderr": ours["acc"]["error"], "examples": 6,
                                "perplexity": ours["perplexity"]["value"]}


# ---------------------------------------------------------------- documents ------------------------------------------

PAGES = [
    " = River stones = \n \n She carries 3 @,@ 000 stones ( or 2 @.@ 5 of them ) ; the bridge 's old @-@ fashioned . \n"
    " \n = = Water = = \n \n It was \" turning \" quietly , was it ? \n = = = Light = = = \n N leaves [ see  ] { x }\n",
    " = Seven birds = \n \n" + cli_models.text(260, seed=4) + " \n",
    " = A note = \n' so ' the birds ' song\u3000\u00e4 \u00b0 5 /' 3/ ! \n",
]
# What the task does to a page, in this order: patterns and replacements of re.sub.
RULES = [(r"s '", "s'"), (r"/' [0-9]/", "/'[0-9]/"), (r" @-@ ", "-"), (r" @,@ ", ","), (r" @\.@ ", "."),
         *((f" {re.escape(sign)} ", f"{sign} ") for sign in ":;.!?,"),
         *((rf"{re.escape(a)}\s*([^{re.escape(b)}]*?)\s*{re.escape(b)}", rf"{a}\1{b}")
           for a, b in ("()", "[]", "{}", '""', "''")),
         ("= = = =", "===="), ("= = =", "==="), ("= =", "=="), (" \u00b0 ", "\u00b0"), (" \n", "\n"), ("\n ", "\n"),
         (" N ", " 1 "), (" 's", "'s")]


def detokenized(page):
    for pattern, replacement in RULES:
        page = re.sub(pattern, replacement, page)
    return page


def document_loss(model, ids, before, context):
    """Each token once: in windows of `context` tokens, from as many tokens before it as its window has."""
    sequence, loss = [before, *ids], 0.0
    for first in range(0, len(ids), context):
        end = min(first + context, len(ids))
        inputs = torch.tensor([sequence[max(0, end - context):end]])
        found = cli_models.logits(model, inputs)[0, first - end:].double().log_softmax(-1)
        loss -= found.gather(1, torch.tensor(sequence[first + 1:end + 1])[:, None]).sum().item()
    return loss


def document_figures(model, tokenizer, pages, before, context):
    losses = [document_loss(model, tokenizer.encode(detokenized(page)).ids, before, context) for page in pages]
    found = {}
    for metric, sizes in {"word_perplexity": [len(re.split(r"\s+", page)) for page in pages],
                          "byte_perplexity": [len(page.encode()) for page in pages]}.items():
        mean = sum(losses) / sum(sizes)
        rest = sum((loss - mean * size) ** 2 for loss, size in zip(losses, sizes, strict=True))
        error = math.sqrt(rest * len(pages) / max(1, len(pages) - 1)) / sum(sizes) if len(pages) > 1 else 0
        found[metric] = (math.exp(mean), math.exp(mean) * error, sum(sizes))
    bits = sum(losses) / sum(sizes) / math.log(2)
    return found | {"bits_per_byte": (bits, error / math.log(2), sum(sizes))}


@pytest.mark.parametrize("tokens", ["BOS before texts", "BOS by name", "EOS alone"])
@pytest.mark.parametrize("context", [None, 40])
def test_protocol_of_lm_eval(tokens, context, models, tmp_path):
    folder, exact, noisy, tokenizer = models
    model = folder / f"noisy {tokens}"
    cli_models.save_with_tokenizer(noisy, model)
    before = cli_models.BEGIN
    if tokens != "BOS before texts":
        tokenizer = cli_models.load_tokenizer(model)
        tokenizer.post_processor = None
        document = json.loads((model / "tokenizer.json").read_text()) | {"post_processor": None}
        (model / "tokenizer.json").write_text(json.dumps(document))
        names = {"bos_token": "<|begin|>", "eos_token": "<|end|>"} if tokens == "BOS by name" else {"eos_token": "<|end|>"}
        before = cli_models.BEGIN if tokens == "BOS by name" else cli_models.END
        (model / "tokenizer_config.json").write_text(
            json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"} | names))
    text = tmp_path / "wiki.raw"
    text.write_text(" \n" + "\n".join(PAGES), encoding="utf-8")
    words = ["--context", context] if context else []
    found = cli_program.report("eval", model, "--reference", folder / "exact", "--text", text, "--protocol", "lm-eval",
                               *words, to=tmp_path)
    for role, scored in (("model", noisy), ("reference", exact)):
        expected = document_figures(scored, tokenizer, PAGES, before, context or cli_models.CONTEXT)
        ours = figures(found, "perplexity/lm-eval", role)
        for metric, (value, error, count) in expected.items():
            assert (ours[metric]["value"], ours[metric]["error"]) == (close(value), close(error, 2e-3)), metric
            assert ours[metric]["count"] == count
    ids = [tokenizer.encode(detokenized(page)).ids for page in PAGES]
    assert found["tokens_scored"] == sum(map(len, ids)) == figures(found, "perplexity/lm-eval")["kld"]["count"]
    assert found["perplexity"]["protocol"] == "lm-eval"
    assert found["perplexity"]["quantized"] == figures(found, "perplexity/lm-eval")["word_perplexity"]["value"]
    assert found["kld"]["mean"] > 0


def test_text_without_headings_is_one_document(models, tmp_path):
    folder, exact, _, tokenizer = models
    text = tmp_path / "plain.txt"
    text.write_text(cli_models.text(200, seed=8), encoding="utf-8")
    found = cli_program.report("eval", folder / "exact", "--rows", text, "--protocol", "lm-eval", to=tmp_path)
    expected = document_figures(exact, tokenizer, [text.read_text(encoding="utf-8")], cli_models.BEGIN,
                                cli_models.CONTEXT)
    assert found["perplexity"] == {"protocol": "lm-eval", "value": close(expected["word_perplexity"][0]), "stderr": 0}


def test_documents_in_the_report_of_a_run(models, tmp_path):
    """Of the float model, of the quantized one and of what is saved."""
    folder, exact, _, tokenizer = models
    text = tmp_path / "wiki.raw"
    text.write_text(" \n" + "\n".join(PAGES), encoding="utf-8")
    cli_program.save_ids(tmp_path / "ids.safetensors", cli_models.ids(8, 32))
    words = ["--bits", 3, "--group-size", 32, "--format", "hf", "--calibration", tmp_path / "ids.safetensors", "--dtype",
             "f32", "--lr", "1e-2", "--epochs", 2, "--batch", 1, "--eval-text", text, "--protocol", "lm-eval"]
    run = cli_program.report("quantize", folder / "exact", "-o", tmp_path / "out", "--method", "rtn", *words, to=tmp_path)
    [run] = run["evaluations"]
    saved = cli_program.report("eval", tmp_path / "out", "--reference", folder / "exact", "--text", text, "--protocol",
                               "lm-eval", to=tmp_path)
    expected = document_figures(exact, tokenizer, PAGES, cli_models.BEGIN, cli_models.CONTEXT)
    for key, metric in (("perplexity", "word_perplexity"), ("byte_perplexity", "byte_perplexity")):
        ours = figures(saved, "perplexity/lm-eval")[metric]
        assert run[key]["float"] == close(expected[metric][0])
        assert (run[key]["tweaked"], run[key]["stderr"]) == (close(ours["value"]), close(ours["error"], 2e-3))
        assert run[key]["quantized"] != run[key]["float"]
    assert run["perplexity"]["protocol"] == "lm-eval"
    assert run["tokens_scored"] == saved["tokens_scored"]
    assert run["kld"]["tweaked"] == close(saved["kld"]["mean"])
    assert run["top1_agreement"]["tweaked"] == close(saved["top1_agreement"])


# ---------------------------------------------------------------- drift ----------------------------------------------


def block_outputs(model, ids):
    """f64 [tokens, hidden] of each block; hidden_states has the last one after the final norm."""
    outputs = []
    hooks = [layer.register_forward_hook(lambda _, __, output: outputs.append(output)) for layer in model.model.layers]
    cli_models.logits(model, ids)
    for hook in hooks:
        hook.remove()
    return [(output[0] if isinstance(output, tuple) else output).double().flatten(0, 1) for output in outputs]


def test_drift(models, tmp_path):
    folder, exact, noisy, tokenizer = models
    text = tmp_path / "text.txt"
    text.write_text(cli_models.text(300, seed=2), encoding="utf-8")
    ids = tokenizer.encode(text.read_text(encoding="utf-8")).ids
    ids = torch.tensor(ids[:len(ids) // 32 * 32]).view(-1, 32)
    found = cli_program.report("eval", folder / "noisy", "--reference", folder / "exact", "--text", text, "--context", 32,
                               "--batch-rows", 3, "--drift", "--drift-channels", to=tmp_path)
    assert len(found["drift_channels"]) == cli_models.llama().config.num_hidden_layers
    drift = figures(found, "drift")
    assert figures(found, "perplexity/gptq").keys() == {"perplexity", "kld", "top1_agreement"}
    for i, (ours, theirs) in enumerate(zip(block_outputs(noisy, ids), block_outputs(exact, ids), strict=True)):
        expected = {"mse": (ours - theirs).square().mean().item(),
                    "mse_relative": ((ours - theirs).square().sum() / theirs.square().sum()).item()}
        for name, moment in (("mean", lambda x: x.mean(0)), ("variance", lambda x: x.var(0, unbiased=False))):
            difference = moment(ours) - moment(theirs)
            expected |= {f"{name}_shift": difference.mean().item(), f"{name}_distance": difference.abs().mean().item(),
                         f"{name}_relative": (difference.abs().sum() / moment(theirs).abs().sum()).item()}
            error = (difference.std() / len(difference) ** 0.5).item()
            channels = {key: torch.tensor(values, dtype=torch.float64) for key, values in found["drift_channels"][i].items()}
            largest = difference.abs().max().item()
            torch.testing.assert_close(channels[f"{name}_shift"], difference, rtol=2e-3, atol=2e-4 * largest)
            torch.testing.assert_close(channels[f"reference_{name}"], moment(theirs), rtol=1e-4, atol=1e-5)
            assert drift[f"block {i} {name}_shift"]["error"] == close(error, 1e-3)
        assert {name: drift[f"block {i} {name}"]["value"] for name in expected} == {
            name: close(value, 2e-3) for name, value in expected.items()}
    assert len(drift) == 8 * cli_models.llama().config.num_hidden_layers
