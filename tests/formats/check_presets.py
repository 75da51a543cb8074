"""The kept answers of llama.cpp's quantizer are still those of the installed one."""
import json

import pytest

import gguf_presets

KEPT = json.loads(gguf_presets.KEPT.read_text())


def test_every_case_is_kept():
    """Change a case, and run the script again."""
    assert [case["name"] for case in KEPT["cases"]] == list(gguf_presets.CASES)
    for case in KEPT["cases"]:
        shape = gguf_presets.CASES[case["name"]]
        assert case["model"] == gguf_presets.dataclasses.asdict(shape)
        assert case["types"].keys() == gguf_presets.PRESETS.keys()


@pytest.mark.parametrize("case", KEPT["cases"], ids=lambda case: case["name"])
def test_answers(case):
    llama_cpp = pytest.importorskip("llama_cpp")
    with gguf_presets.quiet(llama_cpp):
        assert gguf_presets.answers(llama_cpp, case["name"]) == case["types"]
