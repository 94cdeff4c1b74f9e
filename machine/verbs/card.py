"""A model card: what a checkpoint is, from what its run recorded, and nothing that it did not.

A card is read by strangers: of paths it tells the last part alone, and of services nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from munro.evaluation.statistics import Estimate
from munro.machine.run.folder import RunFolder

TAGS = ("munro", "reinforcement-learning", "grpo")
RAW = {
    "r1_zero": "a raw-text prompt that asks for thoughts in <think> and an answer in <answer>",
    "plain": "the task's text alone",
}
SILENT: Mapping[str, Any] = {"base_url": "", "api_key_env": "", "extra": {}, "address": ""}
"""Keys, wherever they stand, that say where services are and how they are spoken to."""
NEWLINES = re.compile(r"\s+")
MARKDOWN = re.compile(r"([\\`*_\[\]<>|#])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a checkpoint.

    Example:
        Facts(repo="me/stem", run="stem", step=500, base="Qwen/Qwen3-0.6B@c1899d...")
    """

    repo: str
    """Where it goes, "owner/name"."""
    run: str
    step: int
    base: str
    """Name and commit on the hub, or the last part of a folder's path."""
    base_repo: str = ""
    """Name on the hub; empty for another base."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Of the climb, as plain data."""
    restarts: Sequence[Mapping[str, Any]] = ()
    """Distillations that came before, oldest first, as run.json has them."""
    template: str = "chat"
    held_out: Estimate | None = None
    held_out_step: int = 0
    before: Estimate | None = None
    """Held-out rate of what the climb began from."""
    versions: Mapping[str, str] = field(default_factory=dict)
    model_type: str = ""
    distilled: Sequence[str] = ()
    """Runs whose traces it learned, where it is a distillation."""


def gather(
    checkpoint: Path, provenance: Mapping[str, Any], run: RunFolder | None, repo: str
) -> Facts:
    """The facts of a checkpoint, from its provenance and its run where that is at hand.

    Args:
        checkpoint: its folder.
        provenance: what it says of itself.
        run: whose it is; None where only the checkpoint is left.
        repo: where it goes.
    """
    step = int(provenance.get("step", 0))
    config = _config(provenance, run)
    info = run.read_info() if run is not None else None
    base, base_repo = _base(provenance, info.provenance if info else {})
    lines = [line for line in (run.metrics.read() if run else ()) if line["step"] <= step]
    rates = [line for line in lines if "eval/pass_rate" in line]
    restarts = [one for one in (info.restarts if info else ()) if int(one["step"]) < step]
    shape = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    template = provenance.get("template") or config.get("rollout", {}).get("template", "chat")
    return Facts(
        repo=repo,
        run=str(provenance.get("run") or (run.name if run else "")),
        step=step,
        base=base,
        base_repo=base_repo,
        config=config,
        restarts=restarts,
        template=str(template),
        held_out=_estimate(rates[-1]) if rates else None,
        held_out_step=int(rates[-1]["step"]) if rates else 0,
        before=_estimate(rates[0]) if rates and rates[0]["step"] == 0 else None,
        versions=info.versions if info else {},
        model_type=str(shape.get("model_type", "")),
        distilled=[
            str(one["name"]) for one in (provenance.get("distillation") or {}).get("runs", ())
        ],
    )


def _base(provenance: Mapping[str, Any], of_run: Mapping[str, str]) -> tuple[str, str]:
    """(what a stranger is told the base was, its name on the hub)."""
    made = provenance.get("distillation") or provenance
    if "onto" in made:  # a distillation, or a preference model
        return named(str(made.get("hub", "")), str(made["onto"]))
    models = provenance.get("models") or of_run
    began = str(models.get("model") or provenance.get("began_from") or "")
    return named(str(models.get("model.path", "")), began)


def named(recorded: str, folder: str) -> tuple[str, str]:
    """(what a stranger is told a base was, its name on the hub).

    Example:
        named("Qwen/Qwen3-0.6B@c1899d... sha256:...", "/home/me/.cache/...")
    """
    if recorded:
        name = recorded.partition(" ")[0]
        return name, name.partition("@")[0]
    return Path(folder).name, ""


def render(facts: Facts) -> str:
    """The card: a YAML head and Markdown."""
    return "\n".join([*_head(facts), "", *_body(facts)]) + "\n"


def _head(facts: Facts) -> Iterator[str]:
    yield "---"
    yield "library_name: transformers"
    yield "pipeline_tag: text-generation"
    if facts.base_repo:
        yield f"base_model: {json.dumps(facts.base_repo)}"
    yield f"tags: {json.dumps([*TAGS])}"
    if facts.held_out is not None:
        envs = ", ".join(_envs(facts.config)) or "held-out tasks"
        yield "model-index:"
        yield f"- name: {json.dumps(facts.repo)}"
        yield "  results:"
        yield "  - task: {type: text-generation}"
        yield f"    dataset: {{name: {json.dumps(envs)}, type: munro}}"
        yield "    metrics:"
        yield "    - type: pass@1"
        yield f"      value: {facts.held_out.mean:.4f}"
        yield "      name: held-out pass rate"
    yield "---"


def _body(facts: Facts) -> Iterator[str]:
    config = facts.config
    yield f"# {plain(facts.repo.rpartition('/')[2])}"
    yield ""
    yield _how(facts)
    yield ""
    yield "| | |"
    yield "|---|---|"
    rows = {
        "base": facts.base,
        "environments": ", ".join(_envs(config)),
        "optimizer steps": str(facts.step or ""),
        "seed": str(config.get("seed", "")),
        "restarts by self-distillation": _restarts(facts.restarts) if facts.step else "",
        "held-out pass rate": _rate(facts),
        "before": str(facts.before) if facts.before else "",
        "prompt": RAW.get(facts.template, "the tokenizer's chat template"),
        **_settings(config),
        "run": facts.run,
        "distilled from": ", ".join(facts.distilled),
        "made with": ", ".join(f"{name} {of}" for name, of in facts.versions.items()),
    }
    for name, value in rows.items():
        if value:
            yield f"| {name} | {plain(value)} |"
    yield ""
    yield "Everything above is what the run recorded; what it did not record is not said."
    yield ""
    yield from _loading(facts)


def _how(facts: Facts) -> str:
    """One sentence on what was done to what."""
    origin = plain(facts.base)
    if facts.base_repo:
        origin = f"[{origin}](https://huggingface.co/{facts.base_repo})"
    if facts.distilled:
        how = "by fine-tuning on passed attempts of reinforcement learning runs, "
    elif facts.step:
        how = "by reinforcement learning with verifiable rewards, "
    else:
        how = ""
    return f"Made {f'from {origin} ' if origin else ''}{how}with Munro."


def _loading(facts: Facts) -> Iterator[str]:
    yield "## How to load it"
    yield ""
    yield "```python"
    if facts.model_type == "munro":
        yield "import munro.base_model.model  # pip install munro: makes the architecture known"
    yield "from transformers import AutoModelForCausalLM, AutoTokenizer"
    yield ""
    yield f"model = AutoModelForCausalLM.from_pretrained({facts.repo!r})"
    yield f"tokenizer = AutoTokenizer.from_pretrained({facts.repo!r})"
    if facts.template not in RAW:
        yield 'messages = [{"role": "user", "content": "..."}]'
        yield (
            "ids = tokenizer.apply_chat_template(\n"
            '    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True\n'
            ")"
        )
    else:
        yield f'ids = tokenizer("...", return_tensors="pt")  # {RAW[facts.template]}'
    yield "print(tokenizer.decode(model.generate(**ids, max_new_tokens=256)[0]))"
    yield "```"
    yield ""
    yield "Measure it, or climb on from it:"
    yield ""
    yield "```"
    yield f"munro eval --model {facts.repo}"
    yield f"munro climb RECIPE --model {facts.repo}"
    yield "```"


def _rate(facts: Facts) -> str:
    if facts.held_out is None:
        return ""
    sizes = facts.config.get("eval", {})
    tasks, runs = sizes.get("num_tasks", "?"), sizes.get("runs", "?")
    when = "" if facts.held_out_step == facts.step else f", measured at step {facts.held_out_step}"
    return f"{facts.held_out} (95% interval; {tasks} tasks, {runs} attempts each{when})"


def _restarts(restarts: Sequence[Mapping[str, Any]]) -> str:
    said = [
        f"step {one['step']} ({one['cause']}), onto {Path(str(one['base'])).name}"
        for one in restarts
    ]
    return "; ".join(said) if said else "none"


def _settings(config: Mapping[str, Any]) -> dict[str, str]:
    """What decides how it was trained, as far as the config says it."""
    rollout, learner = config.get("rollout", {}), config.get("learner", {})
    stages = config.get("length", {}).get("stages", ())
    sampling = (
        f"{rollout['group_size']} attempts a task, {config['batch']['num_groups']} tasks a step"
        if "group_size" in rollout and "num_groups" in config.get("batch", {})
        else ""
    )
    return {
        "attempts": sampling,
        "response tokens": " then ".join(map(str, stages)),
        "learning rate": str(learner.get("learning_rate", "")),
        "objective": ", ".join(
            str(learner[key]) for key in ("loss", "advantage") if learner.get(key)
        ),
    }


def _envs(config: Mapping[str, Any]) -> list[str]:
    """What it was trained on: names, and of files the last part."""
    envs = config.get("env", ())
    several = envs if isinstance(envs, list | tuple) else [envs]
    found = []
    for env in several:
        path = env["path"] if isinstance(env, Mapping) else str(env)
        place, colon, attribute = path.partition(":")
        args = env.get("args", {}) if isinstance(env, Mapping) else {}
        said = [f"{key} = {_last(value)}" for key, value in args.items()]
        found.append(
            f"{_last(place)}{colon}{attribute}" + (f" ({', '.join(said)})" if said else "")
        )
    return list(dict.fromkeys(found))


def _last(value: Any) -> str:
    """A value for strangers: of a path its last part."""
    text = str(value)
    return Path(text).name if text.startswith(("/", "~", "./", "../")) else text


def _config(provenance: Mapping[str, Any], run: RunFolder | None) -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads(provenance["config"])
    except (KeyError, TypeError, ValueError):
        told = (run.read_config() if run is not None else None) or {}
    return told


def _estimate(line: Mapping[str, Any]) -> Estimate:
    mean = float(line["eval/pass_rate"])
    low = float(line.get("eval/pass_rate_low", 0.0))
    return Estimate(mean=mean, low=low, high=float(line.get("eval/pass_rate_high", 1.0)))


def plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return MARKDOWN.sub(r"\\\1", NEWLINES.sub(" ", text))


# what goes with the card


def for_strangers(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """A provenance without paths of the machine that wrote it, addresses, or names of keys."""
    shown: dict[str, Any] = _for_strangers(provenance)
    return shown


def _for_strangers(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            key: SILENT[key] if key in SILENT else _for_strangers(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [_for_strangers(inner) for inner in value]
    if not isinstance(value, str):
        return value
    if value.startswith(("/", "~/")):
        return Path(value).name
    if value.startswith("{"):  # a climb's config and state are kept as JSON
        try:
            return json.dumps(_for_strangers(json.loads(value)))
        except ValueError:
            return value
    return value
