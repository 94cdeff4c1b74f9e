"""The language part of a reward: a chain of thought stays in English (report, Eq. 11).

Mixed-language thoughts come together with spikes in the log-prob gap between trainer and engine.
The report names no detector. This one counts words by script, by spelling, and in runs by the
frequency lists of `munro.rewards.language.wordlists`; it is in one place, `num_foreign_words`. It
prefers to miss a foreign word over punishing an English one: `benchmarks/language.py` measures
both.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache

from munro.rewards.language import wordlists

CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]{1,200}`", re.DOTALL)
FORMULA = re.compile(
    r"\$\$[^$]{1,4000}\$\$|\$[^$\n]{1,1000}\$|\\\([^\n]{1,1000}?\\\)|\\\[.{1,4000}?\\\]"
    r"|\\[A-Za-z]+(?:\{[^{}\n]{0,200}\})*",
    re.DOTALL,
)
QUOTED = re.compile(r"\"[^\"\n]{1,300}\"|“[^”\n]{1,300}”|«[^»\n]{1,300}»|「[^」\n]{1,300}」")
LINK = re.compile(r"\b(?:https?://|www\.)\S{1,500}")
# vowel signs of Hebrew, Arabic and the scripts of South and South-East Asia are part of the word
MARKS = (
    r"\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0963\u0980-\u0dff\u0e31-\u109f\u1780-\u17d3"
)
WORD = re.compile(rf"[^\W\d_](?:[^\W\d_]|[{MARKS}])*(?:['-](?:[^\W\d_]|[{MARKS}])+)*")

THOUGHT = re.compile(r"<think>(.*?)(?:</think>|\Z)", re.DOTALL)
ANSWER = re.compile(r"<answer>.*?(?:</answer>|\Z)", re.DOTALL)

# scripts that put no spaces between words, and the length of a usual word in them
CHARACTERS_PER_WORD = {
    "CJK": 2,
    "HIRAGANA": 3,
    "KATAKANA": 4,
    "THAI": 5,
    "LAO": 5,
    "KHMER": 5,
    "MYANMAR": 5,
    "TIBETAN": 4,
}
_LOANWORDS = """
café cafés naïve naïvely naïveté façade façades fiancé fiancée résumé résumés cliché clichés clichéd
décor déjà vu risqué soirée touché voilà über coöperate coördinate coördinates zoölogy élan entrée
entrées exposé pâté piñata jalapeño jalapeños señor señora doppelgänger crème brûlée protégé
protégée fête séance tête raison être vis passé ångström ångströms matinée purée sauté sautéed
attaché blasé communiqué papier mâché bokmål
"""
GAP = 3
"""Words from one telling word of a language to the next, at most, within a run."""
LEAST_TELLING = 3
"""Different telling words that make a run; fewer are abbreviations and terms of English prose."""
# common words of German, French, Spanish, Italian, Portuguese and Dutch that English, its names,
# its abbreviations and its mathematics do not share
_FOREIGN_WORDS = """
und nicht eine einen einem einer ich wir sind auch aber oder wenn weil nach noch wird werden haben
kann jetzt daher deshalb zwei drei gleich wieviel müssen können
une sont avec mais donc alors nous vous cette leur deux quatre parce quand aussi peut doit
ensuite maintenant puisque
pero porque entonces ahora tenemos debe puede cuando tres cuatro siguiente respuesta luego estos
estas ecuación
degli sono anche quindi allora adesso abbiamo risposta
uma são então agora temos resposta
niet maar zijn hebben wordt deze omdat twee
"""
LOANWORDS = frozenset(_LOANWORDS.split())
FOREIGN_WORDS = frozenset(_FOREIGN_WORDS.split())
ENGLISH = frozenset(
    """the of and to is are was be that this these it its for with by from or not on at if as which
    when then than we you they there has have can will""".split()  # noqa: SIM905
)
"""Words that end a run of another language, unless that language has them too."""


def consistency(text: str, alpha: float = 0.005) -> float:
    """R_lang = max(1 - alpha * n, 0), n the words of the text that are not English.

    Args:
        text: the chain of thought (`chain_of_thought` finds it in a reply).
        alpha: what one foreign word costs; at 0.005 nothing is left after 200.

    Raises:
        ValueError: alpha is not positive.
    """
    if not alpha > 0:
        raise ValueError(f"alpha is {alpha}: must be positive")
    return max(1 - alpha * num_foreign_words(text), 0.0)


def chain_of_thought(reply: str) -> str:
    """The thoughts in a reply: inside `<think>`, or else all that is outside `<answer>`.

    A prompt that ends in an opening `<think>` leaves only the closing tag in the reply; what stands
    before that is thought as well.
    """
    thoughts = THOUGHT.findall(reply)
    if thoughts:
        return "\n".join(thoughts)
    before, tag, _ = reply.partition("</think>")
    return before if tag else ANSWER.sub(" ", reply)


def visible(reply: str) -> str:
    """What a user sees of a reply: all that follows the thoughts; nothing where they never end."""
    _, thoughts, after = reply.rpartition("</think>")
    if thoughts:
        return after
    before, tag, _ = reply.partition("<think>")
    return before if tag else reply


def num_foreign_words(text: str) -> int:
    """Words that are not English.

    - A word in a script other than Latin counts as one. A single Greek letter is mathematics and
      does not count. Scripts without spaces between words (Chinese, Japanese, Thai, ...) count by
      length, a run of n characters as n divided by the usual word length, at least one.
    - A word in Latin letters counts if it is a common word of another language that English does
      not have, or if it has an accent, is in lower case and is no loanword of English. Capitalised
      words with accents are taken for names.
    - A run counts where at least three different words that tell one language from English (German,
      French, Spanish, Italian, Portuguese, Dutch) stand close together: with every word between
      that the language knows.
    - Formulas, LaTeX, code, links and quoted text do not count.
    """
    for left_out in (CODE, FORMULA, LINK, QUOTED):
        text = left_out.sub(" ", text)
    words = WORD.findall(unicodedata.normalize("NFC", text))
    weights = [_weight(word) for word in words]
    for place in _in_runs(words):
        weights[place] = max(weights[place], 1)
    return sum(weights)


def _in_runs(words: Sequence[str]) -> set[int]:
    """Places of words that belong to a run of another language in Latin letters."""
    lowered = {word for word in words if word.islower() and len(word) > 1}
    if len(lowered) < LEAST_TELLING:
        return set()
    telling, usual = wordlists.tables()
    evidence = [
        (at, bits)
        for at, word in enumerate(words)
        if word.islower() and (bits := _bits(word, telling))
    ]
    found: set[int] = set()
    for place in range(len(wordlists.LANGUAGES)):

        def is_shared(at: int, bit: int = 1 << place) -> bool:
            return bool(_bits(words[at].lower(), usual) & bit)

        of_language = [at for at, bits in evidence if bits >> place & 1]
        run: list[int] = []
        for at in [*of_language, len(words) + GAP]:
            gap = range(run[-1] + 1, at) if run else range(0)
            if len(gap) < GAP and not any(
                words[i].lower() in ENGLISH and not is_shared(i) for i in gap
            ):
                run.append(at)
                continue
            if len({words[i] for i in run}) >= LEAST_TELLING:
                found |= {i for i in range(run[0], run[-1] + 1) if is_shared(i)}
                found |= set(run)
            run = [at]
    return found


def _bits(word: str, table: Mapping[str, int]) -> int:
    """Languages of a word, or of its longest part ("l'equazione"); English loanwords have none."""
    if word not in table and ("'" in word or "-" in word):
        word = max(re.split(r"['-]", word), key=len)
    return 0 if word in LOANWORDS else table.get(word, 0)


@lru_cache(maxsize=65_536)
def _weight(word: str) -> int:
    """How many foreign words a run of letters is."""
    if word.isascii():
        return int(word.lower() in FOREIGN_WORDS and not word.isupper())
    scripts = [_script(letter) for letter in word if letter.isalpha()]
    others = [script for script in scripts if script not in ("LATIN", "SYMBOL")]
    if not others:
        return int(_is_foreign_latin(word))
    if set(others) == {"GREEK"}:
        # letters of a formula stand alone, or in twos and threes (Δx, λμ); Greek words are longer
        return int(len(others) > 3)
    spaceless = [script for script in others if script in CHARACTERS_PER_WORD]
    if not spaceless:
        return 1
    usual = max(CHARACTERS_PER_WORD[script] for script in set(spaceless))
    return -(-len(spaceless) // usual)


def _is_foreign_latin(word: str) -> bool:
    parts = re.split(r"['-]", word)
    if any(part[:1].isupper() for part in parts):
        return False
    return any(part in FOREIGN_WORDS or _is_accented(part) for part in parts)


def _is_accented(part: str) -> bool:
    # compatibility forms (the ligature in "eﬃcient") are typography, not spelling
    marks = [unicodedata.decomposition(letter) for letter in part]
    has_accent = "ß" in part or any(mark and not mark.startswith("<") for mark in marks)
    return has_accent and len(part) > 2 and part not in LOANWORDS


@lru_cache(maxsize=65_536)
def _script(letter: str) -> str:
    name = unicodedata.name(letter, "")
    first = name.split(" ", 1)[0]
    if first in ("MATHEMATICAL", "DOUBLE-STRUCK", "SCRIPT", "BLACK-LETTER", "MICRO", "MODIFIER"):
        return "SYMBOL"
    if first in ("SUPERSCRIPT", "SUBSCRIPT", "FEMININE", "MASCULINE", "OHM", "KELVIN", "ANGSTROM"):
        return "SYMBOL"
    if first in ("PLANCK", "ALEF", "BET", "GIMEL", "EULER", "INFORMATION", "TURNED"):
        return "SYMBOL"
    return "LATIN" if first == "FULLWIDTH" and " LATIN " in f"{name} " else first
