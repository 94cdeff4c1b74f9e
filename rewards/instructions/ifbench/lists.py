"""Closed classes of English words, and lists that some types are defined by."""

from __future__ import annotations

_PRONOUNS = """
i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his himself
she her hers herself it its itself they them their theirs themselves
"""
_AUXILIARIES = """
am is are was were be been being have has had having do does did doing will can should
ain aren couldn didn doesn don hadn hasn haven isn mightn mustn needn shan shouldn wasn weren won
wouldn
"""
_SMALL_WORDS = """
a an the and but if or because as until while of at by for with about against between into through
during before after above below to from up down in out on off over under again further then once
here there when where why how all any both each few more most other some such no nor not only own
same so than too very just now what which who whom this that these those
"""
_PIECES = "s t d ll m o re ve y ma"
"""What an apostrophe leaves behind: "don't" is don, t."""
CONJUNCTIONS = frozenset("for and nor but or yet so".split())  # noqa: SIM905
PRONOUNS = frozenset(_PRONOUNS.split())
STOP_WORDS = frozenset(f"{_PRONOUNS} {_AUXILIARIES} {_SMALL_WORDS} {_PIECES}".split())
"""What search engines leave out: it says nothing of what a text is about."""

NAMES = tuple(
    """Emma Liam Sophia Jackson Olivia Noah Ava Lucas Isabella Mason Mia Ethan Charlotte Alexander
    Amelia Benjamin Harper Leo Zoe Daniel Chloe Samuel Lily Matthew Grace Owen Abigail Gabriel Ella
    Jacob Scarlett Nathan Victoria Elijah Layla Nicholas Audrey David Hannah Christopher Penelope
    Thomas Nora Andrew Aria Joseph Claire Ryan Stella Jonathan""".split()  # noqa: SIM905
)
CAPITALS = tuple(
    """Reykjavik Helsinki Oslo Tallinn Stockholm Riga Moscow Copenhagen Vilnius Minsk Dublin Berlin
    Amsterdam Warsaw London Brussels Prague Luxembourg Paris Vienna Bratislava Budapest Vaduz
    Chisinau Bern Ljubljana Zagreb""".split()  # noqa: SIM905
)
"""Of European countries, north of 45 degrees, from the north; as IFBench has them."""
