"""family_table counts the tests of each family, and invents nothing where there are none."""

import unittest

import family_table

FAILED = '<failure message="1 != 2">...</failure>'


def case(name: str, inside: str = "") -> str:
    return f'<testcase classname="test_families" name="{name}" time="0.1">{inside}</testcase>'


class FamilyTable(unittest.TestCase):
    def table(self, *cases: str) -> list[str]:
        text = f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>"
        return family_table.table(family_table.results(text)).splitlines()[2:]

    def test_cells(self):
        rows = self.table(
            case("test_logits[gpt2: tied]"), case("test_logits[gpt2: relu]"), case("test_gguf[gpt2: tied]"),
            case("test_logits[llama: one key]"), case("test_logits[llama: yarn, in full]", FAILED),
            case("test_end_to_end_tweak[llama: one key]"), case("test_layer_wise_tweak[llama: one key]", FAILED),
            case("test_export[llama: one key]", "<skipped/>"), case("test_supported[opt]"),
            case("test_export[another: plain]"))
        self.assertEqual(rows, [
            "| LLaMA 1, 2, 3 | FAILS | no | no | no | FAILS | no |",
            "| GPT-2 | yes | yes | no | no | no | no |",
            "| another | no | no | no | no | no | yes |"])


if __name__ == "__main__":
    unittest.main()
