"""The language reward's detector: what it wrongly counts, what it misses, how long it takes.

    python benchmarks/language.py

Wrongly counted: words of English technical prose that every machine carries (Python's language
reference, docstrings of its standard library, Debian's documentation where there is any). Missed:
words of sentences that were written for this, in languages that are not English, within English
ones. Time: a group of 128 answers of 8,000 tokens, against one pass of a plain word pattern over
the same text. Ends with one line of JSON.
"""

from __future__ import annotations

import ast
import gzip
import json
import pydoc_data.topics
import sysconfig
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from munro.rewards.language import WORD, num_foreign_words

DEBIAN = Path("/usr/share/doc")
MOST_DEBIAN = 300
"""Files of Debian's documentation that are read."""
ANSWERS, CHARACTERS = 128, 32_000
"""A group, and about 8,000 tokens of English."""

FOREIGN = {
    "German": "Wir müssen zuerst die Gleichung nach der Unbekannten auflösen, weil sonst das "
    "Ergebnis nicht bestimmt werden kann. Danach prüfen wir, ob beide Seiten gleich sind.",
    "French": "Nous devons d'abord résoudre cette équation, parce que sinon le résultat ne peut "
    "pas être déterminé. Ensuite nous vérifions que les deux côtés sont égaux.",
    "Spanish": "Primero debemos resolver la ecuación, porque de lo contrario el resultado no se "
    "puede determinar. Después comprobamos que ambos lados son iguales.",
    "Italian": "Prima dobbiamo risolvere questa equazione, perché altrimenti il risultato non può "
    "essere determinato. Poi verifichiamo che entrambi i lati siano uguali.",
    "Portuguese": "Primeiro devemos resolver a equação, porque senão o resultado não pode ser "
    "determinado. Depois verificamos se ambos os lados são iguais.",
    "Dutch": "Eerst moeten we de vergelijking oplossen, omdat anders het resultaat niet bepaald "
    "kan worden. Daarna controleren we of beide kanten gelijk zijn.",
    "Swedish": "Först måste vi lösa ekvationen, eftersom resultatet annars inte kan bestämmas. "
    "Sedan kontrollerar vi att båda sidorna är lika.",
    "Polish": "Najpierw musimy rozwiązać równanie, ponieważ inaczej nie można określić wyniku. "
    "Potem sprawdzamy, czy obie strony są równe.",
    "Russian": "Сначала нужно решить уравнение, иначе результат нельзя определить. Потом проверим.",
    "Chinese": "首先我们需要解这个方程，否则无法确定结果。然后检查两边是否相等。",  # noqa: RUF001
    "Japanese": "まず方程式を解かなければ結果は決まりません。それから両辺が等しいか確かめます。",
    "Korean": "먼저 방정식을 풀어야 합니다. 그렇지 않으면 결과를 정할 수 없습니다.",
    "Arabic": "أولا يجب أن نحل المعادلة وإلا فلا يمكن تحديد النتيجة. ثم نتحقق من الطرفين.",
    "Hindi": "पहले हमें समीकरण हल करना होगा, नहीं तो परिणाम तय नहीं हो सकता।",
}
SPACELESS = ("Chinese", "Japanese")
"""Counted by their length: two characters of a run, or the odd one at its end, are a word."""
AROUND = ("So the left side is larger. ", " Therefore the answer follows from the first step.")


def main() -> None:
    """Measure all three and print."""
    num_foreign_words(FOREIGN["German"])  # reads the lists before anything is timed
    found: dict[str, object] = {}
    print(f"{'English technical prose':<28} {'words':>10} {'counted':>8} {'per 100,000':>12}")
    for name, texts in corpora().items():
        num_words, counted = wrongly(texts)
        rate = 1e5 * counted / max(num_words, 1)
        found[f"wrong/{name}"] = round(rate, 2)
        print(f"{name:<28} {num_words:>10,} {counted:>8} {rate:>12.2f}")
    print(f"\n{'foreign sentences':<28} {'words':>10} {'found':>8}")
    for name, text in FOREIGN.items():
        total = sum((len(run) + 1) // 2 if name in SPACELESS else 1 for run in WORD.findall(text))
        counted = num_foreign_words(text.join(AROUND))
        found[f"found/{name}"] = round(counted / total, 2)
        print(f"{name:<28} {total:>10} {counted / total:>8.0%}")
    seconds, plain = timed()
    found |= {"group_s": round(seconds, 2), "times_a_word_pattern": round(seconds / plain, 1)}
    print(f"\n{ANSWERS} answers of {CHARACTERS:,} characters: {seconds:.2f} s")
    print(f"{seconds / plain:.1f} times as long as finding the words takes")
    print(json.dumps({"benchmark": "language", **found}))


def corpora() -> dict[str, Iterable[str]]:
    """English texts that are at hand."""
    return {
        "Python's reference": pydoc_data.topics.topics.values(),
        "standard library docstrings": docstrings(Path(sysconfig.get_paths()["stdlib"])),
        "Debian's documentation": debian(),
    }


def docstrings(folder: Path) -> Iterator[str]:
    """Of the library's top-level modules."""
    for file in sorted(folder.glob("*.py")):
        try:
            tree = ast.parse(file.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                yield ast.get_docstring(node) or ""


def debian() -> Iterator[str]:
    """README and NEWS files; names of people in changelogs and copyrights would be no prose."""
    files = [*DEBIAN.glob("*/README*"), *DEBIAN.glob("*/NEWS*")]
    for file in sorted(files)[:MOST_DEBIAN]:
        if file.is_file():
            raw = file.read_bytes()
            raw = gzip.decompress(raw) if file.suffix == ".gz" else raw
            yield raw.decode("utf-8", errors="replace")


def wrongly(texts: Iterable[str]) -> tuple[int, int]:
    """Words in all paragraphs, and how many count as foreign."""
    totals: Counter[str] = Counter()
    for text in texts:
        for paragraph in text.split("\n\n"):
            totals["words"] += len(WORD.findall(paragraph))
            totals["counted"] += num_foreign_words(paragraph)
    return totals["words"], totals["counted"]


def timed() -> tuple[float, float]:
    """Seconds for a group, and for the bare word pattern over the same text."""
    prose = "\n".join(pydoc_data.topics.topics.values())
    starts = range(0, len(prose) - CHARACTERS, (len(prose) - CHARACTERS) // ANSWERS)
    group = [prose[start : start + CHARACTERS] for start in starts][:ANSWERS]
    began = time.process_time()
    for text in group:
        num_foreign_words(text)
    seconds = time.process_time() - began
    began = time.process_time()
    for text in group:
        WORD.findall(text)
    return seconds, time.process_time() - began


if __name__ == "__main__":
    main()
