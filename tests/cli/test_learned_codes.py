"""`quantize --learn-codes`: against straight-through training in plain PyTorch, its gain, and what is refused."""
import json
import os
import pty
import re
import signal
import subprocess

import pytest
import torch
from safetensors.torch import load_file, save_file

import cli_models
import cli_program
from code_positions import Positions, trained
from quantized_linears import unpack_whole

BITS, GROUP = 2, 16
ROWS, TOKENS, TRAIN = 96, 32, 78  # rows of the text, and those that train: 6 choose, 12 confirm
STEPS, RATE, WARMUP = 8, 0.05, 5
MODEL = ["--bits", BITS, "--group-size", GROUP, "--device", "cpu", "--dtype", "f32"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("learned")
    cli_models.save_with_tokenizer(cli_models.llama(), folder / "model")
    cli_program.save_ids(folder / "ids.safetensors", cli_models.ids(ROWS, TOKENS))
    return folder


def quantize(home, output, *options, text=()):
    """text: options that say where it comes from; none: the file of ids"""
    return cli_program.report("quantize", home / "model", "-o", output, "--method", "rtn",
                              *(text or ["--calibration", home / "ids.safetensors"]), *MODEL, *options, to=home)


def read(folder):
    """Codes [out, groups, GROUP], scales and zeros [out, groups, 1] of each linear."""
    tensors, linears = cli_program.tensors(folder), {}
    for key in tensors:
        name, is_packed, _ = key.partition(".weight_packed")
        if not is_packed:
            continue
        out, columns = tensors[f"{name}.weight_shape"].tolist()
        codes = torch.tensor(unpack_whole(tensors[key].numpy(), BITS, columns))
        zeros = torch.tensor(unpack_whole(tensors[f"{name}.weight_zero_point"].numpy().T, BITS, out)).T
        scales = tensors[f"{name}.weight_scale"].double()
        linears[name] = codes.reshape(out, -1, GROUP), scales[..., None], zeros.double()[..., None]
    return linears


def changed(before, after):
    """How many codes differ, of how many."""
    return (sum((before[name][0] != after[name][0]).sum().item() for name in before),
            sum(codes.numel() for codes, *_ in before.values()))


SEED, APART = 5, 0x9e3779b97f4a7c15  # of the first text, and how far the seeds of two passes are apart


def written(rows, seed):
    return ["--strategy", "llm-qat", "--samples", rows, "--tokens", TOKENS, "--seed", seed]


def text_of(home, folder, *how):
    """The text that the model writes, i64 [rows, tokens]."""
    cli_program.run("generate", home / "model", "-o", folder / "text.safetensors", *how, *MODEL[4:])
    return load_file(folder / "text.safetensors")["input_ids"].long()


def fresh_texts(home, folder, passes):
    """Of steps that are a pass each: the rows of the run's own text that train, then as many from other seeds, each text
    for so many passes."""
    texts = [text_of(home, folder, *written(ROWS, SEED))[:TRAIN],
             *(text_of(home, folder, *written(TRAIN, (SEED + APART * number) % 2**64)) for number in range(1, STEPS))]
    return [texts[step // passes] for step in range(STEPS)]


@pytest.mark.parametrize("decay, only, fresh", [(0, None, 0), (5, None, 0), (0, "mlp", 0), (0, None, 1), (0, None, 2)])
def test_as_in_plain_pytorch(decay, only, fresh, home, tmp_path):
    """fresh: the passes for which a text serves; 0: one serves for all."""
    text = written(ROWS, SEED) if fresh else []
    quantize(home, tmp_path / "untouched", "--tweak", "none", text=text)
    # The floats cannot move at such a rate.
    figures = quantize(home, tmp_path / "learned", "--learn-codes", "--lr-codes", RATE, "--lr", 1e-12, "--steps", STEPS,
                       "--batch", TRAIN, "--codes-decay", decay, *(["--codes-of", f"*.{only}.*"] if only else []),
                       *(["--fresh-text", "--fresh-every", fresh] if fresh else []), text=text)
    assert figures["guard"]["kept"] in ("last", "best on the way"), figures["guard"]
    untouched, learned = read(tmp_path / "untouched"), read(tmp_path / "learned")
    moved, _ = changed(untouched, learned)
    learnable = {name: values for name, values in untouched.items() if only is None or f".{only}." in name}
    share = changed(learnable, learned)
    assert moved == share[0]
    assert figures["training"]["changed_codes"] == pytest.approx(share[0] / share[1], rel=1e-6)
    for name, (_, scales, zeros) in untouched.items():
        assert scales.equal(learned[name][1]) and zeros.equal(learned[name][2])
    weights = cli_models.llama().state_dict()
    positions = {name: Positions(weights[f"{name}.weight"], codes, range(2**BITS), scales, -zeros * scales)
                 for name, (codes, scales, zeros) in untouched.items()}
    texts = fresh_texts(home, tmp_path, fresh) if fresh else [cli_models.ids(ROWS, TOKENS)[:TRAIN]] * STEPS
    trajectory = trained(cli_models.llama, positions, texts, RATE, WARMUP, decay, learnable.__contains__)
    states = trajectory[-1:] if figures["guard"]["kept"] == "last" else trajectory
    # Where a position comes to lie in the middle between two codes, up to the momentum's 8 bits.
    off = [sum((state[name] != learned[name][0]).sum().item() for name in learned) for state in states]
    assert min(off) <= (0.05 if fresh else 0.03) * moved and moved > 300


def test_a_file_of_the_same_text_is_gone_on_with(home, tmp_path):
    """Its metadata says how."""
    text_of(home, tmp_path, *written(ROWS, SEED), "--temperature", 0.9, "--top-k", 20)
    learn = ["--learn-codes", "--lr-codes", RATE, "--lr", 0.001, "--steps", 3, "--batch", TRAIN, "--fresh-text"]
    quantize(home, tmp_path / "own", *learn, text=[*written(ROWS, SEED), "--temperature", 0.9, "--top-k", 20])
    source = ["--calibration", tmp_path / "text.safetensors"]
    quantize(home, tmp_path / "file", *learn, text=[*source, "--seed", SEED])
    own, file = cli_program.tensors(tmp_path / "own"), cli_program.tensors(tmp_path / "file")
    assert own.keys() == file.keys() and all(own[name].equal(file[name]) for name in own)

    (tmp_path / "text.txt").write_text(cli_models.text(500), encoding="utf-8")
    for other, said in ((["--calibration", home / "ids.safetensors"], "its metadata names no strategy"),
                        (["--text", tmp_path / "text.txt", "--samples", 8, "--tokens", 16],
                         "the model writes none with --text")):
        finished = cli_program.call("quantize", home / "model", "-o", tmp_path / "out", *other, *MODEL, "--fresh-text")
        assert finished.returncode in (1, 2) and said in finished.stderr, finished
        assert not (tmp_path / "out").exists()


def told_to_stop_while_it_writes(command, number):
    """The exit status, and what a terminal shows, which sees each step of the writing."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([cli_program.PROGRAM, *map(str, command)], env=cli_program.ENVIRONMENT, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while b"generate " not in shown:
            shown += os.read(ours, 4096)
        process.send_signal(number)
        while more := os.read(ours, 4096):
            shown += more
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    return process.wait(timeout=120), shown.decode()


def test_writing_between_two_passes_is_interrupted(home, tmp_path):
    """As the first text is at once: what was won by then is saved, and the text stays unfinished."""
    rows, tokens = 64, cli_models.CONTEXT
    made = {"strategy": "llm-qat", "seed": "3", "temperature": "1", "top_k": "0", "top_p": "1"}
    save_file({"input_ids": cli_models.ids(rows, tokens)}, tmp_path / "ids.safetensors", metadata=made)
    command = ["quantize", home / "model", "-o", tmp_path / "out", "--method", "rtn", *MODEL, "--calibration",
               tmp_path / "ids.safetensors", "--fresh-text", "--generate-batch", 1, "--batch", rows, "--lr", 0.001,
               "--epochs", 1000, "--json", tmp_path / "report.json"]
    status, shown = told_to_stop_while_it_writes(command, signal.SIGINT)
    assert status == 0
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["training"]["stopped"] == "interrupted" and report["steps"] == 1
    done, total = re.findall(r"generate[^\r\n]* (\d+)/(\d+) tokens", shown)[-1]
    assert int(done) < int(total)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
@pytest.mark.parametrize("command", ["generate", "quantize"])
def test_writing_the_first_text_is_interrupted(command, number, home, tmp_path):
    status, shown = told_to_stop_while_it_writes([command, home / "model", "-o", tmp_path / "out", "--samples", 4000,
                                                  "--generate-batch", 1], number)
    assert status == -number
    assert ("normtweak: interrupted; what was not finished has been removed" in shown) == (number == signal.SIGINT)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options, has_effect", [
    (["--steps", 2, "--batch", 8], False), (["--steps", 3, "--batch", 8], True), (["--epochs", 1], False),
    (["--epochs", 3, "--batch", 8, "--stop-after", 2], False), (["--steps", 4, "--batch", 8, "--fresh-every", 2], False),
    (["--steps", 5, "--batch", 8, "--fresh-every", 2], True)],
                         ids=["an epoch", "more", "asked for", "stopped", "two epochs", "more than two"])
def test_fresh_text_within_one_epoch_is_noted(options, has_effect, home, tmp_path):
    """19 rows, of which 16 train: two steps of 8."""
    finished = cli_program.call("quantize", home / "model", "-o", tmp_path / "out", "--method", "rtn", *written(19, SEED),
                                "--fresh-text", "--lr", 0.001, *options, *MODEL)
    assert finished.returncode == 0 and finished.stderr.count("--fresh-text: has no effect") == (not has_effect), finished


FLOATS = ["--lr", 0.002, "--epochs", 6, "--batch", 8]
LEARN = ["--learn-codes", "--lr-codes", 0.01, *FLOATS]


@pytest.fixture(scope="module")
def runs(home, tmp_path_factory):
    """The report of each run, by name."""
    folder = tmp_path_factory.mktemp("runs")
    options = {"floats": FLOATS, "codes": LEARN, "again": LEARN, "untouched": ["--tweak", "none"]}
    return folder, {name: quantize(home, folder / name, *more)
                    for name, more in options.items()}


def test_learning_helps_on_rows_that_it_has_not_seen(runs):
    folder, reports = runs
    assert reports["codes"]["kld"]["tweaked"] < 0.95 * reports["floats"]["kld"]["tweaked"]
    assert reports["codes"]["kld"]["quantized"] == reports["floats"]["kld"]["quantized"]
    untouched = read(folder / "untouched")
    assert changed(untouched, read(folder / "floats"))[0] == 0
    moved, weights = changed(untouched, read(folder / "codes"))
    assert 0 < moved < 0.1 * weights
    assert reports["codes"]["training"]["changed_codes"] == pytest.approx(moved / weights, rel=1e-6)
    assert "without codes" in [candidate["name"] for candidate in reports["codes"]["guard"]["candidates"]]
    assert reports["codes"]["settings"]["tweak"]["lr_codes"] == 0.01


def test_a_run_repeats_itself(runs):
    folder, reports = runs
    one, other = cli_program.tensors(folder / "codes"), cli_program.tensors(folder / "again")
    assert one.keys() == other.keys() and all(one[key].equal(other[key]) for key in one)
    assert reports["codes"]["kld"] == reports["again"]["kld"]


def test_a_plan_repeats_it(home, runs, tmp_path):
    _, reports = runs
    call = ["quantize", home / "model", "-o", tmp_path / "out", "--calibration", home / "ids.safetensors"]
    cli_program.run(*call, "--method", "rtn", *MODEL, *LEARN, "--save-plan", tmp_path / "plan.json")
    figures = cli_program.report(*call, "--plan", tmp_path / "plan.json", "--device", "cpu", "--dtype", "f32",
                                 to=tmp_path)
    assert figures["kld"] == reports["codes"]["kld"]


REFUSED = {
    "another tweak": (["--tweak", "layerwise", "--learn-codes"], "--learn-codes: has no effect with --tweak layerwise"),
    "a rate alone": (["--lr-codes", 0.01], "--lr-codes: has no effect without --learn-codes"),
    "a decay alone": (["--codes-decay", 1], "--codes-decay: has no effect without --learn-codes"),
    "linears alone": (["--codes-of", "*"], "--codes-of: has no effect without --learn-codes"),
    "linears that are not there": (["--learn-codes", "--codes-of", "*.up_proj", "--codes-of", "*.up"],
                                   "--codes-of *.up: matches no linear whose codes can be learned; names are like model."),
    "no pattern": (["--learn-codes", "--codes-of", "re:["], "--codes-of"),
    "a negative decay": (["--learn-codes", "--codes-decay", -1], "--codes-decay"),
    "fresh text in blocks": (["--tweak", "layerwise", "--fresh-text"],
                             "--fresh-text: has no effect with --tweak layerwise"),
    "no rate": (["--learn-codes", "--lr-codes", 0], "--lr-codes"),
    "other codes": (["--learn-codes", "--method", "kmeans"], "--learn-codes: learns affine codes"),
    "a transform": (["--learn-codes", "--transform", "awq"], "--transform awq"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_it_does_not_go_with_is_refused(case, home, tmp_path):
    options, said = REFUSED[case]
    plan = ["--bits", 3] if "kmeans" in options else ["--bits", 2, "--group-size", 16]
    finished = cli_program.call("quantize", home / "model", "-o", tmp_path / "out", "--calibration",
                                home / "ids.safetensors", *plan, *options)
    assert finished.returncode in (1, 2) and said in finished.stderr, finished
    assert not (tmp_path / "out").exists()


def test_what_is_not_affine_is_noted(home, tmp_path):
    finished = cli_program.call("quantize", home / "model", "-o", tmp_path / "out", "--calibration",
                                home / "ids.safetensors", *MODEL, "--learn-codes", "--steps", 2, "--rule",
                                "*.down_proj=method:kmeans")
    assert finished.returncode == 0 and "learns the codes of 12 of 14 quantized linears" in finished.stderr, finished


def test_a_plan_keeps_what_learns(home, tmp_path):
    plan = json.loads(cli_program.call(
        "quantize", home / "model", "-o", tmp_path / "out", "--calibration", home / "ids.safetensors", *MODEL,
        "--learn-codes", "--codes-decay", 2, "--codes-of", "*.up_proj", "--codes-of", "*.down_proj",
        "--print-plan").stdout)
    assert plan["settings"]["codes-decay"] == 2 and plan["settings"]["codes-of"] == ["*.up_proj", "*.down_proj"]


def test_a_tweak_alone_has_no_such_option(home, tmp_path):
    finished = cli_program.call("tweak", home / "model", "--reference", home / "model", "-o", tmp_path / "out",
                                "--learn-codes")
    assert finished.returncode == 2 and "--learn-codes" in finished.stderr
