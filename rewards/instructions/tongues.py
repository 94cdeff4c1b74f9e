"""Which language a text is in: by its script, and among languages of one script by py3langid.

Good for the question that an instruction asks, whether a whole response is in one language. Foreign
words within an English text are the matter of `munro.rewards.language`.

py3langid (BSD licence, a model of 4.5 MB inside) weighs pieces of words. A greeting of two words is
seldom certain, so what is asked is not which language comes first but whether the wanted one is
among those that the text may well be.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any

MOST_LETTERS = 20_000
"""A language shows long before."""
SCRIPTS: Mapping[str, tuple[str, ...]] = {
    "HIRAGANA": ("ja",),
    "KATAKANA": ("ja",),
    "CJK": ("zh",),
    "HANGUL": ("ko",),
    "BENGALI": ("bn", "as"),
    "THAI": ("th",),
    "LAO": ("lo",),
    "KHMER": ("km",),
    "MYANMAR": ("my",),
    "SINHALA": ("si",),
    "TAMIL": ("ta",),
    "TELUGU": ("te",),
    "KANNADA": ("kn",),
    "GUJARATI": ("gu",),
    "GURMUKHI": ("pa",),
    "MALAYALAM": ("ml",),
    "ORIYA": ("or",),
    "HEBREW": ("he",),
    "GREEK": ("el",),
    "GEORGIAN": ("ka",),
    "ARMENIAN": ("hy",),
    "ETHIOPIC": ("am",),
    "ARABIC": ("ar", "fa", "ur", "ps", "ug"),
    "DEVANAGARI": ("hi", "mr", "ne", "sa"),
    "CYRILLIC": ("ru", "uk", "bg", "be", "sr", "mk", "kk", "ky", "tg", "tt", "ba", "mn"),
    "LATIN": tuple(
        """en es pt fr de it nl pl sv da no fi cs sk hu ro hr sl bs sr lt lv et tr az uz vi id ms tl
        sw ca gl eu af is ga cy sq mt eo la lb ht so zu xh yo ig ha rw mg jv""".split()  # noqa: SIM905
    ),
}
"""Script, as Unicode names its letters, to the ISO 639-1 codes of languages written in it."""
OFTEN = frozenset(
    """en es pt fr de it nl pl sv da no fi cs sk hu ro hr sl lt lv et tr vi id ms tl sw ca sq
    ru uk bg be sr mk kk ar fa ur ps hi mr ne bn""".split()  # noqa: SIM905
)
"""Languages that compete for every text of their script; a rarer one does where it is asked for."""
LANGUAGES = frozenset(code for codes in SCRIPTS.values() for code in codes)
AS_LIKELY = 0.25
"""Of the likeliest language's probability: with as much, a text may well be in another one."""
TELLS = 0.2
"""Probability of the likeliest language under which a text tells nothing ("ok", "yes")."""


def language_code(text: str) -> str:
    """The language that a code names, without its region ("pt-BR" is "pt").

    Raises:
        ValueError: it is no code of a language that can be told.
    """
    code = text.strip().replace("_", "-").partition("-")[0].lower()
    if code in LANGUAGES:
        return code
    hint = f" Did you mean {code[:2]!r}?" if code[:2] in LANGUAGES else ""
    raise ValueError(f"give a code of ISO 639-1, such as 'en' or 'zh'.{hint}")


def speaks(text: str, language: str) -> bool:
    """Whether a text may well be in a language. What tells nothing is taken for English, as is a
    single word without accents.

    Args:
        text: any; its first letters decide.
        language: an ISO 639-1 code out of `LANGUAGES`.

    Example:
        speaks("Guten Morgen!", "de")      # True
    """
    script = _script_of(text)
    if language not in SCRIPTS.get(script, ()):
        return not script and language == "en"
    likely = _likely(text, script, language)
    if not likely:
        return True
    best = max(likely.values())
    if best < TELLS or (text.isascii() and len(text.split()) == 1):
        return language == "en" or likely[language] == best
    return likely[language] >= AS_LIKELY * best


def _script_of(text: str) -> str:
    """The script of most letters; "" where there are none."""
    letters = (letter for letter in text[:MOST_LETTERS] if letter.isalpha())
    scripts = Counter(unicodedata.name(letter, "").partition(" ")[0] for letter in letters)
    if scripts["HIRAGANA"] + scripts["KATAKANA"] > scripts["CJK"] / 10:
        scripts["HIRAGANA"] += scripts.pop("CJK", 0)
    return scripts.most_common(1)[0][0] if scripts.total() else ""


def _likely(text: str, script: str, asked: str) -> dict[str, float]:
    """Probability of each language of a script that has several; empty for the others."""
    rivals = [code for code in SCRIPTS.get(script, ()) if code in OFTEN or code == asked]
    if len(rivals) < 2:
        return {}
    found = dict(_identifier().rank(text[:MOST_LETTERS].lower()))
    total = math.fsum(found[code] for code in rivals)
    return {code: found[code] / total for code in rivals}


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
