"""JSON documents, each with what Python's json reads in it: NAME.json, and NAME.expected.

Expected is `refused`, or a line for each event: `{`, `}`, `[`, `]`, `key HEX`, `text HEX`, `integer N`, `double BITS`,
`true`, `false`, `null`. The documents are read as transformers reads a config.json: as text in UTF-8.
"""
import json
import pathlib
import struct
import sys

DOCUMENTS = {
    "plain": '{"a": 1, "b": [true, false, null, -2.5e3, "text"]}',
    "nan": '{"a": NaN}',
    "infinity": '{"a": Infinity, "b": [-Infinity, Infinity,NaN]}',
    "alone_nan": "NaN",
    "alone_minus_infinity": " -Infinity\n",
    "minus_nan": '{"a": -NaN}',
    "plus_infinity": '{"a": +Infinity}',
    "lower_nan": '{"a": nan}',
    "short_inf": '{"a": inf}',
    "nan_and_more": '{"a": NaN1}',
    "number_and_nan": '{"a": 1NaN}',
    "infinity_cut": '{"a": Infinit}',
    "infinity_and_more": '{"a": Infinity.0}',
    "words_in_strings": '{"NaN": "Infinity", "\\"NaN": "-Infinity\\\\", "x": NaN}',
    "nan_as_key": "{NaN: 1}",
    "like_stand_ins": '[0e0, NaN, 0e000, -0e0, 0E0, Infinity, 0e0000000, -Infinity, -0e00000000, 0.0]',
    "like_stand_ins_alone": "[0e0, -0e00, 0e000000]",
    "large": "[1E400, -1e400, 1e308, 1.7976931348623157e308, 1.8e308, 179769313486231580793e289]",
    "large_not_a_number": "[1.E400]",
    "large_leading_zero": "[01e400]",
    "large_no_exponent": "[1e400e1]",
    "large_fraction": "[" + 310 * "9" + ".5]",
    "small": "[1e-400, -1e-400, 5e-324, 2.2250738585072014e-308]",
    "integers": "[0, -0, 9223372036854775807, -9223372036854775808, 18446744073709551615]",
    "beyond_64_bits": "[18446744073709551616, -9223372036854775809, 1000000000000000019884624838656]",
    "beyond_doubles": "[1" + 400 * "0" + "]",
    "leading_zero": "[01]",
    "leading_point": "[.5]",
    "trailing_point": "[5.]",
    "plus": "[+5]",
    "hexadecimal": "[0x10]",
    "twice": '{"a": 1, "b": 2, "a": 3}',
    "twice_nested": '{"x": {"a": {"b": 1}, "a": {"c": 2}, "a": [3]}, "y": 4, "x": {"z": 5, "z": 6}}',
    "twice_many": json.dumps({f"k{i}": i for i in range(100)})[:-1] + ', "k7": "last", "k99": [], "new": 0, "k7": "end"}',
    "twice_by_escapes": '{"a": 1, "\\u0061": 2}',
    "twice_many_values": '{"a": {"x": ' + json.dumps(list(range(50))) + '}, "a": null}',
    "empty_key": '{"": 1, "": 2}',
    "pair": '["\\ud83d\\ude00"]',
    "half_a_pair": '{"a": "\\ud800"}',
    "other_half": '{"\\udc00": 1}',
    "half_and_letter": '["\\ud800a"]',
    "zero_escaped": '{"a\\u0000b": "\\u0000"}',
    "zero_behind": '{"a": 1}\0',
    "zero_behind_and_more": '{"a": 1}\0{"b": 2}',
    "zero_between": '{"a":\0 1}',
    "zero_in_string": '{"a": "\0"}',
    "more_behind": '{"a": 1} x',
    "document_behind": '{"a": 1}{"b": 2}',
    "number_behind": "1 2",
    "comma_behind": '{"a": 1},',
    "space_behind": '{"a": 1} \n\r\t ',
    "other_space": '{"a": 1}\u00a0',
    "form_feed": '{"a":\f1}',
    "byte_order_mark": '\ufeff{"a": 1}',
    "empty": "",
    "only_space": " \n",
    "cut": '{"a": [1, 2',
    "trailing_comma": "[1, 2,]",
    "single_quotes": "{'a': 1}",
    "comment": '{"a": 1} // no',
    "new_line_in_string": '{"a": "b\nc"}',
    "delete_in_string": '{"a": "\x7f"}',
    "bad_escape": '["\\x41"]',
    "escapes": '["\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\u20AC"]',
    "not_utf8": b'{"a": "\xff"}',
    "overlong_utf8": b'{"a": "\xc0\xaf"}',
    "surrogate_in_utf8": b'{"a": "\xed\xa0\x80"}',
    "utf8": '{"zwölf": "日本 😀"}',
    "latin1_outside": b"[1]\xe9",
    "true_in_capitals": "[True]",
    "literal_and_more": "[nullx]",
    "deep": 90 * "[" + 90 * "]",
}


def hexadecimal(text):
    return text.encode().hex()  # raises for half a surrogate pair


def double(value):
    return "double " + struct.pack(">d", value).hex() if value == value else "double nan"


def events(value):
    if isinstance(value, dict):
        yield "{"
        for key, part in value.items():
            yield f"key {hexadecimal(key)}"
            yield from events(part)
        yield "}"
    elif isinstance(value, list):
        yield "["
        for part in value:
            yield from events(part)
        yield "]"
    elif isinstance(value, str):
        yield f"text {hexadecimal(value)}"
    elif value is None or isinstance(value, bool):
        yield json.dumps(value)
    elif isinstance(value, int) and -2**63 <= value < 2**64:
        yield f"integer {value}"
    else:
        yield double(float(value))  # raises for an integer beyond all doubles


def expected(path):
    try:
        with open(path, encoding="utf-8") as file:
            return "\n".join(events(json.load(file)))
    except UnicodeEncodeError:
        return "refused"  # half a surrogate pair: Python reads it, but nothing can hold it
    except OverflowError:
        return "refused"  # Python's integers have no end
    except ValueError:
        return "refused"


def main(out):
    out.mkdir(parents=True, exist_ok=True)
    for name, document in DOCUMENTS.items():
        path = out / f"{name}.json"
        path.write_bytes(document if isinstance(document, bytes) else document.encode())
        (out / f"{name}.expected").write_text(expected(path))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
