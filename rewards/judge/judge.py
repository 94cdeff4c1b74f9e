"""LLM judges: what no rule can check, asked of a model behind an OpenAI-compatible address.

    equivalence   does the answer mean the same as a reference?   yes or no, by majority
    scale         does the text keep to a guide?                  0, 1 or 2, the mean halved
    rubric        how many of these criteria are met?             each asked alone, averaged
    honesty       right, and how sure did it sound?               five buckets with a weight each
    policy        compliant, how severe, how far engaged?         a gate, and a price on the rest
    prefer        which of these is better?                       one score each, place-independent

A judge's failure (unreachable, late, refusing, rambling) is a `GraderError`: the attempt is made
again or its group is dropped, and nothing is ever scored as wrong for it.

    judge = Judge(JudgeConfig(model="my-judge", base_url="http://localhost:8000/v1"))
    grade = await judge.equivalence("How far?", "5 km", "5000 m")
    grade = judge.wait(judge.scale("Hi!", "Hello."))             # where there is no event loop
    judge.close()

Requests run on an event loop of the judge's own, in a thread: one judge may serve any number of
threads and loops, and its limits hold for all of them together.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from hashlib import blake2b
from statistics import fmean
from types import TracebackType
from typing import Any, TypeVar

from munro.rewards.errors import GraderError
from munro.rewards.judge import prompts as ask
from munro.rewards.judge.config import JudgeConfig
from munro.rewards.judge.desk import Desk
from munro.rewards.judge.fence import addresses_judge, clip, defuse
from munro.rewards.judge.prompts import Engagement, Prompt, V
from munro.rewards.judge.rubric import fill
from munro.rewards.serving.server import check_checkpoint, special_texts
from munro.rewards.types import Grade

__all__ = ["Engagement", "Judge", "JudgeConfig", "close", "configure", "named"]

T = TypeVar("T")
REASON_CHARS = 160


class Judge:
    """One judge, as configured. Nothing is started or sent before the first question.

    Safe to use from many threads and event loops. Use as a context manager, or close it; at exit
    it closes itself. Every method raises `GraderError` where the judge gives no verdict.

    Example:
        with Judge(JudgeConfig(model="my-judge", base_url="http://localhost:8000/v1")) as judge:
            judge.wait(judge.equivalence("How far?", "5 km", "5000 m")).passed      # True
    """

    def __init__(self, config: JudgeConfig, *, name: str = "judge") -> None:
        """
        Args:
            config: whom to ask, and how.
            name: for messages and log files.

        Raises:
            ValueError: the key's variable is not set, or `model` is no checkpoint to serve.
        """
        self.config = config
        self.name = name
        self._key = ""
        if config.api_key_env:
            self._key = os.environ.get(config.api_key_env, "")
            if not self._key:
                raise ValueError(
                    f"judge {name!r}: api_key_env names {config.api_key_env!r}, but this "
                    "environment variable is empty. Set it to the key."
                )
        self._marks: tuple[str, ...] = ()
        if not config.base_url:
            check_checkpoint(config.model)
            self._marks = special_texts(config.model)
        self._lock = threading.Lock()
        self._desk: Desk | None = None
        self._is_closed = False

    async def check(self) -> None:
        """Ask something trivial, so that whatever is wrong with the judge shows now.

        Raises:
            GraderError: it gave no verdict.
        """
        await self.equivalence("What is one and one?", "2", "two")

    async def equivalence(self, question: str, reference: str, response: str) -> Grade:
        """Whether the response's final answer means the same as the reference: 1 or 0.

        Tolerant of form, units and rounding unless the question demands them. `parts["yes"]` is
        the share of samples that said so; half is not enough.

        Args:
            question: as asked; "" where it is not known.
            reference: the right answer.
            response: the final answer, or all of the response.
        """
        prompt = ask.equivalence(
            self._clean(question), self._clean(reference), self._shown(response)
        )
        verdicts = await self._asked(prompt, self.config.samples)
        yes = fmean(each.verdict == "yes" for each in verdicts)
        return _grade(response, float(yes > 0.5), yes > 0.5, {"yes": yes}, verdicts[0].notes)

    def equivalent(self, question: str, reference: str, responses: Sequence[str]) -> list[Grade]:
        """`equivalence` of several responses at once, for code without an event loop: blocks."""

        async def all_of_them() -> list[Grade]:
            return await asyncio.gather(
                *(self.equivalence(question, reference, each) for each in responses)
            )

        return self.wait(all_of_them())

    async def scale(self, question: str, response: str, *, guide: str = "") -> Grade:
        """How well the response keeps to a guide: 0 a major issue, 1/2 a minor one, 1 none.

        `parts["score"]` is the mean of the samples' 0, 1 or 2 (report, section 3.4.5).

        Args:
            question: what was asked.
            response: what is judged.
            guide: the standard; a short style guide unless given.
        """
        prompt = ask.scale(
            self._clean(question), self._shown(response), self._clean(guide or ask.STYLE_GUIDE)
        )
        verdicts = await self._asked(prompt, self.config.samples)
        score = fmean(each.score for each in verdicts)
        return _grade(response, score / 2, None, {"score": score}, verdicts[0].notes)

    async def rubric(
        self,
        question: str,
        response: str,
        criteria: Sequence[str],
        fields: Mapping[str, object] | None = None,
    ) -> Grade:
        """The share of criteria met, each asked alone `passes` times (report, section 3.4.2).

        Passed if a majority of passes finds each criterion met. `parts["criterion_1"]` and so on
        hold each one's mean.

        Args:
            question: what was asked.
            response: what is judged.
            criteria: atomic ones; "{name}" in them stands for a field. Check them beforehand with
                `munro.rewards.judge.rubric.check`.
            fields: values for those names.

        Raises:
            ValueError: no criteria, an empty one, or one that names a field that is not there.
        """
        texts = [self._clean(text) for text in fill(criteria, fields or {})]
        shown, clean = self._shown(response), self._clean(question)
        prompts = [ask.criterion(clean, shown, text) for text in texts]
        verdicts = await asyncio.gather(
            *(self._asked(prompt, self.config.passes) for prompt in prompts)
        )
        means = [fmean(each.met == "yes" for each in passes) for passes in verdicts]
        parts = {f"criterion_{number}": mean for number, mean in enumerate(means, 1)}
        num_met = sum(mean > 0.5 for mean in means)
        reason = f"{num_met} of {len(means)} criteria met"
        return _grade(response, fmean(means), num_met == len(means), parts, reason)

    async def honesty(self, question: str, reference: str, response: str) -> Grade:
        """What being right or wrong, and sure or unsure, is worth (report, section 3.4.4).

        The reward is the mean of the buckets' weights over samples; passed if most are correct.
        `parts` holds each bucket's share.
        """
        prompt = ask.honesty(self._clean(question), self._clean(reference), self._shown(response))
        verdicts = await self._asked(prompt, self.config.samples)
        weights = self.config.honesty.model_dump()
        counts = Counter(each.bucket for each in verdicts)
        parts = {bucket: counts[bucket] / len(verdicts) for bucket in weights}
        reward = sum(weights[bucket] * share for bucket, share in parts.items())
        passed = parts["confident_correct"] + parts["unconfident_correct"] > 0.5
        reason = f"{counts.most_common(1)[0][0]}: {verdicts[0].notes}"
        return _grade(response, reward, passed, parts, reason)

    async def policy(
        self,
        request: str,
        response: str,
        rules: str,
        *,
        target: Engagement | str,
        severity: int | None = None,
    ) -> Grade:
        """Whether a response keeps to a policy, and how far it engages (report, section 3.4.3).

        Reward 0 and failed where most samples find it not compliant. Otherwise 1 less the distance
        between the response's engagement and the target (0 refuse, 1/2 partial, 1 do not refuse),
        times a weight: `severity_weights[severity]` for too much, `over_refusal_weight` for too
        little. `parts` holds compliance, severity, engagement, and both distances.

        Args:
            request: what the user asked for.
            response: what is judged.
            rules: the policy.
            target: how far it should engage: "refuse", "partial" or "do-not-refuse".
            severity: of the request, 0 to 3, where it is known; else the judge's median.

        Raises:
            ValueError: no policy, no such target, or no such severity.
        """
        if not rules.strip():
            raise ValueError("the policy is empty: there is nothing to comply with.")
        if severity is not None and severity not in range(4):
            raise ValueError(f"severity = {severity}: give a level from 0 to 3, or none.")
        wanted = Engagement(target)
        prompt = ask.policy(self._clean(request), self._shown(response), self._clean(rules))
        verdicts = await self._asked(prompt, self.config.samples)
        compliance = fmean(each.compliant == "yes" for each in verdicts)
        levels = sorted(each.severity for each in verdicts)
        level = levels[len(levels) // 2] if severity is None else severity
        engaged = fmean(each.engagement.level for each in verdicts)
        too_much, too_little = max(engaged - wanted.level, 0.0), max(wanted.level - engaged, 0.0)
        price = too_much * self.config.severity_weights[level]
        price += too_little * self.config.over_refusal_weight
        passed = compliance > 0.5
        parts = {
            "compliance": compliance,
            "severity": float(level),
            "engagement": engaged,
            "too_engaged": too_much,
            "over_refused": too_little,
        }
        reward = 1.0 - price if passed else 0.0
        return _grade(response, reward, passed, parts, verdicts[0].notes)

    async def prefer(self, context: str, candidates: Sequence[str]) -> list[float]:
        """A score in [0, 1] for each candidate, in their order.

        The candidates are shuffled by the seed, then shown in `rotations` cyclic orders (all of
        them unless told otherwise), so that a judge with a taste for a place favours nobody. By
        rank, a score is the mean share of the others that a candidate beats; by best-of, the share
        of orders that it wins. Equal texts share their score. One candidate alone has nobody to
        beat: 1/2 by rank, 1 as the best.

        Raises:
            ValueError: there are no candidates.
        """
        if not candidates:
            raise ValueError("there are no candidates to compare.")
        by_rank = self.config.preference == "rank"
        texts = [self._shown(text) for text in candidates]
        if len(texts) == 1:
            return [0.5 if by_rank else 1.0]
        orders = rotations(texts, seed=self.config.seed, count=self.config.rotations)
        clean = self._clean(context)
        judged = self._ranked if by_rank else self._best
        wins = await asyncio.gather(*(judged(clean, texts, order) for order in orders))
        scores = [fmean(column) for column in zip(*wins, strict=True)]
        alike = {text: [i for i, each in enumerate(texts) if each == text] for text in set(texts)}
        return [fmean(scores[i] for i in alike[text]) for text in texts]

    def wait(self, judgement: Coroutine[Any, Any, T]) -> T:
        """What one of the methods returns, for code without an event loop: blocks until then."""
        try:
            future = self._submit(lambda _: judgement)
        except GraderError:
            judgement.close()
            raise
        try:
            return future.result()
        except CancelledError as cancelled:
            raise GraderError(f"judge {self.name!r} was closed meanwhile") from cancelled

    def metrics(self) -> dict[str, float]:
        """Events so far: questions, cached, shared, requests, retries, repairs, failures, ..."""
        desk = self._desk
        return dict(desk.counts()) if desk else {}

    def close(self) -> None:
        """End what is under way, and this process's claim on a server. Safe to call twice."""
        with self._lock:
            desk, self._desk, self._is_closed = self._desk, None, True
        if desk is not None and desk.pid == os.getpid():
            desk.close()
            atexit.unregister(self.close)

    def __enter__(self) -> Judge:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def _ranked(
        self, context: str, texts: Sequence[str], order: Sequence[int]
    ) -> list[float]:
        """For each text, the share of the others that it beats, shown in `order`."""
        prompt = ask.rank(context, [texts[i] for i in order])
        (verdict,) = await self._asked(prompt, 1)
        scores = [0.0] * len(texts)
        for place, number in enumerate(verdict.order):
            scores[order[number - 1]] = 1 - place / (len(texts) - 1)
        return scores

    async def _best(self, context: str, texts: Sequence[str], order: Sequence[int]) -> list[float]:
        """1 for the text that wins when shown in `order`, 0 for the others."""
        (verdict,) = await self._asked(ask.best(context, [texts[i] for i in order]), 1)
        winner = order[verdict.best - 1]
        return [float(i == winner) for i in range(len(texts))]

    async def _asked(self, prompt: Prompt[V], count: int) -> list[V]:
        """`count` independent verdicts, through the loop that all askers share."""
        future = self._submit(lambda desk: desk.ask(prompt, count))
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError as cancelled:
            task = asyncio.current_task()
            if self._is_closed and not (task and task.cancelling()):
                raise GraderError(f"judge {self.name!r} was closed meanwhile") from cancelled
            raise

    def _clean(self, text: str) -> str:
        return defuse(text, self._marks)

    def _shown(self, response: str) -> str:
        return defuse(clip(response, self.config.max_response_chars), self._marks)

    def _submit(self, work: Callable[[Desk], Coroutine[Any, Any, T]]) -> Future[T]:
        """Begin work on the desk's loop. Under the lock, so that closing cannot overlook it."""
        with self._lock:
            if self._is_closed:
                raise GraderError(f"judge {self.name!r} is closed")
            # a forked process has the parent's object, but neither its thread nor its connections
            if self._desk is None or self._desk.pid != os.getpid():
                self._desk = Desk(self.name, self.config, self._key, self._marks)
                atexit.register(self.close)
            return asyncio.run_coroutine_threadsafe(work(self._desk), self._desk.loop)


def _grade(
    response: str, reward: float, passed: bool | None, parts: Mapping[str, float], reason: str
) -> Grade:
    """A judge's grade; part `judge_directed` is 1 where the response seems to talk to its judge."""
    flagged = float(addresses_judge(response))
    line = " ".join(reason.split())[:REASON_CHARS]
    return Grade(
        reward=reward, passed=passed, parts={**parts, "judge_directed": flagged}, reason=line
    )


def rotations(texts: Sequence[str], *, seed: int, count: int = 0) -> list[list[int]]:
    """Cyclic orders of the texts' numbers, from a shuffle that depends on seed and texts alone.

    Args:
        texts: the candidates.
        seed: of the shuffle.
        count: how many orders; 0, or more than there are, for all: each text then stands at each
            place exactly once. Fewer are spread evenly.
    """
    digest = blake2b(str(seed).encode(), digest_size=8)
    for text in sorted(texts):  # the order they come in says nothing
        digest.update(blake2b(text.encode(), digest_size=16).digest())
    order = sorted(range(len(texts)), key=lambda i: (texts[i], i))
    random.Random(digest.digest()).shuffle(order)
    total = len(texts)
    shifts = range(total) if not 0 < count < total else [i * total // count for i in range(count)]
    return [[*order[shift:], *order[:shift]] for shift in shifts]


_named_lock = threading.Lock()
_configs: dict[str, JudgeConfig] = {}
_judges: dict[str, Judge] = {}
_judges_pid = 0


def configure(judges: Mapping[str, JudgeConfig]) -> None:
    """Say which judges `named` knows in this process: before its first use, or anew."""
    close()
    with _named_lock:
        _configs.clear()
        _configs.update(judges)


def named(name: str) -> Judge:
    """The judge of that name, one for the whole process.

    Raises:
        ValueError: no such judge was configured, or its key or checkpoint is missing.
    """
    global _judges_pid
    with _named_lock:
        if name not in _configs:
            known = f"There are: {', '.join(_configs)}." if _configs else "There is none."
            raise ValueError(f"no judge {name!r} is configured. {known} Add [judge.{name}].")
        if _judges_pid != os.getpid():
            _judges.clear()
            _judges_pid = os.getpid()
        if name not in _judges:
            _judges[name] = Judge(_configs[name], name=name)
        return _judges[name]


def close() -> None:
    """End the judges that `named` made; a later call makes new ones."""
    with _named_lock:
        judges = list(_judges.values()) if _judges_pid == os.getpid() else []
        _judges.clear()
    for judge in judges:
        judge.close()
