"""Presets, and plans as files: each stands for flags, and gives the bytes that the flags give."""
import json

import pytest

import cli_models
import cli_program

# What the method is published with, written out here again.
GPTQ = ["--method", "gptq", "--no-search-grid", "--no-act-order", "--sweeps", 0, "--damping", 0.01,
        "--drift-correction", 0, "--tweak", "layerwise", "--loss", "dist", "--lr", 1e-5, "--epochs", 1,
        "--strategy", "language", "--languages", "en"]
FOLLOW_UP = ["--tweak", "layerwise", "--loss", "dist", "--lr", 2e-4, "--lr-scale", 5, "--epochs", 1, "--strategy",
             "llm-qat"]
PRESETS = {
    "norm-tweaking": [*GPTQ, "--bits", 4, "--group-size", 0],
    "norm-tweaking-2bit": [*GPTQ, "--bits", 2, "--group-size", 64],
    "follow-up-rtn": ["--method", "rtn", "--bits", 6, "--group-size", 0, "--no-search-grid", *FOLLOW_UP],
    "follow-up-kmeans": ["--method", "kmeans", "--bits", 4, *FOLLOW_UP],
}
ROWS = ["--samples", 8, "--tokens", 24]  # in place of the presets' 128 rows: the models are tiny


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plans")
    cli_models.save_with_tokenizer(cli_models.llama(), folder / "model")
    cli_models.save_with_tokenizer(cli_models.llama(intermediate_size=128), folder / "wide")  # has groups of 64
    cli_models.save_with_tokenizer(cli_models.gpt2(), folder / "gpt2")
    cli_program.save_ids(folder / "ids.safetensors", cli_models.ids(8, 24))
    return folder


def quantize(home, to, *options, model="model"):
    return cli_program.report("quantize", home / model, "-o", to / "out", *options, to=to)


def plan(home, *options, model="model"):
    finished = cli_program.call("quantize", home / model, "-o", home / "nowhere", "--print-plan", *options)
    assert finished.returncode == 0 and not (home / "nowhere").exists(), finished
    return json.loads(finished.stdout)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_its_flags(name, home, tmp_path):
    found, expected = tmp_path / "found", tmp_path / "expected"
    for folder, options in ((found, ["--preset", name]), (expected, PRESETS[name])):
        folder.mkdir()
        figures = quantize(home, folder, *options, *ROWS, model="wide")
        assert figures["settings"].get("preset", {}).get("name") == (name if folder == found else None)
    assert cli_program.file_bytes(found / "out") == cli_program.file_bytes(expected / "out")


def test_a_preset_is_the_whole_setting(home):
    """The rows of the paper are longer than the context of the model, which says how many there are."""
    finished = cli_program.call("quantize", home / "model", "-o", home / "nowhere", "--preset", "norm-tweaking")
    assert finished.returncode == 1 and "2048" in finished.stderr.splitlines()[-1]
    settings = plan(home, "--preset", "norm-tweaking", "--tokens", 24)["settings"]
    assert settings == settings | {"samples": 128, "tokens": 24, "sweeps": 0, "search-grid": False, "lr": 1e-5,
                                   "act-order": False, "drift-correction": 0, "group-size": 0, "tweak": "layerwise"}


def test_what_the_command_line_gives_wins(home):
    found = plan(home, "--preset", "norm-tweaking", "--method", "rtn", "--bits", 3, "--search-grid", *ROWS)
    assert found["settings"] == found["settings"] | {"method": "rtn", "bits": 3, "search-grid": True, "samples": 8}
    assert not {"sweeps", "act-order", "damping"} & found["settings"].keys()  # rtn does not read them
    assert set(found["preset"]["overruled"]) == {"--method", "--bits", "--no-search-grid", "--samples", "--tokens"}
    noted = cli_program.call("quantize", home / "model", "-o", home / "nowhere", "--print-plan", "--preset",
                             "norm-tweaking", "--calibration", home / "ids.safetensors").stderr
    assert "--preset norm-tweaking: --method gptq --bits 4" in noted and "has no effect" not in noted


def test_help_lists_presets():
    shown = cli_program.call("quantize", "--help").stdout
    assert all(name in shown for name in PRESETS)


PLANS = {
    "gptq": ["--bits", 3, "--group-size", 16, "--rule", "*.q_proj=bits:8,method:rtn", "--rule", "*.0.mlp.*=group:32",
             "--epochs", 1, "--lr", 0.003, "--seed", 5],
    "rtn, layer-wise": ["--method", "rtn", "--symmetric", "--tweak", "layerwise", "--lr", 0.0003, "--final-norm",
                        "--loss", "mse", "--strategy", "random-tokens", "--seed", 3],
    "kmeans": ["--method", "kmeans", "--bits", 3, "--sensitivity", "--token-weights", "fisher", "--tweak", "none",
               "--store-dtype", "bf16", "--top-k", 5],
    "awq": ["--method", "rtn", "--transform", "awq", "--no-awq-clip", "--tweak", "none"],
    "smoothquant": ["--bits", 3, "--transform", "smoothquant", "--smooth-alpha", "search", "--tweak", "none"],
    "gguf": ["--format", "gguf", "--gguf-type", "Q4_0", "--tweak", "none", "--rule", "*.v_proj=skip"],
}


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_repeats_the_run(name, home, tmp_path):
    saved = tmp_path / "plan.json"
    outputs = []
    for step, options in enumerate(([*PLANS[name], *ROWS, "--save-plan", saved], ["--plan", saved])):
        output = tmp_path / (f"out{step}.gguf" if name == "gguf" else f"out{step}/")
        cli_program.run("quantize", home / "model", "-o", output, *options)
        outputs.append(output.read_bytes() if name == "gguf" else cli_program.file_bytes(output))
    assert outputs[0] == outputs[1]


def test_a_plan_is_as_resolved(home, tmp_path):
    settings = plan(home, "--calibration", home / "ids.safetensors")["settings"]
    assert settings == settings | {"method": "gptq", "bits": 4, "group-size": 32, "search-grid": True, "sweeps": 2,
                                   "act-order": True, "drift-correction": 0.5, "tweak": "end-to-end", "seed": 0,
                                   "calibration": str(home / "ids.safetensors")}
    (tmp_path / "plan.json").write_text(json.dumps(plan(home, "--bits", 3, "--calibration", home / "ids.safetensors")))
    again = plan(home, "--plan", tmp_path / "plan.json", "--bits", 2)["settings"]
    assert again == plan(home, "--bits", 2, "--calibration", home / "ids.safetensors")["settings"]


@pytest.mark.parametrize("change, model, words", [
    (lambda plan: plan["settings"].update(bitz=4), "model", ["settings.bitz", "not known"]),
    (lambda plan: plan["settings"].update(output="x"), "model", ["settings.output"]),
    (lambda plan: plan["settings"].update(bits=5), "model", ["--bits", "5"]),
    (lambda plan: plan["settings"].update(damping=-1), "model", ["--damping", "too small"]),
    (lambda plan: plan.update(extra=1), "model", ["extra", "not known"]),
    (lambda plan: plan.update(plan=99), "model", ["99"]),
    (lambda plan: plan.pop("settings"), "model", ["is no plan"]),
    (lambda plan: None, "gpt2", ["another model", "family", "llama", "gpt2"]),
    (lambda plan: plan["model"].update(vocabulary=7), "model", ["another model", "vocabulary 7"]),
    (lambda plan: plan["model"]["linears"].update({"model.layers.0.mlp.up_proj": [1, 2]}), "model",
     ["another model", "up_proj", "[1,2]"]),
])
def test_refused_plans(change, model, words, home, tmp_path):
    changed = plan(home, "--calibration", home / "ids.safetensors")
    change(changed)
    (tmp_path / "plan.json").write_text(json.dumps(changed))
    finished = cli_program.call("quantize", home / model, "-o", tmp_path / "out", "--plan", tmp_path / "plan.json")
    assert finished.returncode in (1, 2) and finished.stderr.count("\n") == 1, finished
    assert "plan.json" in finished.stderr and all(word in finished.stderr for word in words), finished.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("options, words", [
    (["--preset", "none"], ["--preset", "norm-tweaking"]),
    (["--preset", "norm-tweaking", "--plan", "x"], ["--preset", "--plan"]),
    (["--plan", "missing.json"], ["missing.json"]),
])
def test_refused_options(options, words, home, tmp_path):
    finished = cli_program.call("quantize", home / "model", "-o", tmp_path / "out", *options)
    assert finished.returncode in (1, 2) and all(word in finished.stderr for word in words), finished
