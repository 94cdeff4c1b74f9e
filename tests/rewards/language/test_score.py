"""The language part of the reward: Eq. 11, and which words it counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from munro.rewards.language import chain_of_thought, consistency, num_foreign_words

ENGLISH = [
    "First we add 17 and 25, so the answer is 42.",
    "By L'Hôpital's rule the limit is 0; compare Poincaré, Möbius, Erdős and Schrödinger.",
    "Using l'Hôpital again (see d'Alembert), the naïve estimate of façade area is fine.",
    "Let α, β > 0 and Δx → 0; then ∑ λᵢ ≤ π·r², with θ₁ = 30° and µ = 5 µm.",  # noqa: RUF001
    r"Hence $\text{für alle } x \in \mathbb{R}$ we get \(\vec{v} = 0\) and \[ \int x\,dx \].",
    'The German word for "and" is "und", the Spanish one for "but" is "pero".',
    "```python\nfor é in größe:\n    print('привет', 世界)\n``` prints it.",
    "Call `größe(x)` and visit https://пример.рф/путь for more.",
    "x̄ is the mean, ŷ the prediction, and ẋ the derivative; ℝⁿ, ℵ₀, ℏ and Å are symbols.",
    "We use an eﬃcient method: the résumé of the café's entrée, vis-à-vis a cliché.",
    "EST is five hours behind; ETA is 12:30, and the UND suffix is a label.",
    "Don't we need 3 km/h, 5 kΩ, 20 °C and 7 m³? It's the well-known co-domain f∘g.",
    "The dominant entry of the matrix determines the leading term; q.e.d., i.e. a fortiori.",
    "𝑥 + 𝑦 = 𝟏 in 𝔽₂, and ½ + ¼ = ¾.",  # noqa: RUF001
    "Die roll: a die has six faces, so men die and the mode is most likely to sum to an even 8.",
    "São Paulo, Zürich, Malmö and Göttingen are cities, and Beyoncé sings there.",
    "The param indices of argv are modulo len(chars); del and dir are builtins, via the locale.",
    "per se, via the identifier, min and max error of the mode; plus the vis viva, de facto.",
    "",
]

MIXED = [
    ("We see that the sum ist also gleich 5, und das war es.", 6),
    ("Now 我们 need the answer.", 1),
    ("First 所以答案是四十二 holds.", 4),
    ("Затем we add two and получаем 5.", 2),
    ("So, entonces the answer is 4 porque 2+2.", 2),
    ("Donc nous avons 5, alors it follows.", 4),
    ("その結果 is 3.", 2),
    ("따라서 정답은 5 is right.", 2),
    ("इसलिए the answer is 7.", 1),
    ("إذن the result is 9.", 1),
    ("Wir müssen größere Zahlen prüfen.", 5),
    ("ดังนั้น we stop.", 1),
    ("So x is 2. Primero debemos resolver la ecuación para la incógnita. Done.", 5),
    ("Now dobbiamo risolvere questa equazione, then stop.", 4),
    ("Then moeten we de vergelijking oplossen naar de onbekende, and so on.", 8),
]


@pytest.mark.parametrize("text", ENGLISH)
def test_english_technical_prose_is_never_punished(text):
    assert num_foreign_words(text) == 0
    assert consistency(text) == 1.0


@pytest.mark.parametrize(("text", "num_foreign"), MIXED)
def test_foreign_words_are_counted(text, num_foreign):
    assert num_foreign_words(text) == num_foreign


@pytest.mark.parametrize(
    ("num_words", "reward"), [(0, 1.0), (1, 0.995), (100, 0.5), (199, 0.005), (200, 0), (999, 0)]
)
def test_each_foreign_word_costs_alpha_and_two_hundred_cost_all(num_words, reward):
    assert consistency("слово " * num_words) == pytest.approx(reward)


def test_alpha_sets_the_price_and_must_be_positive():
    assert consistency("слово слово", alpha=0.25) == 0.5
    with pytest.raises(ValueError, match="alpha is 0"):
        consistency("x", alpha=0)


@pytest.mark.parametrize(
    ("reply", "thoughts"),
    [
        ("<think>one two</think> <answer>3</answer>", "one two"),
        ("one two</think><answer>3</answer>", "one two"),
        ("<think>cut off", "cut off"),
        ("sum is <answer>три</answer>", "sum is  "),
        ("no tags at all", "no tags at all"),
        ("<think>a</think>b<think>c</think>", "a\nc"),
    ],
)
def test_the_chain_of_thought_is_what_precedes_the_answer(reply, thoughts):
    assert chain_of_thought(reply) == thoughts


@given(st.text())
def test_any_text_has_a_reward_between_nought_and_one(text):
    assert 0 <= consistency(chain_of_thought(text)) <= 1
