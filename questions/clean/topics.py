"""The stage `topics`: what a question is about, by words that say so or by a reader.

The names are those of the report's mix. Words are counted by topic, and the most wins; a question
without any of them that is numbers and signs is mathematics. It is a column to look at and to
choose by, not a judgement: `topics.by = "reader"` asks a model instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import get_args

from munro.questions.clean.curate import dropped
from munro.questions.config import Topic, TopicsConfig
from munro.questions.stages import Outcome
from munro.questions.types import Question

STAGE = "topics"
OTHER: Topic = "other"
MATHEMATICS: Topic = "mathematics"
TOPICS: tuple[Topic, ...] = get_args(Topic)
WORDS: dict[Topic, str] = {
    "mechanics of materials": (
        r"stress|strain|shear|torsion|bending moment|young's modulus|modulus of elasticity|yield|"
        r"buckling|deflection|axial load|cross[- ]section(?:al)?|tensile|"
        r"hooke's law|poisson's ratio"
    ),
    "civil engineering": (
        r"concrete|reinforce(?:d|ment)|soil|foundation|retaining wall|surveying|pavement|truss|"
        r"hydraulic|open channel|culvert|structural|girder|settlement|groundwater"
    ),
    "electrical engineering": (
        r"circuit|voltage|resistor|capacitor|inductor|transistor|diode|op[- ]?amp|amplifier|ohms?|"
        r"impedance|phasor|transformer|filter|bandwidth|kirchhoff|power factor|semiconductor|volts?"
    ),
    "computer science": (
        r"algorithm|binary (?:tree|search)|hash table|linked list|turing machine|compiler|cache|"
        r"big[- ]o|automaton|recursion|pseudocode|database|sql|operating system|np[- ]\w+|"
        r"data structure|program|bits?|bytes?|stack|queue|regular expression|python|heap"
    ),
    "mechanical engineering": (
        r"gear|shaft|bearing|turbine|heat exchanger|refrigerat\w+|otto cycle|rankine|carnot|"
        r"flywheel|piston|compressor|nozzle|boiler|lubricat\w+|crank|machine element|coolant|"
        r"internal combustion"
    ),
    "economics": (
        r"demand|supply curve|elasticity|gdp|inflation|interest rate|monopol\w+|marginal (?:cost|"
        r"revenue|utility)|equilibrium price|market|consumer surplus|tax\w*|profit|unemployment|"
        r"tariff|budget constraint|game theory|fiscal|monetary"
    ),
    "biology": (
        r"cells?|dna|rna|genes?|genotype|phenotype|allele|chromosome|protein|enzyme|species|"
        r"evolution|mitosis|meiosis|photosynthesis|bacteri\w+|virus|membrane|organism|ecosystem|"
        r"hormone|neuron|population genetics|mitochondri\w+|plants?|ribosome"
    ),
    "chemistry": (
        r"moles?|molar\w*|ph|acids?|bases?|titrat\w+|reaction|oxid\w+|reduc\w+ agent|"
        r"stoichiometr\w+|enthalpy|solution of|isotope|electron configuration|covalent|ionic|"
        r"compound|molecul\w+|alkanes?|benzene|catalyst|precipitate|periodic table|ester|ketone|"
        r"sodium|chlor\w+|buffer|solubility|equilibrium constant|polymer"
    ),
    "physics": (
        r"velocity|acceleration|force|newtons?|momentum|kinetic|potential energy|joules?|gravity|"
        r"mass|friction|projectile|wavelength|frequency|photon|quantum|magnetic|electric field|"
        r"charge|lens|mirror|refraction|thermodynamic\w*|temperature|pressure|ideal gas|pendulum|"
        r"spring constant|angular|torque|radioactiv\w+|half-life|relativ\w+|speed|m/s|km/h|"
        r"collision"
    ),
    "mathematics": (
        r"integral|integrate|derivative|differentiat\w+|equation|polynomial|matrix|matrices|"
        r"determinant|eigenvalues?|prime|divisible|divisor|integers?|real numbers?|triangle|circle|"
        r"angle|probability|series|sequence|limit|function|vector space|group|ring|theorem|prove|"
        r"modulo|factor\w*|roots?|logarithm|sine|cosine|area|perimeter|fraction|percent|sum|product|"
        r"permutations?|combinations?|sets?|graph|convex|converge\w*|solve for|evaluate|simplify"
    ),
}
"""Specific topics first: of equal counts the earlier wins."""
_COUNTED = {
    topic: re.compile(rf"(?<![\w-])(?:{words})s?(?![\w-])", re.IGNORECASE)
    for topic, words in WORDS.items()
}
FORMULA = re.compile(
    r"\\[a-z]+|[=+*/^<>\u00d7\u2212\u222b\u2211\u221a]|\d\s*[-\u2212]\s*\d|\b[xyzn]\b"
)

Namer = Callable[[Sequence[Question]], list[Topic]]
"""Topics of so many questions, in their order."""


def topic_of(question: str, answer: str) -> Topic:
    """By words alone."""
    text = f"{question}\n{answer}"
    counts = {
        topic: len({found.lower() for found in words.findall(text)})
        for topic, words in _COUNTED.items()
    }
    best = max(counts, key=lambda topic: counts[topic])
    if counts[best]:
        return best
    return MATHEMATICS if FORMULA.search(text) else OTHER


def by_rules(questions: Sequence[Question]) -> list[Topic]:
    """What their words say."""
    return [topic_of(one.question, one.answer) for one in questions]


def told(questions: Sequence[Question], config: TopicsConfig, namer: Namer) -> Outcome:
    """Questions with their topics; those of others than are wanted are left out."""
    outcome = Outcome()
    for one, topic in zip(questions, namer(questions), strict=True):
        named = replace(one, topic=topic)
        if config.keep and topic not in config.keep:
            why = f"topics.keep = {', '.join(config.keep)}"
            outcome.dropped.append(dropped(STAGE, named, f"on {topic}", why))
        else:
            outcome.kept.append(named)
    return outcome
