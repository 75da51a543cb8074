"""Every family of models, through the whole program, against transformers and llama.cpp's layout of GGUF files.

`pytest -k FAMILY` tests one family. With NORMTWEAK_EVERY_CASE set, the long tests run on every config of a family and
not only on its first.
"""
import json
import os
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM

import cli_program
import family_gguf
import family_llama_cpp
import family_models
import family_spellings
from family_configs import BEGIN, END, FAMILIES

# The families that the program reads, and the rotary scalings. Every test of this file runs on each of them.
SUPPORTED = list(FAMILIES)
SCALINGS = ["default", "linear", "dynamic", "llama3", "yarn", "longrope"]

IDS = family_models.IDS
TOLERANCE = 5e-5  # of the largest logit: sums in another order; family_models.py finds no change that is as small
GROUP = ["--group-size", 16]
GUARD_KEYS = {"kept", "accepted", "gain", "stderr", "reason", "candidates"}
# Norms that a tweak may leave alone: those of single heads, and those that belong to the embedding.
WITH_ROUTERS = ("mixtral", "qwen3_moe")
OPTIONAL_NORMS = ("q_norm", "k_norm", "q_layernorm", "k_layernorm", "word_embeddings_layernorm")


def cases(families, thorough=True):
    return [pytest.param(family, case, id=f"{family}: {case}") for family in families
            for case in list(FAMILIES[family].cases)[:None if thorough else 1]
            if family_models.scalings(family, case) <= set(SCALINGS)]


ALL = cases(SUPPORTED)
LONG = cases(SUPPORTED, "NORMTWEAK_EVERY_CASE" in os.environ)
SCALED = [case for case in ALL if family_spellings.has_old_config(*case.values)]
OLD_NAMED = cases([family for family in SUPPORTED if family in family_spellings.OLD_NAMES], thorough=False)
IN_GGUF = [case for case in ALL if family_gguf.holds(*case.values)]
IN_LLAMA_CPP = [pytest.param(family, case, id=f"{family}: {case}") for family, case in family_llama_cpp.CASES
                if family in SUPPORTED]


class Home:
    """Saved models, and what has been made of them, each only once."""

    def __init__(self, folder):
        self.folder = folder
        self.calibration = cli_program.save_ids(folder / "calibration.safetensors", family_models.ids(16, 16, seed=3))
        self.logits = {}

    def path(self, family, case, name):
        return self.folder / family / case.replace(" ", "-").replace(",", "") / name

    def model(self, family, case):
        path = self.path(family, case, "model")
        if not path.exists():
            family_models.make(family, case).save_pretrained(path)
        return path

    def quantized(self, family, case, method, bits, format):
        path = self.path(family, case, f"{method}-{bits}-{format}")
        if not path.exists():
            cli_program.run("quantize", self.model(family, case), "-o", path, "--method", method, "--bits", bits,
                            *GROUP, "--tweak", "none", "--format", format, "--calibration", self.calibration,
                            "--dtype", "f32")
        return path

    def gguf_logits(self, family, case, model):
        """Of the file that llama.cpp's converter would write."""
        path = self.path(family, case, "model.gguf")
        if path not in self.logits:
            path.parent.mkdir(parents=True, exist_ok=True)
            family_llama_cpp.write(path, family, case, model)
            self.logits[path] = cli_program.logits(path, IDS, path.parent)
        return self.logits[path]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return Home(tmp_path_factory.mktemp("families"))


def compare(found, expected, tolerance=TOLERANCE):
    assert found.shape == expected.shape
    assert family_models.relative(found, expected) <= tolerance


def shapes(folder):
    return {name: (tensor.shape, tensor.dtype) for name, tensor in cli_program.tensors(folder).items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_supported(family, tmp_path):
    """SUPPORTED is what the program says it can read."""
    config = {"architectures": [FAMILIES[family].model.__name__], "model_type": FAMILIES[family].config.model_type}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    said = cli_program.call("inspect", tmp_path)
    assert said.returncode == 1
    assert ("is not supported" in said.stderr) == (family not in SUPPORTED)


@pytest.mark.parametrize("scaling", ["default", "linear", "llama3", "dynamic", "yarn", "longrope"])
def test_supported_scaling(scaling, home, tmp_path):
    """SCALINGS likewise; the others are refused by name. LLaMA has a config with each."""
    case = next(case for case in FAMILIES["llama"].cases if family_models.scalings("llama", case) == {scaling})
    said = cli_program.call("logits", home.model("llama", case), "--tokens",
                            cli_program.save_ids(tmp_path / "ids", IDS), "-o", tmp_path / "logits", "--quiet")
    assert (said.returncode == 0) == (scaling in SCALINGS)
    assert said.returncode == 0 or f'rotary scaling "{scaling}" is not supported' in said.stderr


@pytest.mark.parametrize("family, case", ALL)
def test_logits(family, case, home, tmp_path):
    folder = home.model(family, case)
    expected = family_models.logits(family_models.opened(folder, family), IDS)
    assert expected.std() > family_models.LIVELY
    compare(cli_program.logits(folder, IDS, tmp_path), expected)


@pytest.mark.parametrize("family, case", cases(SUPPORTED, thorough=False))
def test_bf16_checkpoint(family, case, tmp_path):
    """Products are still made in F32."""
    family_models.make(family, case).bfloat16().save_pretrained(tmp_path / "model")
    expected = family_models.logits(family_models.opened(tmp_path / "model", family), IDS)
    compare(cli_program.logits(tmp_path / "model", IDS, tmp_path), expected)


def check_as_before(family, case, home, tmp_path, edit):
    """A copy that means the same to transformers means the same to the program."""
    folder = tmp_path / "copy"
    shutil.copytree(home.model(family, case), folder)
    expected = family_models.logits(family_models.opened(folder, family), IDS)
    edit(folder)
    compare(family_models.logits(family_models.opened(folder, family), IDS), expected, 1e-6)
    compare(cli_program.logits(folder, IDS, tmp_path), expected)


@pytest.mark.parametrize("family, case", ALL)
def test_keys_left_out_have_the_familys_default(family, case, home, tmp_path):
    check_as_before(family, case, home, tmp_path, lambda folder: family_spellings.write_config(
        folder, family_spellings.short_config(family, case)))


@pytest.mark.parametrize("family, case", SCALED)
def test_old_spelling_of_rotary_parameters(family, case, home, tmp_path):
    check_as_before(family, case, home, tmp_path, lambda folder: family_spellings.write_config(
        folder, family_spellings.old_config(family, case)))


@pytest.mark.parametrize("family, case", OLD_NAMED)
def test_old_names_of_tensors(family, case, home, tmp_path):
    check_as_before(family, case, home, tmp_path, lambda folder: family_spellings.rename(family, folder))


@pytest.mark.parametrize("family, case", LONG)
def test_cached_generation_is_greedy(family, case, home, tmp_path):
    """Each token behind the first is the one that a pass over the whole text before it likes best."""
    folder, path = home.model(family, case), tmp_path / "text.safetensors"
    cli_program.run("generate", folder, "-o", path, "--samples", 3, "--tokens", IDS.shape[1], "--strategy", "llm-qat",
                    "--top-k", 1, "--dtype", "f32")
    ids, model = cli_program.tensors(tmp_path)["input_ids"], family_models.opened(folder, family)
    for length in range(2, ids.shape[1]):
        # Rows in which a text ended go on with another one.
        rows = ids[(ids[:, :length + 1] != END).all(1)]
        if not len(rows):
            break
        # Pass by pass, since some rotary scalings depend on the length.
        logits = family_models.logits(model, rows[:, :length])[:, -1]
        logits[:, BEGIN] = -torch.inf  # no text has it but at its start
        likeliest = logits.topk(2)
        clear = likeliest.values[:, 0] - likeliest.values[:, 1] > 1e-3
        assert torch.equal(rows[clear, length], likeliest.indices[clear, 0]), length
    assert length > 16


@pytest.mark.parametrize("family, case", ALL)
def test_export(family, case, home, tmp_path):
    """Saved tensors are named, laid out and tied as they came; transformers opens them and has our logits."""
    folder = home.quantized(family, case, "rtn", 8, "hf")
    assert shapes(folder) == shapes(home.model(family, case))
    opened, notes = AutoModelForCausalLM.from_pretrained(folder, attn_implementation=FAMILIES[family].attention,
                                                         output_loading_info=True)
    assert not any(notes.values()), notes
    expected = family_models.logits(opened, IDS)
    compare(cli_program.logits(folder, IDS, tmp_path), expected)
    # Eight bits are near the original and are not the original. Here and there another expert is chosen: the median.
    original = family_models.logits(family_models.opened(home.model(family, case), family), IDS)
    assert 1e-4 < (expected - original).abs().median() / original.std() < 0.1


@pytest.mark.parametrize("family, case", LONG)
def test_packed_checkpoint_is_the_exported_one(family, case, home, tmp_path):
    exported = home.quantized(family, case, "gptq", 4, "hf")
    expected = family_models.logits(family_models.opened(exported, family), IDS)
    compare(cli_program.logits(exported, IDS, tmp_path), expected)
    compare(cli_program.logits(home.quantized(family, case, "gptq", 4, "compressed-tensors"), IDS, tmp_path), expected)


@pytest.mark.parametrize("family, case", LONG)
def test_end_to_end_tweak(family, case, home, tmp_path):
    """All norms move, weights and biases, and nothing else; the guard keeps it, as noise had moved them before."""
    norms = family_models.norms(family_models.make(family, case))
    packed = cli_program.tensors(home.quantized(family, case, "gptq", 4, "compressed-tensors"))
    noise = {name: 0.3 * torch.randn(packed[name].shape, generator=torch.Generator().manual_seed(i))
             for i, name in enumerate(sorted(norms)) if not any(part in name for part in OPTIONAL_NORMS)}
    tuned = "norms,router-norms" if family in WITH_ROUTERS else "norms"
    assert noise.keys() <= packed.keys()
    shutil.copytree(home.quantized(family, case, "gptq", 4, "compressed-tensors"), tmp_path / "before")
    cli_program.change_tensors(tmp_path / "before", lambda name, tensor: tensor + noise.get(name, 0))
    figures = cli_program.report("tweak", tmp_path / "before", "--reference", home.model(family, case), "-o",
                                 tmp_path / "tweaked", "--calibration", home.calibration, "--dtype", "f32", "--tune",
                                 tuned, "--lr", 0.02, "--epochs", 6, "--batch", 4, to=tmp_path)
    before, after = cli_program.tensors(tmp_path / "before"), cli_program.tensors(tmp_path / "tweaked")
    assert figures["tweak"] == "end-to-end" and GUARD_KEYS <= figures["guard"].keys()
    assert figures["guard"]["accepted"] and figures["kld"]["tweaked"] < figures["kld"]["quantized"]
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert before.keys() == after.keys() and noise.keys() <= moved <= norms


@pytest.mark.parametrize("family, case", [case for case in LONG if case.values[0] in WITH_ROUTERS])
def test_norms_of_routers_stay_unless_they_are_named(family, case, home, tmp_path):
    packed = home.quantized(family, case, "gptq", 4, "compressed-tensors")
    cli_program.report("tweak", packed, "--reference", home.model(family, case), "-o", tmp_path / "tweaked",
                       "--calibration", home.calibration, "--lr", 0.02, "--epochs", 2, to=tmp_path)
    before, after = cli_program.tensors(packed), cli_program.tensors(tmp_path / "tweaked")
    assert all(torch.equal(before[name], after[name]) for name in before if "post_attention_layernorm" in name)


@pytest.mark.parametrize("family, case", LONG)
def test_layer_wise_tweak(family, case, home, tmp_path):
    figures = cli_program.report("quantize", home.model(family, case), "-o", tmp_path / "tweaked", "--method", "rtn",
                                 "--bits", 4, *GROUP, "--tweak", "layerwise", "--lr", 1e-3, "--format", "hf",
                                 "--calibration", home.calibration, "--dtype", "f32", to=tmp_path)
    assert figures["tweak"] == "layerwise" and figures["steps"] > 0 and GUARD_KEYS <= figures["guard"].keys()
    assert shapes(tmp_path / "tweaked") == shapes(home.model(family, case))


@pytest.mark.parametrize("family, case", IN_GGUF)
def test_gguf(family, case, home):
    """The same weights, as llama.cpp's converter lays them out."""
    model = family_models.make(family, case)
    compare(home.gguf_logits(family, case, model), family_models.logits(model, IDS))


@pytest.mark.parametrize("family, case", IN_LLAMA_CPP)
def test_gguf_in_llama_cpp(family, case, home):
    """llama.cpp itself computes the same from that file."""
    model = family_llama_cpp.make(family, case)
    expected, missing = family_llama_cpp.kept(family, case, model)
    if missing:
        pytest.skip(missing)
    positions, bounds = family_llama_cpp.POSITIONS, family_llama_cpp.Bounds(family, case, model)
    compare(home.gguf_logits(family, case, model)[-1, positions], expected, bounds.largest)
    if bounds.with_table:  # the bound above is for the coarse GELU, and nothing else differs
        found = family_models.logits(family_llama_cpp.with_table(model), IDS)[-1, positions]
        assert family_llama_cpp.typical_difference(found, expected) <= bounds.with_table
