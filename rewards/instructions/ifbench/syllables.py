"""How many syllables an English word has, by rules."""

from __future__ import annotations

import re

GROUP = re.compile(r"(?:[aeiou]|y(?![aeiou])|(?<![aeiou])y)+")
"""A run of vowels; a y between two of them ("layer") is none."""
LONGEST = 60
"""Letters; of longer runs, which are no words, only the groups are counted."""
SILENT = re.compile(
    r"[^aeiouyl]e$|[aeiouyrw]le$|[^aeiouylcgsxzh]es$|[aeiouy]les$|[^aeiouydt]ed$|ques?$|theirs?$"
    r"|[^aeioul]e(?=(?:ments?|ly|ful|less|ness|work|thing|where|ty|by|times?)$)"
)
"""An e that is not heard: at the end, before -s and -d, inside of "statement" and "likely"."""
APART = re.compile(
    r"(?<![tscgx])i[ao](?!u|ns?$)|[aeioubdfhmpqrvw]ion|[^lcsgt]ian|[tc]iat|[^qg]ua[ltrs]|[^qg]uat"
    r"|(?:^g|[^g])eo(?!u|p)|[aeo]ing$|[^aeiou]ying$|[^gq]uou|iu[ms]|ii|isms?$|[^aeiouc]iers?$"
    r"|iet|[aeiou]{2}$(?<=ea)(?<!sea|tea|pea)|ien(?=t|ce)(?<![tc]ien)|[^tcxg]ious|creat(?!ur)"
    r"|real(?=[is])|[^gq]uid|oet|oem"
)
"""Two vowels that are two syllables."""
EXCEPTIONS = {
    "people": 2, "every": 2, "business": 2, "something": 2, "sometimes": 2, "someone": 2,
    "everyone": 3, "everything": 3, "everywhere": 3, "area": 3, "areas": 3, "real": 1,
    "therefore": 2, "hour": 1, "our": 1, "usually": 4, "different": 3, "chocolate": 3, "ratio": 3,
    "moreover": 3, "chaos": 2, "ideal": 3, "create": 2, "science": 2, "european": 4, "linear": 3,
    "nuclear": 3, "neon": 2, "element": 3, "elements": 3, "beautiful": 3, "society": 4,
    "eyes": 1, "rely": 2,
}  # fmt: skip


def count_syllables(word: str) -> int:
    """At least one.

    Args:
        word: letters only, in lower case; other characters count for nothing.

    Example:
        count_syllables("alphabet")      # 3
    """
    if word in EXCEPTIONS:
        return EXCEPTIONS[word]
    count = len(GROUP.findall(word))
    if len(word) <= LONGEST and count:
        count += sum(1 for _ in APART.finditer(word))
        if count > 1:
            count -= sum(1 for _ in SILENT.finditer(word))
    return max(count, 1)
