"""Lines of text that are hard on tokenizers: many scripts, odd white space, code, cut characters; always the same."""
import functools
import random
import unicodedata

from tokenizers import normalizers

WORDS = """the of and to in a is that it was for on are as with his they at be this from have or by one had not but what
all were when we there can an your which their said if do will each about how up out them then she many some so these
would other into has more her two like him see time could no make than first been its who now people my made over did
down only way find use may water long little very after words called just where most know get through back much before
go good new write our used me man too any day same right look think also around another came come work three word must
because does part even place well such here take why things help put years different away again off went old number
tokenizer quantization perplexity normalization calibration International Understanding iPhone McDonald HTTPServer
naïve café Straße façade coöperate résumé İstanbul Ångström""".split()
CONTRACTIONS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'RE", "'Ve", "'LL", "’s", "’t", "'ſ", "'", "''s"]
SPACES = [" ", "  ", "\t", "\n", "\r", "\r\n", "\n\n", "\v", "\f", "\x1c", "\x1f", "\x85", "\xa0", "\u1680", "\u180e",
          "\u2003", "\u2009", "\u200a", "\u200b", "\u2028", "\u2029", "\u202f", "\u205f", "\u2060", "\u3000", "\ufeff",
          "   \n  ", " \t ", "      ", "\n \n", " \u3000 "]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<mask>", "<a>", "<a><b>", "foo", "foobar", "[two words]",
           "[é]", "[e\u0301]", "日本", "\n\n\n", " x", "[ ﬁ ]", "<|end", "<|endoftext|", "<<|im_start|>>"]
EMOJI = ["😀", "👨‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇫🇷", "❤️", "👩🏿‍🚀", "1️⃣", "🤷‍♀️", "\u200d", "\ufe0f"]
CODE = ["def f(x):\n    return x**2\n", "for (int i = 0; i < n; ++i) {\n\t\ta[i] += b[i];\n}\n", "x != y && z || !w",
        "https://example.org/a/b?c=d&e=%20f#g", "SELECT * FROM t WHERE a >= 10;", "a->b::c<d>();", "#include <cstdio>",
        "$\\alpha_{i,j}^{2}$", "{\"key\": [1, 2.5e-3, null]}", "// comment\r\n/* other */", "user@example.com", "C:\\n\\t"]
NUMBERS = ["0", "7", "42", "123", "2024", "12345", "3.14159", "1,000,000", "-17", "0x1F", "1e-5", "٣٤٥", "१२३", "²³", "½",
           "Ⅷ", "①②③", "𝟘𝟙", "৭৮", "一二三", "10%", "١٢٣٤٥٦٧", "123456789012345678901234567890"]
ALPHABETS = [(0x41, 0x7A), (0xC0, 0x24F), (0x250, 0x2AF), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x52F), (0x531, 0x58A),
             (0x591, 0x5F4), (0x600, 0x6FF), (0x710, 0x74A), (0x904, 0x970), (0x981, 0x9FB), (0xB82, 0xBFA),
             (0xE01, 0xE5B), (0xF00, 0xFBC), (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1200, 0x137C), (0x1780, 0x17F9),
             (0x1E00, 0x1EFF), (0x1F00, 0x1FFE), (0x2000, 0x20BF), (0x2100, 0x218B), (0x2190, 0x22FF), (0x2460, 0x24FF),
             (0x3041, 0x30FF), (0x3105, 0x318E), (0x4E00, 0x9FFC), (0xA490, 0xA4C6), (0xAC00, 0xD7A3), (0xF900, 0xFAD9),
             (0xFB00, 0xFB4F), (0xFE20, 0xFE2F), (0xFF01, 0xFFEE), (0x10000, 0x100FA), (0x10400, 0x1044F),
             (0x12000, 0x12399), (0x1D400, 0x1D7FF), (0x1F100, 0x1F1FF), (0x1F300, 0x1F64F), (0x20000, 0x2A6DD)]


BARE = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=False, strip_accents=True, lowercase=False)


@functools.cache
def is_settled(point):
    """Assigned, and not so young that the package's tables of compatibility characters, marks or formats lack it."""
    character = chr(point)
    category = unicodedata.category(character)
    if category in ("Cn", "Cs"):
        return False
    if category[0] == "M" and normalizers.StripAccents().normalize_str(character):
        return False
    if category in ("Mn", "Cf") and BARE.normalize_str(character):
        return False
    return normalizers.NFKC().normalize_str(character) == unicodedata.normalize("NFKC", character)


def foreign_word(rng):
    low, high = rng.choice(ALPHABETS)
    points = [point for point in (rng.randint(low, high) for _ in range(rng.randint(1, 9))) if is_settled(point)]
    word = "".join(map(chr, points))
    return rng.choice([word, word, unicodedata.normalize("NFD", word), word + chr(rng.randint(0x300, 0x34E))])


def any_character(rng):
    while True:
        point = rng.choice([rng.randint(0, 0xFF), rng.randint(0, 0xFFFF), rng.randint(0x10000, 0x3FFFF)])
        if is_settled(point):
            return chr(point)


def english(rng):
    words = [WORDS[min(int(rng.paretovariate(0.7)) - 1, len(WORDS) - 1)] for _ in range(rng.randint(1, 12))]
    words = [rng.choice([word] * 8 + [word.upper(), word.title(), word + rng.choice(CONTRACTIONS)]) for word in words]
    return " ".join(words) + rng.choice(["", ".", ",", "?", "!", "...", ";", ":", "\"", ")", "—", "。"])


FRAGMENTS = [(english, 8), (foreign_word, 6), (any_character, 2)] + [
    (lambda rng, pool=pool: rng.choice(pool), weight)
    for pool, weight in ((CONTRACTIONS, 1), (SPACES, 5), (SPECIAL, 3), (EMOJI, 1), (CODE, 1), (NUMBERS, 2))]


def line(rng):
    makers = rng.choices([maker for maker, _ in FRAGMENTS], [weight for _, weight in FRAGMENTS], k=rng.randint(1, 8))
    return rng.choice(["", " "]).join(maker(rng) for maker in makers)


def long_lines(rng):
    """Words far longer than any that are met often; merging them must not take quadratic time."""
    letters = "".join(rng.choice("aabcdeinorst") for _ in range(20000))
    return [letters, "a" * 20000, " " * 5000 + "x", "\n" * 3000, "1" * 5000, "!?" * 3000, "é" * 5000, "e\u0301" * 3000,
            "日" * 4000, "<a>" * 2000, "foo" * 2000, "0 " * 3000, "\t \n" * 2000, "Aa" * 4000, "\u0301" * 2000]


def lines(count, seed=20240229):
    rng = random.Random(seed)
    fixed = ["", " ", "\n", "a", " a", "a ", "Hello, world!", *SPECIAL, *SPACES, *CODE, *NUMBERS, *EMOJI, *long_lines(rng)]
    return fixed + [line(rng) for _ in range(count - len(fixed))]


def training_text(count=800, seed=5):
    rng = random.Random(seed)
    return [rng.choice([english, english, line])(rng) for _ in range(count)]


def malformed_bytes(count=3000, seed=11):
    """Byte strings that are mostly not UTF-8: cut characters, overlong forms, surrogates, random bytes."""
    rng = random.Random(seed)
    fixed = [b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xf0\x90A", b"\xf4\x90\x80\x80", b"\xc0\xaf", b"\xff", b"a\xe2\x82",
             b"\xf0\x9f\x98", b"\x80", b"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41"]
    pool = [0x00, 0x20, 0x41, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xED, 0xEF, 0xF0, 0xF1,
            0xF4, 0xF5, 0xFF]
    return fixed + [bytes(rng.choice(pool) for _ in range(rng.randint(1, 12))) for _ in range(count)]
