"""Which figures a report has, and what each draws: data for the page's script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from munro.machine.run.by_environment import environments, is_of_one
from munro.rl.clip import IDLE, is_idle

Columns = Mapping[str, Sequence[float | None]]
Spec = dict[str, Any]

ABANDONED = "groups/abandoned/"
PHASES = ("generate", "train", "sync", "checkpoint", "eval", "wait")
TONES = "abcdefg"
REWARD = "reward/"
WATCH = "watch/"
TOOL = "calls/seconds/"
ENDED = "response/ended/"
WHOLE = {"total", "std", "task", "language", "length", "repetition", "truncation"}
"""What the first figure of the rewards shows; the rest are parts of the task's own."""


def specify(columns: Columns, *, targets: Mapping[str, float]) -> list[Spec]:
    """The figures that `columns` can fill, in the order of the page.

    Args:
        columns: metric name to one value a step.
        targets: reference lines by name: "entropy", "k", "proof", "outer", "grad_norm".
    """
    envs, every = environments(columns), columns
    columns = {name: of for name, of in every.items() if not is_of_one(name, every, envs)}
    figures = [
        _climb(targets),
        _environments(envs),
        _entropy(columns, targets),
        _rewards(),
        _parts(columns),
        _watches(columns),
        _length(),
        _episodes(columns),
        _gates(),
        _steps_taken(targets),
        _clips(),
        _staleness(),
        _time(),
        _abandoned(columns),
        _sync(targets),
        _machinery(),
    ]
    return [figure for figure in (_fillable(each, every) for each in figures) if figure]


def _environments(envs: Sequence[str]) -> Spec:
    def each(*parts: str, **more: Any) -> list[Spec]:
        first, last = parts
        return [
            _series(env, f"{first}{env}{last}", TONES[at % len(TONES)], **more)
            for at, env in enumerate(envs)
        ]

    return _figure(
        "environments",
        "By environment",
        "Each environment by itself; together they make up the figures above.",
        _panel("Pass rate in training", *each("pass_rate/sampled/", ""), height=150, range=[0, 1]),
        _panel(
            "Pass rate held out",
            *each("eval/", "/pass_rate", dots=True),
            height=150,
            range=[0, 1],
        ),
        _panel("Reward, total", *each("reward/total/", ""), height=110),
        _panel("Response length, tokens", *each("response/length/", ""), height=110),
        _panel("Groups trained on, per step", *each("groups/trained/", ""), height=90, stack=True),
        wide=True,
    )


def _climb(targets: Mapping[str, float]) -> Spec:
    return _figure(
        "climb",
        "The climb",
        "Pass rate, response length and entropy on one axis. Thin: each step. Thick: smoothed. "
        "A star: distilled, and gone on from that; one colour for each base.",
        _panel(
            "Pass rate",
            _series("training", "pass_rate/sampled", "a") | {"segments": True},
            _series("held-out", "eval/pass_rate", "b", dots=True),
            height=190,
            range=[0, 1],
        ),
        _panel(
            "Response length, tokens", _series("response", "response/length", "c"), short="length"
        ),
        _panel(
            "Entropy, nats per token",
            _series("entropy", "policy/entropy", "d"),
            line=_line("target", targets.get("entropy")),
            short="entropy",
        ),
        wide=True,
    )


def _entropy(columns: Columns, targets: Mapping[str, float]) -> Spec:
    seen = [value for value in columns.get("policy/k", ()) if value is not None]
    top = max([*seen, targets.get("k", 0.0)]) or 1.0
    pairs = zip(columns.get("clip/low", ()), columns.get("clip/high", ()), strict=False)
    idle = is_idle([low + high for low, high in pairs if low is not None and high is not None])
    return _figure(
        "entropy",
        "Entropy against its target, and the clip that holds it there",
        "Under the target k grows and lets unlikely tokens rise faster; over it, k shrinks. "
        "The report's Fig. 13." + (f" Here {IDLE}." if idle else ""),
        _panel(
            "Entropy, nats per token",
            _series("entropy", "policy/entropy", "d"),
            line=_line("target", targets.get("entropy")),
            height=150,
            short="entropy",
        ),
        _panel(
            "k, widening of the upper clip",
            _series("k", "policy/k", "g", exact=True),
            height=90,
            range=[0, top * 1.05],
            short="k",
        ),
        _panel(
            "Share of tokens that the clip held",
            _series("low", "clip/low", "a"),
            _series("high", "clip/high", "b"),
            height=90,
            short="clipped",
        ),
        wide=True,
    )


def _rewards() -> Spec:
    return _figure(
        "reward",
        "Reward, by part",
        "The total is the task's part, plus the weighted language part, less the weighted length.",
        _panel(
            "Mean reward",
            _series("total", "reward/total", "a"),
            _series("task", "reward/task", "c"),
            _series("language", "reward/language", "g"),
            _series("length", "reward/length", "b"),
            height=170,
        ),
        _panel(
            "Share repeated, share truncated",
            _series("repetition", "reward/repetition", "d"),
            _series("truncation", "reward/truncation", "e"),
            height=70,
        ),
    )


def _parts(columns: Columns) -> Spec:
    names = sorted(
        name.removeprefix(REWARD)
        for name in columns
        if name.startswith(REWARD) and name.removeprefix(REWARD) not in WHOLE
    )
    series = [
        _series(_words(name), f"{REWARD}{name}", TONES[at % len(TONES)])
        for at, name in enumerate(names)
    ]
    return _figure(
        "parts",
        "What the task's reward is made of",
        "Each grader's mean over the attempts that it scored; behind a gate that is those which "
        "passed it.",
        _panel("Mean of the part", *series, height=170),
    )


def _watches(columns: Columns) -> Spec:
    ending = "/watched"
    names = sorted(
        name.removeprefix(WATCH).removesuffix(ending)
        for name in columns
        if name.startswith(WATCH) and name.endswith(ending)
    )
    return _figure(
        "watches",
        "Judges, and second ones who are not paid",
        "Over the attempts that both have seen. Where the first rises and the second falls, the "
        "first is being played: an alarm among the events.",
        *(
            _panel(
                _words(name),
                _series("paid", f"{WATCH}{name}/paid", "a"),
                _series("watched", f"{WATCH}{name}{ending}", "b"),
                height=120,
            )
            for name in names
        ),
    )


def _length() -> Spec:
    return _figure(
        "length",
        "Length and truncation",
        "Responses cut at the cap are graded as they stand.",
        _panel(
            "Response, tokens",
            _series("mean", "response/length", "c"),
            _series("longest", "response/length_max", "f"),
        ),
        _panel(
            "Share truncated",
            _series("truncated", "response/truncated", "e"),
            height=70,
            range=[0, 1],
        ),
    )


def _episodes(columns: Columns) -> Spec:
    def each(prefix: str) -> list[Spec]:
        names = sorted(name.removeprefix(prefix) for name in columns if name.startswith(prefix))
        ever = [name for name in names if any(columns[prefix + name])]
        return [
            _series(_words(name), prefix + name, TONES[at % len(TONES)])
            for at, name in enumerate(ever)
        ]

    return _figure(
        "episodes",
        "Turns, calls and how episodes end",
        "Of attempts that may take several turns. A call that failed was answered with why; one "
        "that could not be read was answered with the form to write. An episode that a limit ended "
        "is graded as it stands.",
        _panel("Turns of an attempt", _series("turns", "response/turns", "a"), height=80),
        _panel("Calls of an attempt", _series("calls", "calls/per_attempt", "c"), height=80),
        _panel(
            "Share of calls",
            _series("failed", "calls/failed", "b"),
            _series("could not be read", "calls/malformed", "e"),
            height=80,
            range=[0, 1],
        ),
        _panel("Seconds of an attempt, by tool", *each(TOOL), height=110, stack=True),
        _panel("Share of attempts, by ending", *each(ENDED), height=110, stack=True),
        wide=True,
    )


def _gates() -> Spec:
    return _figure(
        "gates",
        "Pass rate before and after the gates",
        "Tasks that are too easy or too hard are given up; the rest is what is trained on.",
        _panel(
            "Pass rate",
            _series("early", "pass_rate/early", "f"),
            _series("sampled", "pass_rate/sampled", "a"),
            _series("trained", "pass_rate/trained", "c"),
            height=170,
            range=[0, 1],
        ),
    )


def _steps_taken(targets: Mapping[str, float]) -> Spec:
    return _figure(
        "steps",
        "How violent the updates are",
        "Gradient norm before clipping; largest probability ratio; disagreement of engine and "
        "learner about the same tokens.",
        _panel(
            "Gradient norm",
            _series("norm", "learner/grad_norm", "a"),
            log=True,
            height=80,
            line=_line("clipped at", targets.get("grad_norm")),
        ),
        _panel(
            "Largest ratio",
            _series("ratio", "ratio/max", "b"),
            log=True,
            height=80,
            line=_line("outer clip", targets.get("outer")),
        ),
        _panel("Mismatch KL, nats", _series("KL", "policy/mismatch_kl", "e"), log=True, height=80),
    )


def _clips() -> Spec:
    return _figure(
        "clips",
        "Clipped tokens",
        "Share of sampled tokens that met each bound.",
        _panel(
            "Share of tokens",
            _series("low", "clip/low", "a"),
            _series("high", "clip/high", "b"),
            _series("outer", "clip/outer", "e"),
            height=170,
        ),
    )


def _staleness() -> Spec:
    return _figure(
        "staleness",
        "Staleness",
        "Weight updates between sampling a group and training on it.",
        _panel(
            "Weight updates",
            _series("mean", "staleness/mean", "a"),
            _series("oldest", "staleness/max", "f"),
        ),
        _panel("Groups dropped as too old", _series("stale", "groups/stale", "e"), height=70),
    )


def _time() -> Spec:
    phases = [
        _series(name, f"time/{name}", tone)
        for name, tone in zip((*PHASES, "other"), TONES, strict=True)
    ]
    return _figure(
        "goodput",
        "Where the time goes",
        "Seconds of a step by phase, and the share of the whole run. Phases of an asynchronous "
        "run overlap.",
        _panel("Seconds per step", *phases, height=150, stack=True),
        _panel(
            "Tokens per second",
            _series("rollout", "speed/rollout_tokens_per_s", "a"),
            _series("learner", "speed/learner_tokens_per_s", "b"),
            height=90,
        ),
    )


def _abandoned(columns: Columns) -> Spec:
    reasons = sorted(name for name in columns if name.startswith(ABANDONED))
    series = [
        _series(_words(name.removeprefix(ABANDONED)), name, TONES[at % len(TONES)])
        for at, name in enumerate(reasons, start=1)
    ]
    return _figure(
        "abandoned",
        "Tasks given up, by reason",
        "Groups per step. Given up is not scored as wrong.",
        _panel(
            "Groups per step",
            _series("trained", "groups/trained", "a"),
            *series,
            height=170,
            stack=True,
        ),
    )


def _sync(targets: Mapping[str, float]) -> Spec:
    return _figure(
        "sync",
        "Proof of the weight updates",
        "Stored tokens scored by engine and learner after every update: mean |difference| of "
        "log-probs. Beyond the bound the run stops.",
        _panel(
            "Nats",
            _series("difference", "sync/proof", "g", dots=True),
            log=True,
            height=110,
            line=_line("bound", targets.get("proof")),
        ),
    )


def _machinery() -> Spec:
    return _figure(
        "machinery",
        "What the machinery could not do",
        "Attempts without a grade are made again, never scored as wrong. A nucleus wider than the "
        "engine can record is cut.",
        _panel("Share of attempts unscored", _series("unscored", "rollout/unscored", "e")),
        _panel(
            "Machines lost and replaced, per attempt", _series("resumed", "rollout/resumed", "c")
        ),
        _panel("Share of tokens with a cut nucleus", _series("cut", "rollout/nucleus_cut", "b")),
    )


def _figure(name: str, title: str, note: str, *panels: Spec, wide: bool = False) -> Spec:
    return {"id": name, "title": title, "note": note, "panels": list(panels), "wide": wide}


def _panel(
    label: str, *series: Spec, height: int = 120, line: Spec | None = None, **more: Any
) -> Spec:
    return {"label": label, "series": list(series), "height": height, "line": line} | more


def _series(name: str, key: str, tone: str, *, dots: bool = False, exact: bool = False) -> Spec:
    return {"name": name, "key": key, "tone": tone, "dots": dots, "exact": exact}


def _line(name: str, value: float | None) -> Spec | None:
    return None if value is None else {"name": f"{name} {value:g}", "value": value}


def _words(name: str) -> str:
    return name.replace("_", " ")


def _fillable(figure: Spec, columns: Columns) -> Spec | None:
    """The figure without series that were never measured; None where nothing is left."""
    panels = []
    for panel in figure["panels"]:
        series = [each for each in panel["series"] if each["key"] in columns]
        if series:
            panels.append(panel | {"series": series})
    return figure | {"panels": panels} if panels else None
