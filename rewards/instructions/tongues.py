"""Which language a text is in: by its script, and among languages of one script by common words.

Good for the question that an instruction asks, whether a whole response is in one language. Foreign
words within an English text are the matter of `munro.rewards.language`.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from pathlib import Path

MOST_LETTERS = 20_000
"""A language shows long before."""
SCRIPTS = {
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "CJK": "zh",
    "HANGUL": "ko",
    "BENGALI": "bn",
    "THAI": "th",
    "TAMIL": "ta",
    "TELUGU": "te",
    "KANNADA": "kn",
    "GUJARATI": "gu",
    "GURMUKHI": "pa",
    "MALAYALAM": "ml",
    "HEBREW": "he",
    "GREEK": "el",
}
"""Scripts that tell the language at once."""
COMMON = {
    script: {language: frozenset(words.split()) for language, words in languages.items()}
    for script, languages in json.loads(
        Path(__file__).with_suffix(".json").read_text(encoding="utf-8")
    ).items()
}
"""Script to language to words that its texts are full of."""
LETTERS = re.compile(r"[^\W\d_]")
# vowel signs are no word characters to `re`, yet stand inside words
WORD = re.compile(r"[^\W\d_](?:[^\W\d_]|[\u0300-\u036f\u064b-\u065f\u0900-\u0963])*")


def language_of(text: str) -> str:
    """ISO 639-1 code of the language that a text is in; "" where nothing tells.

    Example:
        language_of("Das ist nicht der Fall.")      # "de"
    """
    scripts = Counter(_script(letter) for letter in LETTERS.findall(text[:MOST_LETTERS]))
    if not scripts:
        return ""
    if scripts["HIRAGANA"] + scripts["KATAKANA"] > scripts["CJK"] / 10:
        scripts["HIRAGANA"] += scripts.pop("CJK", 0)
    script = scripts.most_common(1)[0][0]
    if script in SCRIPTS:
        return SCRIPTS[script]
    words = Counter(word.lower() for word in WORD.findall(text[:MOST_LETTERS]))
    scores = {
        language: sum(words[word] for word in common)
        for language, common in COMMON.get(script, {}).items()
    }
    best = max(scores, key=lambda language: scores[language], default="")
    return best if best and scores[best] else ""


def _script(letter: str) -> str:
    return unicodedata.name(letter, "").split(" ", 1)[0]
