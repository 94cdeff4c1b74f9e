"""What commands of LaTeX, letters and signs mean in an answer."""

from __future__ import annotations

RELATIONS = {
    "=": "=", "<": "<", ">": ">", r"\lt": "<", r"\gt": ">", r"\neq": "!=", r"\ne": "!=",
    r"\le": "<=", r"\leq": "<=", r"\leqslant": "<=", r"\leqq": "<=",
    r"\ge": ">=", r"\geq": ">=", r"\geqslant": ">=", r"\geqq": ">=",
    r"\approx": "~", r"\equiv": "equiv", r"\in": "in", r"\notin": "notin",
    r"\subset": "subset", r"\subseteq": "subset",
}  # fmt: skip
TIMES = {"*", r"\cdot", r"\times", r"\ast", "·", "\u00d7"}
DIVIDED = {"/", r"\div", "÷"}
CONSTANTS = {r"\pi": "pi", "e": "e", "i": "i", "π": "pi", r"\imath": "i"}
FUNCTIONS = {
    r"\sin", r"\cos", r"\tan", r"\cot", r"\sec", r"\csc", r"\arcsin", r"\arccos", r"\arctan",
    r"\sinh", r"\cosh", r"\tanh", r"\ln", r"\log", r"\exp", r"\lg", r"\max", r"\min", r"\gcd",
    r"\arccot", r"\coth",
}  # fmt: skip
GREEK = {
    rf"\{name}"
    for name in [
        "alpha",
        "beta",
        "gamma",
        "delta",
        "epsilon",
        "varepsilon",
        "zeta",
        "eta",
        "theta",
        "vartheta",
        "iota",
        "kappa",
        "lambda",
        "mu",
        "nu",
        "xi",
        "rho",
        "sigma",
        "tau",
        "upsilon",
        "phi",
        "varphi",
        "chi",
        "psi",
        "omega",
        "Gamma",
        "Delta",
        "Theta",
        "Lambda",
        "Xi",
        "Sigma",
        "Upsilon",
        "Phi",
        "Psi",
        "Omega",
        "hbar",
        "ell",
        "aleph",
        "nabla",
        "Re",
        "Im",
    ]
}
ACCENTS = {r"\overline", r"\vec", r"\hat", r"\bar", r"\tilde", r"\dot", r"\widehat", r"\angle"}
SETS = {r"\mathbb{R}": "R", r"\mathbb{Z}": "Z", r"\mathbb{N}": "N", r"\mathbb{Q}": "Q",
        r"\mathbb{C}": "C"}  # fmt: skip
CALLED = frozenset("fghFGHPQO") | {r"\Theta", r"\Omega", r"\phi", r"\psi", r"\Gamma", r"\mathcal"}
"""Letters that, before a bracket, are read as functions; the other reading is a product, and
`munro.rewards.math.agreement` tries it too."""
OPENING = {"(": ")", "[": "]", r"\{": r"\}", r"\langle": r"\rangle", r"\lbrack": "]"}
CLOSING = {")", "]", r"\}", r"\rangle", r"\rbrack", "}"}
MATRICES = {"pmatrix", "bmatrix", "matrix", "Bmatrix", "vmatrix", "Vmatrix", "array", "smallmatrix"}
SEPARATORS = {",", ";", "and", "or", "by"}
