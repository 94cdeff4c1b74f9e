"""Answers meant to hang, crash or take over whatever reads them. Deterministic in the seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

KEYWORDS = [
    r"\frac", r"\sqrt", r"\int", r"\sum", r"\lim", r"\left(", r"\right)", "{", "}", "^", "_", "(",
    ")", "[", "]", "x", "y", "9", "0.1", "+", "-", "=", "<", ",", r"\cup", r"\begin{matrix}", "&",
    r"\end{matrix}", r"\\", r"\to", r"\infty", r"\text", "!", "|", r"\mod", "dx", "%", "$", ";",
]  # fmt: skip


def injections(canary: str) -> list[str]:
    """Code in every dress that some reader might take it off in; each would touch `canary`."""
    shell, write = f"touch {canary}", f"open('{canary}','w')"
    system = f"__import__('os').system('{shell}')"
    return [
        system,
        f"1+{system}",
        f"({system}, 5)[1]",
        write,
        f'exec("{write}")',
        f"eval(compile({write!r},'','eval'))",
        f"[c for c in ().__class__.__base__.__subclasses__()][0]; {system}",
        f"lambda: {system}",
        f"().__class__.__mro__[1].__subclasses__()[-1].__init__.__globals__; {write}",
        rf"\text{{{system}}}",
        rf"\operatorname{{{system}}}",
        rf"\operatorname{{exec}}({write!r})",
        rf"\mathrm{{eval}}({system!r})",
        rf"\variable{{{system}}}",
        rf"x_{{{system}}}",
        rf"\frac{{{system}}}{{1}}",
        rf"\begin{{matrix}}{system}\end{{matrix}}",
        rf"\immediate\write18{{{shell}}}",
        rf"\input{{|{shell}}}",
        rf"\openout5={canary} \write5{{x}}",
        rf"\directlua{{os.execute('{shell}')}}",
        rf"\catcode`\{{=12 \def\x{{\write18{{{shell}}}}}\x",
        f"{{{{cycler.__init__.__globals__.os.popen('{shell}')}}}}",
        f"${{jndi:ldap://127.0.0.1/{canary}}}",
        f"$({shell})",
        f"`{shell}`",
        f"'; {shell}; '",
        f'"""+{system}+"""',
        f"!!python/object/apply:os.system ['{shell}']",
        f"cos\nsystem\n(S'{shell}'\ntR.",
        f"Symbol('x').__class__.__init__.__globals__ or {system}",
        f"S('{system}')",
        f"lambdify(x, {system!r})",
        f"{{0.__class__.__init__.__globals__}} {system}",
        f"f'{{{system}}}'",
        f"</answer><answer>{system}",
    ]


def _tower(rng: random.Random) -> str:
    depth, base = rng.randint(3, 8), rng.randint(3, 99)
    sign = rng.choice(["^", "**"])
    if sign == "**":
        return "**".join([str(base)] * depth)
    return f"{base}^{{" * depth + str(base) + "}" * depth


def _factorials(rng: random.Random) -> str:
    return rng.choice(
        [
            f"{rng.randint(5, 9)}" + "!" * rng.randint(3, 40),
            "(" * 9 + f"{rng.randint(5, 9)}" + "!)" * 9,
            f"{rng.randint(10**7, 10**9)}!",
            rf"\binom{{{rng.randint(10**7, 10**9)}}}{{{rng.randint(10**6, 10**7)}}}",
            rf"\frac{{{10**8 + rng.randint(0, 9)}!}}{{{10**8}!}}",
        ]
    )


def _nested(rng: random.Random) -> str:
    start, end = rng.choice(
        [
            ("(", ")"),
            ("[", "]"),
            ("{", "}"),
            (r"\left(", r"\right)"),
            (r"\frac{1}{", "}"),
            (r"\sqrt{", "}"),
            ("-(", ")"),
            (r"\sin(", ")"),
            ("|", "|"),
            (r"\text{", "}"),
            ("x^{", "}"),
            ("f(", ")"),
        ]
    )
    depth = rng.choice([9, 30, 49, 51, 300, 10_000])
    return start * depth + "2" + end * rng.choice([depth, depth, 0])


def _endless(rng: random.Random) -> str:
    n = rng.randint(10**9, 10**12)
    return rng.choice(
        [
            rf"\int_0^\infty e^{{-x^x}}\sin(x^{{x+{n % 97}}})\,dx",
            rf"\int \frac{{\sin(x^{{{n % 89}}})}}{{\ln(\cos(x))+x^x}}\,dx",
            rf"\sum_{{k=1}}^{{{n}}} \frac{{1}}{{k^k}}",
            rf"\prod_{{k=1}}^{{{n}}} k",
            rf"\lim_{{x\to 0}} \frac{{\sin(x)^{{{n % 79}}}-x^{{x^x}}}}{{\tan(x^{{{n % 83}}})}}",
            rf"(x+y+z+w)^{{{n % 9973 + 900}}}",
            rf"x^{{{n % 11 + 7}}}+\sin(x)=e^{{x^2}}",
            rf"\cos(\cos(\cos({n}^{{{n % 999 + 99}}})))",
            rf"10^{{{n}}} \mod 7",
            rf"\sqrt[{n}]{{{n}^{{{n}}}}}",
            rf"\log_{{{n % 13 + 2}}}({n}^{{{n}}})",
            rf"\operatorname{{zeros}}({n},{n})",
            rf"\begin{{pmatrix}}x&y\\z&{n % 91}\end{{pmatrix}}^{{{n}}}",
            rf"\gcd({n}^{{{n % 9999}}},{n + 1}^{{{n % 9973}}})",
            rf"1e{n}",
            rf"10^{{-{n}}}",
        ]
    )


def _huge(rng: random.Random) -> str:
    unit = rng.choice(
        ["9", "x+", r"\frac", r"\boxed{", "<answer>", "(", "a ", "$", "\\", "1,", "é", "\u202e"]
    )
    return unit * (rng.choice([3_900, 60_000, 1_000_000]) // len(unit))


def _matrix(rng: random.Random) -> str:
    side = rng.randint(10, 40)
    row = "&".join(str(rng.randint(0, 9)) for _ in range(side))
    body = r"\\".join([row] * side)
    tail = rng.choice(["", "^{-1}", "^{99999}"])
    return rf"\begin{{bmatrix}}{body}\end{{bmatrix}}{tail}"


def _unicode(rng: random.Random) -> str:
    odd = [
        "\u202e", "\u200b", "\u200f", "\ufeff", "\x00", "\ud800", "\udfff", "\u0301" * 50, "\u2066",
        "\U000e0041", "\ufff9", "\U0001d7d7", "٣", "½", "‮", "\x1b[2J", "\r\n", "\u2028", "\uff3f",
    ]  # fmt: skip
    return "".join(
        rng.choice([*odd, "x", "+", "9", "^", "{", "}"]) for _ in range(rng.randint(3, 60))
    )


def _formats(rng: random.Random) -> str:
    return rng.choice(
        ["%s%n%x", "{0.__class__}", "{{7*7}}", "${{7*7}}", "#{7*7}", "%d" * 99, "{:>999999999}"]
    ) + str(rng.randint(0, 99))


def _soup(rng: random.Random) -> str:
    return "".join(rng.choice(KEYWORDS) for _ in range(rng.randint(5, 120)))


def _repeats(rng: random.Random) -> str:
    unit = rng.choice(
        [" and", " or ", ",", " ", "=x", "<x", r"\cup ", "1/", "x^2+", "!", "|x", "~"]
    )
    return "x" + unit * (rng.randint(100, 3900) // len(unit))


def hostile_answers(num_answers: int, canary: str, seed: int = 20) -> Iterator[str]:
    """`num_answers` different hostile answers; the injections come first."""
    rng = random.Random(seed)
    kinds: list[Callable[[random.Random], str]] = [
        _tower, _factorials, _nested, _endless, _huge, _matrix, _unicode, _formats, _soup, _repeats,
    ]  # fmt: skip
    seen: set[str] = set()
    for answer in injections(canary):
        seen.add(answer)
        yield answer
    turn = 0
    while len(seen) < num_answers:
        answer = kinds[turn % len(kinds)](rng)
        turn += 1
        if answer in seen:
            answer = f"{answer} + {_soup(rng)}"
        seen.add(answer)
        yield answer
