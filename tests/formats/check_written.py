"""Loads what test_write_for_python.cpp wrote with the packages that users load it with."""
import json
import os
import pathlib

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, CompressedTensorsConfig

WRITTEN = pathlib.Path(os.environ["NORMTWEAK_FORMATS_ORACLE"]) / "written"
if not WRITTEN.exists():
    pytest.skip("test_formats has written nothing", allow_module_level=True)

TYPES = {"Double": torch.float64, "Float": torch.float32, "Half": torch.float16, "BFloat16": torch.bfloat16,
         "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
         "Bool": torch.bool}
SYMMETRIC = ["bits4_symmetric", "bits2_and_8", "bits3_and_6", "bits5_and_7"]
# Products in the type of the scales, as the package makes them, differ by 2^-11 where that is F16.
ASYMMETRIC = {"bits4_asymmetric": 2e-3, "bits8_channel": 1e-5, "bits2_asymmetric": 1e-5, "bits3_asymmetric": 1e-5,
              "bits6_asymmetric": 1e-5}


def expected(dtype):
    return torch.arange(15.0).to(dtype).reshape(3, 5).t()


def test_types():
    path = WRITTEN / "types.safetensors"
    tensors = load_file(path)
    assert sorted(tensors) == sorted(TYPES)
    for name, dtype in TYPES.items():
        assert tensors[name].dtype == dtype and torch.equal(tensors[name], expected(dtype)), name
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"note": "ß"}


def test_shards():
    folder = WRITTEN / "sharded"
    weight_map = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    assert sorted(weight_map) == sorted(TYPES)
    for name, file in weight_map.items():
        assert torch.equal(load_file(folder / file)[name], expected(TYPES[name])), name


def logits(folder, **options):
    model, notes = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, **options)
    assert not notes["missing_keys"] and not notes["unexpected_keys"], notes
    with torch.no_grad():
        return model(torch.arange(80).reshape(2, 40)).logits.float()


def compare(name, tolerance, **options):
    packed, dequantized = logits(WRITTEN / name / "packed", **options), logits(WRITTEN / name / "dequantized")
    assert torch.allclose(packed, dequantized, rtol=tolerance, atol=tolerance)
    assert packed.std() > 0.01


@pytest.mark.parametrize("name", SYMMETRIC)
def test_transformers_runs_symmetric_weights(name):
    compare(name, 1e-5)


@pytest.mark.parametrize("name", ASYMMETRIC)
def test_transformers_dequantizes_asymmetric_weights(name):
    compare(name, ASYMMETRIC[name], quantization_config=CompressedTensorsConfig(dequantize=True))


def test_transformers_loads_zero_points_without_an_argument():
    """As the config tells it to dequantize; tests/cli/test_readers.py takes that away."""
    compare("bits4_asymmetric", ASYMMETRIC["bits4_asymmetric"])


def test_transformers_refuses_the_extension():
    with pytest.raises(ValueError, match="quant_method"):
        logits(WRITTEN / "extension" / "packed")
