"""Quantized folders of other programs: read as they say, and tweaked in place, so that only floats change."""
import json
import re
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import cli_models
import cli_program
import quantized_folders
import rounded_activations
from quantized_damage import DAMAGE, MODULE, STATE, changed, edit_tensors, element
from quantized_folders import VARIANTS

GENTLE = ["--dtype", "f32", "--tune", "norms,biases,scales", "--lr", 0.01, "--epochs", 4, "--batch", 4]
IDS = cli_models.ids(2, 24, seed=8)
TOLERANCE = 1e-4  # of the largest logit, as in test_logits.py


def model():
    return cli_models.llama(intermediate_size=128, attention_bias=True)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A float model in both types of 16 bits, and a text."""
    folder = tmp_path_factory.mktemp("quantized")
    for dtype in (torch.float16, torch.bfloat16):
        cli_models.save_with_tokenizer(model().to(dtype), source_of(folder, dtype))
    cli_program.save_ids(folder / "text", cli_models.ids(16, 16, seed=3))
    return folder


def source_of(folder, dtype):
    return folder / str(dtype).removeprefix("torch.")


class Tweaked:
    """A variant, written and tweaked when first asked for."""

    def __init__(self, home, name):
        self.name = name
        self.source = source_of(home, VARIANTS[name].dtype)
        self.before = quantized_folders.write(home / name / "before", name, self.source)
        self.after, self.patch = home / name / "after", home / name / "patch"
        self._home, self._figures = home, None

    @property
    def figures(self):
        if self._figures is None:
            self._figures = cli_program.report(
                "tweak", self.before, "--reference", self.source, "--calibration", self._home / "text", *GENTLE, "-o",
                self.after, "--patch", self.patch, to=self._home / self.name)
        return self._figures


@pytest.fixture(scope="module")
def variants(home):
    """Name → Tweaked, each made once."""
    made = {}

    def find(name):
        if name not in made:
            made[name] = Tweaked(home, name)
        return made[name]

    return find


def expected_logits(folder, name):
    judge = model()
    judge.load_state_dict(quantized_folders.dequantized(folder, name))
    rounded_activations.attach(judge, folder, lambda module: quantized_folders.rounding_of(name, module))
    return cli_models.logits(judge, IDS)


def check_logits(folder, name, to):
    expected = expected_logits(folder, name)
    found = cli_program.logits(folder, IDS, to, "--dtype", "f32")
    assert expected.std() > 0.1
    if any(quantized_folders.rounding_of(name, module) for module, _ in model().named_modules()):
        assert rounded_activations.agree(found, expected, TOLERANCE)
    else:
        assert (found - expected).abs().max() <= TOLERANCE * expected.abs().max()


# ---------------------------------------------------------------- reading --------------------------------------------

@pytest.mark.parametrize("name", VARIANTS)
def test_logits_are_those_of_the_dequantized_values(name, variants, tmp_path):
    check_logits(variants(name).before, name, tmp_path)


@pytest.mark.parametrize("name", VARIANTS)
def test_inspect_says_that_it_is_quantized(name, variants, tmp_path):
    found = cli_program.report("inspect", variants(name).before, to=tmp_path)
    assert found["quantized"] is True and found["sound"] is True
    linears = quantized_folders.linears(quantized_folders.stored_tensors(variants(name).before), VARIANTS[name])
    float_linears = sum(row["count"] for row in found["linears"] if row["kind"] == "float")
    assert float_linears == 14 - len([module for module in linears if module != "lm_head"])
    assert found["bits_per_weight"] < 16 and found["readers"]


def test_no_quantization_may_be_spelled_out(variants, tmp_path):
    shutil.copytree(variants("gptq-4").source, tmp_path / "float")
    cli_models.edit_config(tmp_path / "float", lambda config: config.update(quantization_config=None))
    assert cli_program.report("inspect", tmp_path / "float", to=tmp_path)["quantized"] is False


# ---------------------------------------------------------------- tweaking -------------------------------------------

def header(path):
    with open(path, "rb") as file:
        return file.read(int.from_bytes(file.read(8), "little"))


def without_offset(tensor):
    """Of the state of bitsandbytes only the offset is a float."""
    facts = json.loads(bytes(tensor.tolist()))
    assert isinstance(facts.pop("nested_offset"), float)
    return facts


def same_bytes(one, other):
    return torch.equal(*(tensor.reshape(-1).view(torch.uint8) for tensor in (one, other)))


def changed_tensors(before, after):
    found = set()
    for file in sorted(before.glob("*.safetensors")):
        old, new = load_file(file), load_file(after / file.name)
        assert list(old) == list(new)
        found |= {name for name in old if not same_bytes(old[name], new[name])}
    return found


@pytest.mark.parametrize("name", VARIANTS)
def test_only_floats_change(name, variants):
    found = variants(name)
    figures, before, after = found.figures, found.before, found.after
    assert figures["guard"]["accepted"] and figures["kld"]["tweaked"] < figures["kld"]["quantized"]
    assert sorted(file.name for file in after.iterdir()) == sorted(file.name for file in before.iterdir())
    for file in before.iterdir():
        copy = after / file.name
        if file.suffix == ".safetensors":
            assert header(copy) == header(file) and copy.stat().st_size == file.stat().st_size
        else:
            assert copy.read_bytes() == file.read_bytes(), file.name
    moved = changed_tensors(before, after)
    tuned = quantized_folders.tuned_tensors(before, name)
    assert moved <= tuned, moved - tuned
    # Norms, biases, and floats beside codes all moved somewhere, but for what the guard found to do harm.
    parts = {other.rsplit("_proj.", 1)[-1] for other in tuned if "_proj." in other}
    if "without biases" in figures["guard"]["kept"]:
        parts.remove("bias")
    assert all(any(other.endswith(f".{part}") for other in moved) for part in {*parts, "input_layernorm.weight"})


@pytest.mark.parametrize("name", VARIANTS)
def test_what_was_judged_is_what_the_folder_holds(name, variants, tmp_path):
    found = variants(name)
    assert found.figures["guard"]["accepted"]
    check_logits(found.after, name, tmp_path)


NESTED = [name for name, variant in VARIANTS.items() if any(getattr(scheme, "nested", False)
                                                            for _, scheme in variant.schemes)]


@pytest.mark.parametrize("name", NESTED)
def test_the_offset_alone_changes_in_a_state(name, variants):
    found = variants(name)
    assert found.figures["guard"]["accepted"]
    old, new = (quantized_folders.stored_tensors(folder) for folder in (found.before, found.after))
    states = [other for other in old if "quant_state" in other]
    assert states and all(without_offset(old[other]) == without_offset(new[other]) for other in states)


@pytest.mark.parametrize("name", ["gptq-4-act-order", "packed-4", "fp8-tiles", "nf4-nested"])
def test_norms_alone(name, variants, home, tmp_path):
    found = variants(name)
    cli_program.run("tweak", found.before, "--reference", found.source, "--calibration", home / "text", "--dtype",
                    "f32", "--tune", "norms", "--lr", 0.01, "--epochs", 2, "-o", tmp_path / "out")
    moved = changed_tensors(found.before, tmp_path / "out")
    assert moved and all(other.endswith("norm.weight") for other in moved)


@pytest.mark.parametrize("name", ["gptq-4", "awq"])
def test_f16_scales_of_a_bf16_model_are_tuned_to_values_of_both(name, variants, home, tmp_path):
    found = variants(name)
    shutil.copytree(found.before, tmp_path / "before")
    cli_models.edit_config(tmp_path / "before", lambda config: config.update({
        key: "bfloat16" for key in ("dtype", "torch_dtype") if key in config}))
    figures = cli_program.report("tweak", tmp_path / "before", "--reference", found.source, "--calibration", home / "text",
                                 *GENTLE, "-o", tmp_path / "after", to=tmp_path)
    assert figures["guard"]["accepted"]
    scales = {part: tensor for part, tensor in cli_program.tensors(tmp_path / "after").items() if part.endswith(".scales")}
    assert {tensor.dtype for tensor in scales.values()} == {torch.float16}
    assert all(torch.equal(tensor.bfloat16().half(), tensor) for tensor in scales.values())
    assert changed_tensors(found.before, tmp_path / "after") & set(scales)


def test_a_folder_without_a_mark_is_not_replaced(variants, home, tmp_path):
    """A tweak leaves the layout of another program as it was, so that nothing tells a result from an original."""
    found = variants("gptq-4")
    again = ["tweak", found.before, "--reference", found.source, "--calibration", home / "text", *GENTLE, "-o",
             tmp_path / "out"]
    cli_program.run(*again)
    before = cli_program.file_bytes(tmp_path / "out")
    said = cli_program.call(*again)
    assert said.returncode == 1 and "would be replaced as a whole" in said.stderr
    assert "leaves no mark where another program wrote that" in said.stderr
    assert cli_program.file_bytes(tmp_path / "out") == before
    shutil.rmtree(tmp_path / "out")
    cli_program.run(*again)
    assert cli_program.file_bytes(tmp_path / "out") == before


# ---------------------------------------------------------------- patches --------------------------------------------

PATCHED = ["gptq-4", "gptq-4-shards", "gptq-side-file", "awq", "auto-round-4-asymmetric", "packed-mixed",
           "packed-3-whole", "nf4-nested", "fp8-tensor"]


@pytest.mark.parametrize("name", PATCHED)
def test_a_patch_gives_the_same_folder(name, variants, tmp_path):
    found = variants(name)
    assert found.figures["guard"]["accepted"]
    cli_program.run("apply", found.before, found.patch, "-o", tmp_path / "out")
    assert cli_program.file_bytes(tmp_path / "out") == cli_program.file_bytes(found.after)
    weights = sum(file.stat().st_size for file in found.before.glob("*.safetensors"))
    assert found.patch.stat().st_size < weights


def test_a_patch_without_a_folder(variants, home, tmp_path):
    found = variants("gptq-4")
    assert found.figures["guard"]["accepted"]
    cli_program.run("tweak", found.before, "--reference", found.source, "--calibration", home / "text", *GENTLE,
                    "--patch", tmp_path / "patch")
    assert (tmp_path / "patch").read_bytes() == found.patch.read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["patch"]


def one_more_bit(folder):
    """In a code, so that sizes and headers are as before."""
    def edit(tensors):
        tensors[f"{MODULE}.qweight"] = tensors[f"{MODULE}.qweight"] ^ 1
    edit_tensors(folder, edit)


@pytest.mark.parametrize("other, edit", [
    ("gptq-4", one_more_bit), ("awq", None), ("gptq-4-shards", None), ("gptq-4", lambda folder: (
        folder / "model.safetensors").unlink())], ids=["other codes", "other format", "other files", "no weights"])
def test_a_patch_for_another_folder_is_refused(other, edit, variants, tmp_path):
    patch = variants("gptq-4")
    assert patch.figures["guard"]["accepted"]
    folder = shutil.copytree(variants(other).before, tmp_path / "other")
    if edit is not None:
        edit(folder)
    refused = cli_program.call("apply", folder, patch.patch, "-o", tmp_path / "out", "--quiet")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1), refused.stderr
    assert "model.safetensors" in refused.stderr and not (tmp_path / "out").exists()


# ---------------------------------------------------------------- refusals -------------------------------------------

@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_named(case, variants, tmp_path):
    """In one line, with the file and what was found in it."""
    damage = DAMAGE[case]
    folder = shutil.copytree(variants(damage.variant).before, tmp_path / "damaged")
    damage.edit(folder)
    refused = cli_program.call("inspect", folder, "--quiet")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1), refused.stdout + refused.stderr
    assert re.search(damage.said, refused.stderr), refused.stderr


@pytest.mark.parametrize("name, part", [("gptq-4", "scales"), ("packed-4", "weight_scale"), ("nf4", "weight.absmax"),
                                        ("fp8-tiles", "weight_scale_inv")])
def test_scales_of_zero_are_only_reported(name, part, variants, tmp_path):
    folder = shutil.copytree(variants(name).before, tmp_path / "zero")
    changed(part, element(0))(folder)
    found = cli_program.report("inspect", folder, to=tmp_path)
    assert found["sound"] and any(MODULE in line and "0" in line for line in found["doubts"])
    check_logits(folder, name, tmp_path)


def test_a_doubtful_zero_point_is_reported(variants, tmp_path):
    """Version 1 of GPTQ stores 0 as the largest code, which some programs read as one more than that."""
    folder = shutil.copytree(variants("gptq-4").before, tmp_path / "doubtful")
    changed("qzeros", element(-1))(folder)
    found = cli_program.report("inspect", folder, to=tmp_path)
    assert any(f"{MODULE}.qzeros" in line for line in found["doubts"])
    check_logits(folder, "gptq-4", tmp_path)


def test_the_state_may_have_other_spaces(variants, home, tmp_path):
    """Its JSON is read, and its length kept, however it was written."""
    found = variants("nf4-nested")
    folder = shutil.copytree(found.before, tmp_path / "spaced")

    def edit(stored):
        text = json.dumps(json.loads(bytes(stored.tolist())), indent=1)
        return torch.tensor(list(text.encode()), dtype=torch.uint8)

    changed(STATE, edit)(folder)
    check_logits(folder, "nf4-nested", tmp_path)
    cli_program.run("tweak", folder, "--reference", found.source, "--calibration", home / "text", *GENTLE, "-o",
                    tmp_path / "out")
    check_logits(tmp_path / "out", "nf4-nested", tmp_path)
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as file:
        assert bytes(file.get_tensor(f"{MODULE}.{STATE}").tolist()).count(b"\n") > 4


def test_an_offset_without_room_is_refused(variants, home, tmp_path):
    """A number of four characters, near which hardly any other has so few."""
    found = variants("nf4-nested")
    folder = shutil.copytree(found.before, tmp_path / "short")

    def edit(stored):
        facts = json.loads(bytes(stored.tolist()))
        text = json.dumps(facts).replace(json.dumps(facts["nested_offset"]), "9e-5")
        return torch.tensor(list(text.encode()), dtype=torch.uint8)

    changed(STATE, edit)(folder)
    refused = cli_program.call("tweak", folder, "--reference", found.source, "--calibration", home / "text", *GENTLE,
                               "-o", tmp_path / "out")
    assert refused.returncode == 1 and not (tmp_path / "out").exists()
    assert f"{MODULE}.{STATE}" in refused.stderr and "nested_offset" in refused.stderr and "no room" in refused.stderr
