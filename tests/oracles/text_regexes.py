"""Regexes of every syntax element that Oniguruma knows, and how the `tokenizers` package splits texts by them."""
import string

from tokenizers import Regex, pre_tokenizers

TEXTS = [
    "", "aaaaaa b aa\nab aB AB\n", "foo\nbar\n\nbaz", "a\nb\r\nc\x0bd\x0ce\x85f\u2028g\u2029h\n", "ab12 -5_x٣४½²³¼ⅧⒶⓐ",
    "ßssSSẞ ſs ſt ﬆ stST ﬁ fi ﬀ İ i̇ iI ıI K kK Å åÅ µμ ͅιι", "日本語 ひらがな カタカナー 한국어 中文ㄅ々〆",
    "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ «»“”‘’…—€£©®±×÷", "e\u0301 e\u0301\u0302 नमस्ते ไทย שָׁלוֹם",
    "\t \u00a0\u1680\u180e\u2003\u200b\u3000\ufeff",
    "👨‍👩‍👧 🇫🇷 👍🏽 1️⃣ ☺", "AbcDEF ghiJ 0x1F g", "aXbXc axbxc xx abab abcabc aba abb aXa", "a{2} a{ a{,} {x} x{1,2}y }",
    "x y z #c\nabd a b", "]ab[c^d-e]&&", "\x07\x08\x1b\x01\x00\x7f", "bc ac abc ax bcx aax aaa b",
    "I'm we'LL they'Ve 'ſ", "ǅ Ǆ ǆ ʰ ª º ა Ა Ꭰ ꭰ",
    "  a   b    \n   \n\n  c ", "ψ Ψ Ω Ω ω ς σ Σ б Б я", "QEab \\Q \\E ijlqUVyYz", "a-b a-5b --- -a", "(?#) a(b)c",
    "1234567 12 1,234"]

REPEATS = ["?", "*", "+", "??", "*?", "+?", "?+", "*+", "++", "{2}", "{2}?", "{2}+", "{1,2}", "{1,2}?", "{1,2}+",
           "{1,}", "{1,}?",
           "{1,}+", "{,2}", "{,2}?", "{,2}+", "{0}", "{0,1}+", "{2,1}", "{,}", "{", "{2", "{2,", "{x}", "{ 2}",
           "{1,2}{2}", "{2}{3}",
           "??+", "*+?", "+*", "**", "+?+", "?*", "?+?"]
ONES = [".", r"\w", r"\W", r"\s", r"\S", r"\d", r"\D", r"\h", r"\H", r"\R", r"\X", r"\N", r"\O", r"\t", r"\v", r"\n",
        r"\r", r"\f",
        r"\a", r"\e", r"\x41", r"\x4", r"\x{41}", r"\x{3b1}", r"\x{1F44D}", r"\xE3\x81\x82", r"\u0041", r"\u3042",
        r"\101", r"\007",
        r"\0", r"\00", r"\18", r"\377", r"\cA", r"\C-a", r"\c[", r"\M-a", r"\M-\C-a", r"\o{101}", r"\x{41 42}", r"\K",
        r"a\Kb", r"\G",
        r"\Ga", r"\A", r"\Aa", r"a\Z", r"\z", r"a\z", r"\n\Z", "^", "^a", "a$", "$", "^$", r"^\s*$", r"\b",
        r"\b\w+\b", r"\B", r"\B.",
        r"\bа", r"\Qab\E", r"\Q", r"\y", r"\Y", r"\y\w", "]", "}", "a]b", "[", "(", ")", "a)", "(a", "*", "+a", "?",
        "|*", "(*)", "(|+)",
        "^*", "$+", r"\b?", "(?=a)*", "(?!a)+", r"\A{2}", "{2}", "{,2}a", "a|", "|a", "a||b", "()", "(|a)+", "(a|)*b",
        "(?:)", "a**"]
PROPERTIES = ["L", "l", "Lu", "lu", "Ll", "Lt", "Lm", "Lo", "LC", "L&", "M", "Mn", "Mc", "Me", "N", "Nd", "Nl", "No",
              "P", "Pc", "Pd", "Ps", "Pe",
              "Pi", "Pf", "Po", "S", "Sm", "Sc", "Sk", "So", "Z", "Zs", "Zl", "Zp", "C", "Cc", "Cf", "Co", "Letter",
              "Uppercase_Letter",
              "uppercase letter", "Decimal_Number", "Punctuation", "Math_Symbol", "Separator", "Mark",
              "Combining_Mark", "Any", "Assigned",
              "Alnum", "Alpha", "ASCII", "Blank", "Cntrl", "Digit", "Graph", "Lower", "Print", "Punct", "Space",
              "Upper", "XDigit", "Word",
              "Alphabetic", "Lowercase", "Uppercase", "White_Space", "WhiteSpace", "Emoji", "Emoji_Presentation",
              "Extended_Pictographic",
              "Ideographic", "Math", "Dash", "Hex_Digit", "ID_Start", "Cased", "Han", "Hiragana", "Katakana",
              "Hangul", "Latin", "Greek",
              "Cyrillic", "Hebrew", "Thai", "Devanagari", "Georgian", "Cherokee", "Bopomofo", "Common", "Inherited",
              "Grek", "Script=Han",
              "sc=Han", "scx=Han", "In_Basic_Latin", "InBasicLatin", "Age=5.0", "XPosixPunct", "IsAlpha", "Unknown",
              "Nope", ""]
BRACKETS = ["alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
            "upper", "xdigit", "word", "nope"]
CLASSES = [
    "[abc]+", "[^abc]+", "[a-c]+", "[^a-c]", "[]abc]", "[^]]", "[]-a]", "[a-]", "[-a]+", "[a-c-e]", "[a-c-]", "[+--]",
    "[--/]", "[a\\-c]",
    r"[\w-]+", r"[\w-.]+", r"[\d-a]", r"[a-\d]", r"[\s\S]", r"[^\s\S]", r"[\W]+", r"[^\W]+", r"[\D\s]+", r"[\H]",
    r"[\h]+", r"[^\h]+",
    r"[\b]", r"[\n\r]+", r"[\x41-\x43]+", r"[\x{3040}-\x{309f}]+", r"[\u3040-\u309f]+", r"[\101]", r"[\e\a\0]",
    r"[\cA]", r"[\R]", r"[\X]",
    r"[\p{L}\p{N}]+", r"[^\p{L}]+", r"[\P{L}]+", r"[\p{^L}]+", r"[\P{^L}]+", r"[^\P{L}]+", r"[\p{Han}ー]+",
    r"[^\r\n\p{L}\p{N}]",
    "[a[bc]]+", "[^a[bc]]+", "[a[^b]]", "[^a[^b]]", "[a[b[c]]]+", "[[ab][cd]]", "[a-z&&[^aeiou]]+",
    "[a-z&&b-y&&[^x]]+", r"[^a-z&&\w]",
    r"[\w&&[^\d]]+", r"[\p{L}&&\p{Latin}]+", "[a&&]", "[&&a]", "[a&b]", "[a&&b]", "[[a-z]&&[b-c]]", "[a-[b]]",
    "[z-a]", "[]", "[^]", "[a",
    r"[\]]", r"[\[]+", "[[]", "[[:alpha:]_]+", "[^[:alpha:]]+", "[[:^alpha:]]+", "[[:alpha:][:digit:]]+",
    "[:alpha:]+", "[[:alpha:]-z]",
    "[[.a.]]", "[[=a=]]", "[(?i)]", "[#a b]+", "[.]", "[$^]", "[|]", "[{}]", "[*+?]", "[a\\Qb\\E]", "[一-龥]+",
    "[à-ÿ]+", "[^\x00-\x7f]+"]
GROUPS = [
    "(?:ab)+", "(ab)+", "(?<n>ab)+", "(?'n'ab)+", "(?P<n>ab)", "(?>a+)b", "(?>a|ab)c", "(?=a).", "(?!a).", "(?<=a).",
    "(?<!a).", "(?<=a|bc)x",
    "(?<=a+)x", "(?<!a*)x", "(?<=a{2})x", "(?<=(?:a|bc))x", "(?<!(a))x", r"(?<=\s)\w", r"(?<=^)a", "(?#comment)a",
    r"(?#a\)b)a", "(?i)ab",
    "(?i:ab)", "a(?i)b|c", "(a(?i)b|c)a", "(?i)a(?-i)b", "(?i-m:a.b)", "(?m:a.b)", "(?m)a.b", "(?-m:a.b)", "(?s:a.b)",
    "(?mi:A.B)", "(?x: a b )",
    "(?x) a b # c\n d", "(?x)a\\ b", "(?x)a [ ] b", "(?x)a +", "(?x: a (?-x: b))", "(?x)a #", "(?u:a)", "(?a)a",
    "(?W)\\w", "(?D:\\d)", "(?y{g}:\\X)",
    "(?L:a)", "(?C)a", "(?I)a", r"(a)\1", r"(a)(b)\2", r"(a)\2", r"\1(a)", r"(?<n>a)\k<n>", r"(?<n>a)\k'n'",
    r"(?<n>a)\1", r"(a)\k<1>", r"(a)\k<-1>",
    r"(?<n>a)(b)\k<n>", r"(?<n>a)|(?<n>b)", r"(.)\1", r"(?i)(a)\1", r"(a)\g<1>", r"(?<n>a)\g<n>", r"\g<0>",
    r"(a|b\g<1>c)", "(?~ab)", "(?~|ab|a*)",
    "(?(1)a|b)", "(a)?(?(1)b|c)", "(?<n>a)?(?(<n>)b|c)", "(?|a|b)", "(?R)", "(?1)", "(?&n)", "(?P=n)", "(?P>n)",
    "(*FAIL)", "(*UTF)a", "(*ACCEPT)", "(?{a})",
    "(?i:i)", "(?i:I)", "(?i:k)", "(?i:ß)", "(?i:ss)", "(?i:st)", "(?i:sst+)", "(?i:s(?:s))", "(?i:s)(?i:s)",
    "(?i:s+)", "(?i:fi)", "(?i:ffi)", "(?i:İ)", "(?i:ı)",
    "(?i:i\u0307)", "(?i:[ß])", "(?i:[a-z]+)", "(?i:[^s]+)", "(?i:[s-t]+)", "(?i:[^ß])", r"(?i:[\p{Lu}])",
    r"(?i:\p{Lu})", "(?i:[[:upper:]])", r"(?i:[^\r\n\p{L}\p{N}])",
    r"(?i:\p{Ll}+)", r"(?i:[\w])", r"(?i:\w)", r"(?i:[\d]+)", r"(?i:[^\s\p{L}]+)", "(?i:[à-ÿ])", "(?i:å)", "(?i:Å)",
    "(?i:μ)", "(?i:ω)", "(?i:σ)", "(?i:ǆ)", "(?i:ι)",
    "(?i:\u0345)", "(?i:б)", "(?i:Ꭰ)", "(?i:ა)", "(?i:ſ)", "(?i:[k]+)", r"(?i:\x{212a})", r"(?i:\x53\x53)",
    "(?i:[[a][b]])", "(?i:[a[^b]])",
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)"]
# Regexes of published tokenizers, which must be translated.
MODELS = [
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    r"\p{N}{1,3}+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"(?:'[sS]|'[tT])|(?=(\d{3})+(?!\d))|\d{1,3}(?=(?:\d{3})*\b)", r" ?[^(\s|[.,!?…。，、।۔،])]+", "[一-龥぀-ゟ゠-ヿ]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*""",
    r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}"]


def patterns():
    letters = string.ascii_letters + "".join(set(string.punctuation) - set("\\"))
    found = [*ONES, *CLASSES, *GROUPS, *MODELS]
    found += [f"a{repeat}" for repeat in REPEATS] + [f"(?:ab?){repeat}" for repeat in REPEATS]
    found += [f"a{repeat}a" for repeat in REPEATS] + [f"(a|b){repeat}b" for repeat in REPEATS]
    found += [f"(?:a{inner}){outer}b?" for inner in REPEATS[:6] for outer in REPEATS[:6]]
    found += [f"\\{letter}" for letter in letters] + [f"[\\{letter}]" for letter in letters] + [f"x\\{letter}?" for letter in letters]
    found += [form.replace("NAME", name) for name in PROPERTIES for form in (r"\p{NAME}+", r"\P{NAME}", r"\p{^NAME}",
                                                                             r"[a\p{NAME}]+", r"[^\P{NAME}]")]
    found += [form.replace("NAME", name) for name in BRACKETS for form in ("[[:NAME:]]+", "[^[:NAME:]]",
                                                                           "[[:^NAME:]x]+")]
    return list(dict.fromkeys(found))


def splits(pattern):
    """A pair for each text: its pieces, and those of them that do not match. None if Oniguruma refuses the pattern."""
    try:
        compiled = Regex(pattern)
    except Exception:  # the package has no narrower type
        return None
    ways = [pre_tokenizers.Split(compiled, behavior) for behavior in ("isolated", "removed")]
    return [[[piece for piece, _ in way.pre_tokenize_str(text)] for way in ways] for text in TEXTS]


def expectations():
    return {"texts": TEXTS, "cases": [{"pattern": pattern, "splits": splits(pattern), "met": pattern in MODELS}
                                      for pattern in patterns()]}
