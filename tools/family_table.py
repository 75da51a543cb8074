#!/usr/bin/env python3
"""What works for each family of models, as a table in Markdown: family_table.py RESULTS.xml

RESULTS.xml: what `pytest --junit-xml=RESULTS.xml tests/cli/test_families.py` wrote. A cell says yes if all of the
family's tests passed that stand for the column, no if there are none, and FAILS otherwise. Exit status 1 in that case.
"""

import collections
import re
import sys
import xml.etree.ElementTree as xml

# Column → the tests that stand for it.
COLUMNS = {
    "load": {"test_logits", "test_bf16_checkpoint"},
    "GGUF": {"test_gguf"},
    "generate": {"test_cached_generation_is_greedy"},
    "quantize": {"test_packed_checkpoint_is_the_exported_one"},
    "tweak": {"test_end_to_end_tweak", "test_layer_wise_tweak"},
    "save": {"test_export"},
}
# The family in test_families.py → what it is called, in the order of the table.
NAMES = {
    "llama": "LLaMA 1, 2, 3", "mistral": "Mistral", "mixtral": "Mixtral", "qwen2": "Qwen2, Qwen2.5", "qwen3": "Qwen3",
    "qwen3_moe": "Qwen3-MoE", "gemma": "Gemma", "gemma2": "Gemma 2", "gemma3": "Gemma 3 (text)",
    "phi": "Phi-1, Phi-1.5, Phi-2", "phi3": "Phi-3, Phi-4", "glm": "GLM", "glm4": "GLM-4",
    "chatglm": "ChatGLM2, ChatGLM3, GLM-4 (their own code)", "smollm3": "SmolLM3", "olmo2": "OLMo-2", "olmo3": "OLMo-3",
    "ernie4_5": "ERNIE 4.5 (dense)", "seed_oss": "Seed-OSS", "starcoder2": "StarCoder2",
    "granite": "Granite", "cohere": "Cohere Command-R", "falcon": "Falcon", "stablelm": "StableLM",
    "mpt": "MPT", "gpt_neox": "GPT-NeoX, Pythia", "gptj": "GPT-J", "gpt2": "GPT-2", "opt": "OPT", "bloom": "BLOOM",
}
CASE = re.compile(r"(?P<test>\w+)\[(?P<family>\w+): .*\]")


def results(text: str) -> dict[str, dict[str, list[bool]]]:
    """Family → column → whether each of its tests passed. Skipped tests count as not there."""
    found = collections.defaultdict(lambda: collections.defaultdict(list))
    for case in xml.fromstring(text).iter("testcase"):
        named = CASE.fullmatch(case.get("name"))
        if not named or case.find("skipped") is not None:
            continue
        passed = case.find("failure") is None and case.find("error") is None
        for column, tests in COLUMNS.items():
            if named["test"] in tests:
                found[named["family"]][column].append(passed)
    return found


def cell(passed: list[bool]) -> str:
    return "no" if not passed else "yes" if all(passed) else "FAILS"


def table(found: dict[str, dict[str, list[bool]]]) -> str:
    lines = [["family", *COLUMNS], ["---"] * (1 + len(COLUMNS))]
    order = [*NAMES, *sorted(found.keys() - NAMES.keys())]
    for family in filter(found.__contains__, order):
        lines.append([NAMES.get(family, family), *(cell(found[family].get(column, [])) for column in COLUMNS)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    with open(sys.argv[1], encoding="utf-8") as file:
        written = table(results(file.read()))
    print(written, end="")
    return int("FAILS" in written)


if __name__ == "__main__":
    sys.exit(main())
