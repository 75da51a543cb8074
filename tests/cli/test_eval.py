"""`normtweak eval` against perplexity, KL divergence and agreement as PyTorch computes them."""
import json
import re

import pytest
import torch

import cli_models
import cli_program

GENERAL_KEYS = {"perplexity", "tokens_scored", "tokens_per_second", "seconds", "peak_memory_bytes", "seed", "version",
                "model", "context", "windows", "device", "dtype", "threads", "figures"}
REFERENCE_KEYS = {"kld", "top1_agreement", "top1_agreement_stderr"}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A float model, and the same with noise on its weights in place of a quantized one; only the first has a
    tokenizer."""
    folder = tmp_path_factory.mktemp("models")
    exact = cli_models.llama()
    cli_models.save_with_tokenizer(exact, folder / "exact")
    noisy = cli_models.llama()
    generator = torch.Generator().manual_seed(5)
    for parameter in noisy.parameters():
        parameter.data += 0.05 * parameter.std() * torch.randn(parameter.shape, generator=generator)
    cli_models.save(noisy, folder / "noisy")
    return folder, exact, noisy


@pytest.fixture(scope="module")
def text_file(models):
    path = models[0] / "text.txt"
    path.write_text(cli_models.text(300, seed=3) + "\n \n\nShe carries\tÄpfel, 12 of them!\n\n" + cli_models.text(120),
                    encoding="utf-8")
    return path


def joined_rows(path):
    """What `datasets` makes of the lines of WikiText, joined by blank lines as GPTQ does."""
    lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    return "\n\n".join(line + "\n" if line.strip() else "" for line in lines)


def windows(folder, text, context, max_tokens=0):
    ids = cli_models.load_tokenizer(folder / "exact").encode(text).ids
    assert ids[0] == cli_models.BEGIN and cli_models.BEGIN not in ids[1:]
    count = (min(len(ids), max_tokens) if max_tokens else len(ids)) // context
    return torch.tensor(ids[:count * context]).view(count, context)


def mean_and_error(values):
    values = values.double().flatten()
    return values.mean().item(), (values.std() / len(values) ** 0.5).item()


def next_token_losses(model, ids):
    log_probabilities = cli_models.logits(model, ids).log_softmax(-1)
    return -log_probabilities[:, :-1].gather(2, ids[:, 1:, None]).squeeze(2)


def close(value, tolerance=1e-4):  # F32 sums in another order
    return pytest.approx(value, rel=tolerance, abs=1e-7)


@pytest.mark.parametrize("source, options", [
    ("--text", {"--context": 32}),
    ("--text", {"--context": 4096}),  # cut to the model's
    ("--rows", {"--context": 48}),
    ("--rows", {"--context": 48, "--max-tokens": 200, "--batch-rows": 3}),
], ids=str)
def test_perplexity(source, options, models, text_file, tmp_path):
    folder, exact, _ = models
    text = text_file.read_text(encoding="utf-8") if source == "--text" else joined_rows(text_file)
    context = min(options["--context"], cli_models.CONTEXT)
    ids = windows(folder, text, context, options.get("--max-tokens", 0))
    words = [word for option in options.items() for word in option]
    found = cli_program.report("eval", folder / "exact", source, text_file, *words, to=tmp_path)
    losses = next_token_losses(exact, ids)
    mean, error = mean_and_error(losses)
    perplexity = torch.tensor(mean).exp().item()
    assert found.keys() == GENERAL_KEYS
    assert found["perplexity"] == {"protocol": "gptq", "value": close(perplexity),
                                   "stderr": close(perplexity * error, 1e-3)}
    assert found["tokens_scored"] == losses.numel()
    assert (found["windows"], found["context"]) == tuple(ids.shape)


def test_against_a_reference(models, text_file, tmp_path):
    """The tokenizer is the reference's, since the model has none."""
    folder, exact, noisy = models
    ids = windows(folder, text_file.read_text(encoding="utf-8"), 40)
    found = cli_program.report("eval", folder / "noisy", "--reference", folder / "exact", "--text", text_file,
                               "--context", 40, to=tmp_path)
    ours, theirs = (cli_models.logits(model, ids).double().log_softmax(-1) for model in (noisy, exact))
    divergence, divergence_error = mean_and_error((theirs.exp() * (theirs - ours)).sum(-1))
    agreement, agreement_error = mean_and_error(ours.argmax(-1) == theirs.argmax(-1))
    loss, loss_error = mean_and_error(next_token_losses(noisy, ids))
    perplexity = torch.tensor(loss).exp().item()
    assert found.keys() == GENERAL_KEYS | REFERENCE_KEYS
    assert found["perplexity"] == {
        "protocol": "gptq", "quantized": close(perplexity), "stderr": close(perplexity * loss_error, 1e-3),
        "float": close(next_token_losses(exact, ids).double().mean().exp().item())}
    assert found["kld"] == {"mean": close(divergence), "stderr": close(divergence_error, 1e-3)}
    assert found["top1_agreement"] == close(agreement)
    assert found["top1_agreement_stderr"] == close(agreement_error)
    assert 0 < agreement < 1 and divergence > 0.01


def llama_cpp_windows(folder, text, context):
    """As its tool makes them: special tokens spelled in the text are text, and each window begins with BOS."""
    tokenizer = cli_models.load_tokenizer(folder / "exact")
    tokenizer.encode_special_tokens = True
    ids = tokenizer.encode(text).ids
    ids = torch.tensor(ids[:len(ids) // context * context]).view(-1, context)
    ids[:, 0] = cli_models.BEGIN
    return ids


@pytest.mark.parametrize("context", [None, 33, 40], ids=str)
def test_protocol_of_llama_cpp(context, models, text_file, tmp_path):
    """Figures of the positions from the middle of a window on whose next token is in it."""
    folder, exact, noisy = models
    spelled = tmp_path / "spelled.txt"
    spelled.write_text(text_file.read_text(encoding="utf-8") * 3 + "<|begin|> a text, <|end|> it " * 9, encoding="utf-8")
    ids = llama_cpp_windows(folder, spelled.read_text(encoding="utf-8"), context or min(512, cli_models.CONTEXT))
    words = ["--context", context] if context else []
    found = cli_program.report("eval", folder / "noisy", "--reference", folder / "exact", "--text", spelled,
                               "--protocol", "llama.cpp", *words, to=tmp_path)
    first = ids.shape[1] // 2
    ours, theirs = (cli_models.logits(model, ids).double().log_softmax(-1)[:, first:-1] for model in (noisy, exact))
    loss, error = mean_and_error(-ours.gather(2, ids[:, first + 1:, None]))
    divergence, divergence_error = mean_and_error((theirs.exp() * (theirs - ours)).sum(-1))
    reference = -theirs.gather(2, ids[:, first + 1:, None]).mean()
    perplexity = torch.tensor(loss).exp().item()
    assert found["perplexity"] == {"protocol": "llama.cpp", "quantized": close(perplexity),
                                   "stderr": close(perplexity * error, 1e-3), "float": close(reference.exp().item())}
    assert found["kld"] == {"mean": close(divergence), "stderr": close(divergence_error, 1e-3)}
    assert found["top1_agreement"] == close((ours.argmax(-1) == theirs.argmax(-1)).double().mean().item())
    assert found["tokens_scored"] == ids.shape[0] * (ids.shape[1] - 1 - first)
    assert (found["windows"], found["context"]) == tuple(ids.shape)


def test_model_against_itself(models, text_file, tmp_path):
    found = cli_program.report("eval", models[0] / "exact", "--reference", models[0] / "exact", "--text", text_file,
                               "--context", 40, "--seed", 7, to=tmp_path)
    assert found["kld"]["mean"] == pytest.approx(0, abs=1e-9)
    assert found["top1_agreement"] == 1
    assert found["perplexity"]["float"] == found["perplexity"]["quantized"]
    assert (found["seed"], found["device"], found["dtype"], found["threads"]) == (7, "cpu", "float32", 1)


# ---------------------------------------------------------------- LAMBADA --------------------------------------------


def split_as_lm_eval(text):
    """doc_to_text and doc_to_target of lambada_openai, then how its models take white space to the continuation."""
    context, word = " ".join(text.split(" ")[:-1]), " " + text.split(" ")[-1]
    kept = context.rstrip()
    return kept, context[len(kept):] + word


def lambada_by_hand(model, tokenizer, texts):
    """Each text alone: whether greedy decoding gives the word, and the word's negative log likelihood."""
    correct, losses = [], []
    for text in texts:
        context, word = split_as_lm_eval(text)
        assert context + word == text
        whole = tokenizer.encode(context + word).ids
        target = torch.tensor(whole[len(tokenizer.encode(context).ids):])
        inputs = torch.tensor([whole[-(cli_models.CONTEXT + 1):][:-1]])
        found = cli_models.logits(model, inputs)[0, -len(target):].double().log_softmax(-1)
        correct.append((found.argmax(-1) == target).all())
        losses.append(-found.gather(1, target[:, None]).sum())
    return torch.stack(correct), torch.stack(losses)


def lambada_figures(correct, losses):
    accuracy, error = mean_and_error(correct)
    return {"accuracy": close(accuracy), "stderr": close(error), "perplexity": close(losses.mean().exp().item(), 5e-4),
            "examples": len(correct)}


@pytest.fixture(scope="module")
def lambada(tmp_path_factory):
    """A model that knows some last words, a noisy copy, and texts. Tokens that do not begin a word have a weight of 0 in
    the head, so that the likeliest token begins one: texts can be made to end as the model would end them."""
    folder = tmp_path_factory.mktemp("lambada")
    exact, noisy = cli_models.llama(), cli_models.llama()
    tokenizer = cli_models.save_tokenizer(folder)
    begins_word = torch.tensor([bool(re.fullmatch(r"Ġ[A-Za-z]{2,}", tokenizer.id_to_token(i) or ""))
                                for i in range(cli_models.VOCABULARY)])
    for model in (exact, noisy):
        model.lm_head.weight.data[~begins_word] = 0
    generator = torch.Generator().manual_seed(7)
    for parameter in noisy.parameters():
        parameter.data += 0.1 * parameter.std() * torch.randn(parameter.shape, generator=generator)
    for name, model in (("exact", exact), ("noisy", noisy)):
        cli_models.save(model, folder / name)
    cli_models.save_tokenizer(folder / "exact")

    texts = []
    for i in range(40):
        context = cli_models.text(5 + 7 * i % 60, seed=i).strip()
        likeliest = cli_models.logits(exact, torch.tensor([tokenizer.encode(context).ids]))[0, -1].argmax()
        word = tokenizer.decode([likeliest.item()]).strip()
        texts.append(context + " " + {0: word, 1: word, 2: word + "q", 3: "bridges", 4: "Äpfel"}[i % 5])
    texts += ["The river \n\n turns", "Old bridges  carry", "She nobody\twater \n", " A stone\n\nlight", "In \u3000 “green”",
              " " + cli_models.text(300).strip() + " bridges"]  # the last is longer than the model's context
    path = folder / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": text, "other": 1}) + "\n\n"[:1 + i % 2] for i, text in enumerate(texts)),
                    encoding="utf-8")
    return folder, exact, noisy, tokenizer, texts, path


@pytest.mark.parametrize("options", [{}, {"--batch-rows": 3}, {"--max-examples": 11}], ids=str)
def test_lambada(options, lambada, tmp_path):
    folder, exact, _, tokenizer, texts, path = lambada
    correct, losses = lambada_by_hand(exact, tokenizer, texts[:options.get("--max-examples")])
    assert 0.2 < correct.double().mean() < 0.6
    words = [word for option in options.items() for word in option]
    found = cli_program.report("eval", folder / "exact", "--lambada", path, *words, to=tmp_path)
    assert found.keys() == GENERAL_KEYS - {"perplexity", "tokens_scored", "tokens_per_second", "context",
                                           "windows"} | {"lambada"}
    assert found["lambada"] == lambada_figures(correct, losses)
    assert found["seconds"].keys() == {"evaluate", "lambada", "total"}


def test_lambada_and_text_against_a_reference(lambada, text_file, tmp_path):
    folder, exact, noisy, tokenizer, texts, path = lambada
    found = cli_program.report("eval", folder / "noisy", "--reference", folder / "exact", "--lambada", path, "--text",
                               text_file, "--context", 40, to=tmp_path)
    assert found.keys() == GENERAL_KEYS | REFERENCE_KEYS | {"lambada"}
    assert found["lambada"] == {"float": lambada_figures(*lambada_by_hand(exact, tokenizer, texts)),
                                "quantized": lambada_figures(*lambada_by_hand(noisy, tokenizer, texts))}
    assert found["lambada"]["float"]["accuracy"] != found["lambada"]["quantized"]["accuracy"]


def test_lambada_in_the_report_of_a_run(lambada, tmp_path):
    """Of the float model, and of what is saved."""
    folder, exact, _, tokenizer, texts, path = lambada
    cli_program.save_ids(tmp_path / "ids.safetensors", cli_models.ids(8, 32))
    options = ["--tune", "norms", "--lr", "1e-2", "--epochs", 2, "--batch", 1, "--dtype", "f32"]
    run = cli_program.report("quantize", folder / "exact", "-o", tmp_path / "out", "--method", "rtn", "--bits", 3,
                             "--group-size", 32, "--format", "hf", "--calibration", tmp_path / "ids.safetensors",
                             *options, "--eval-lambada", path, "--max-examples", 20, to=tmp_path)["lambada"]
    saved = cli_program.report("eval", tmp_path / "out", "--lambada", path, "--max-examples", 20, to=tmp_path)
    assert run.keys() == {"name", "float", "quantized", "tweaked"} and run["name"] == path.name
    assert run["float"] == lambada_figures(*lambada_by_hand(exact, tokenizer, texts[:20]))
    assert run["tweaked"] == {key: close(value) for key, value in saved["lambada"].items()}
    assert run["quantized"]["perplexity"] != run["float"]["perplexity"]
