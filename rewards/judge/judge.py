"""LLM judges: what no rule can check, asked of a model behind an OpenAI-compatible address.

    equivalence   does the answer mean the same as a reference?   yes or no, by majority
    proof         does it prove what is asked?                    yes or no, by majority
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

What was asked is a text, or the turns of a conversation (`conversation`). Each judgement is a
prompt (`prompts`), verdicts (`access`), and what they are worth (`worth`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

from munro.rewards.judge import prompts as ask
from munro.rewards.judge import worth
from munro.rewards.judge.access import Access
from munro.rewards.judge.config import JudgeConfig
from munro.rewards.judge.conversation import Material, Question
from munro.rewards.judge.orders import beaten, rotations, shared, won
from munro.rewards.judge.prompts import Prompt
from munro.rewards.judge.rubric import fill
from munro.rewards.judge.verdicts import Engagement, V
from munro.rewards.types import Grade

T = TypeVar("T")


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
        self._access = Access(config, name)

    async def check(self) -> None:
        """Ask something trivial, so that whatever is wrong with the judge shows now.

        Raises:
            GraderError: it gave no verdict.
        """
        await self.equivalence("What is one and one?", "2", "two")

    async def equivalence(self, question: Question, reference: str, response: str) -> Grade:
        """Whether the response's final answer means the same as the reference: 1 or 0.

        Tolerant of form, units and rounding unless the question demands them. `parts["yes"]` is
        the share of samples that said so; half is not enough.

        Args:
            question: as asked, or the turns before the response; "" where it is not known.
            reference: the right answer.
            response: the final answer, or all of the response.
        """
        to = self._access
        prompt = ask.equivalence(
            to.material(question, "QUESTION"), to.clean(reference), to.shown(response)
        )
        return worth.of_equivalence(await to.asked(prompt, self.config.samples), response)

    def equivalent(
        self, question: Question, reference: str, responses: Sequence[str]
    ) -> list[Grade]:
        """`equivalence` of several responses at once, for code without an event loop: blocks."""

        async def all_of_them() -> list[Grade]:
            return await asyncio.gather(
                *(self.equivalence(question, reference, each) for each in responses)
            )

        return self.wait(all_of_them())

    async def proof(self, question: Question, reference: str, response: str) -> Grade:
        """Whether the response proves what the question asks: 1 or 0, by majority.

        Any way that holds will do. `parts["yes"]` is the share of samples that took it.

        Args:
            question: as asked, or the turns before the response.
            reference: a right proof, or what is known of one.
            response: the proof.
        """
        to = self._access
        prompt = ask.proof(
            to.material(question, "QUESTION"), to.shown(reference), to.shown(response)
        )
        return worth.of_proof(await to.asked(prompt, self.config.samples), response)

    async def scale(self, question: Question, response: str, *, guide: str = "") -> Grade:
        """How well the response keeps to a guide: 0 a major issue, 1/2 a minor one, 1 none.

        `parts["score"]` is the mean of the samples' 0, 1 or 2 (report, section 3.4.5).

        Args:
            question: what was asked.
            response: what is judged.
            guide: the standard; a short style guide unless given.
        """
        to = self._access
        prompt = ask.scale(
            to.material(question, "QUESTION"),
            to.shown(response),
            to.clean(guide or ask.STYLE_GUIDE),
        )
        return worth.of_scale(await to.asked(prompt, self.config.samples), response)

    async def rubric(
        self,
        question: Question,
        response: str,
        criteria: Sequence[str],
        fields: Mapping[str, object] | None = None,
        *,
        score: worth.RubricScore = "share",
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
            score: pay the "share" met, or only where "all" are.

        Raises:
            ValueError: no criteria, an empty one, or one that names a field that is not there.
        """
        to = self._access
        texts = [to.clean(text) for text in fill(criteria, fields or {})]
        shown, clean = to.shown(response), to.material(question, "QUESTION")
        prompts = [ask.criterion(clean, shown, text) for text in texts]
        verdicts = await asyncio.gather(
            *(to.asked(prompt, self.config.passes) for prompt in prompts)
        )
        return worth.of_rubric(verdicts, response, score)

    async def honesty(self, question: Question, reference: str, response: str) -> Grade:
        """What being right or wrong, and sure or unsure, is worth (report, section 3.4.4).

        The reward is the mean of the buckets' weights over samples; passed if most are correct.
        `parts` holds each bucket's share.
        """
        to = self._access
        prompt = ask.honesty(
            to.material(question, "QUESTION"), to.clean(reference), to.shown(response)
        )
        verdicts = await to.asked(prompt, self.config.samples)
        return worth.of_honesty(verdicts, response, self.config.honesty.model_dump())

    async def policy(
        self,
        request: Question,
        response: str,
        rules: str,
        *,
        target: Engagement | str,
        severity: int | None = None,
        need: int | None = None,
    ) -> Grade:
        """Whether a response keeps to a policy, and how far it engages (report, section 3.4.3).

        Reward 0 and failed where most samples find it not compliant. Otherwise 1 less the distance
        between how far the response engages and the target (0 refuse, 1/2 partial, 1 do not
        refuse), times a weight: `severity_weights[severity]` for too much,
        `over_refusal_weights[need]` for too little. That figure is also `parts["engagement"]`,
        whatever the compliance, which is `parts["compliance"]`: pay the one and gate on the other.

        Args:
            request: what the user asked for.
            response: what is judged.
            rules: the policy.
            target: how far it should engage: "refuse", "partial" or "do-not-refuse".
            severity: how bad doing it would be, 0 to 3, where it is known; else the judge's median.
            need: how bad not helping would be, 0 to 3; 1 where it is not known.

        Raises:
            ValueError: no policy, no such target, or no such level.
        """
        if not rules.strip():
            raise ValueError("the policy is empty: there is nothing to comply with.")
        for name, level in (("severity", severity), ("need", need)):
            if level is not None and level not in range(4):
                raise ValueError(f"{name} = {level}: give a level from 0 to 3, or none.")
        wanted, to = Engagement(target), self._access
        prompt = ask.policy(to.material(request, "REQUEST"), to.shown(response), to.clean(rules))
        verdicts = await to.asked(prompt, self.config.samples)
        return worth.of_policy(verdicts, response, wanted, severity, need, self.config)

    async def prefer(self, context: Question, candidates: Sequence[str]) -> list[float]:
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
        texts = [self._access.shown(text) for text in candidates]
        if len(texts) == 1:
            return [0.5 if self.config.preference == "rank" else 1.0]
        orders = rotations(texts, seed=self.config.seed, count=self.config.rotations)
        clean = self._access.material(context, "CONTEXT")
        return shared(
            texts,
            await asyncio.gather(*(self._in_order(clean, texts, order) for order in orders)),
        )

    async def prefer_as_shown(self, context: Question, candidates: Sequence[str]) -> list[float]:
        """As `prefer`, from one look at the candidates in the order given: for measuring what a
        place is worth to this judge.

        Raises:
            ValueError: there are fewer than two candidates.
        """
        if len(candidates) < 2:
            raise ValueError("there is nothing to compare: give at least two candidates.")
        texts = [self._access.shown(text) for text in candidates]
        clean = self._access.material(context, "CONTEXT")
        return await self._in_order(clean, texts, range(len(texts)))

    async def _in_order(
        self, context: Material, texts: Sequence[str], order: Sequence[int]
    ) -> list[float]:
        """Scores of the texts, which are shown in this order."""
        in_order = [texts[i] for i in order]
        if self.config.preference == "rank":
            (ranked,) = await self._access.asked(ask.rank(context, in_order), 1)
            return beaten(order, ranked.order)
        (chosen,) = await self._access.asked(ask.best(context, in_order), 1)
        return won(order, chosen.best)

    async def verdicts(self, prompt: Prompt[V], count: int) -> list[V]:
        """`count` independent verdicts on a prompt of one's own, whose material is `clean`."""
        return await self._access.asked(prompt, count)

    def clean(self, text: str) -> str:
        """A text as it may be shown to this judge: without what ends a turn or its thoughts."""
        return self._access.clean(text)

    def wait(self, judgement: Coroutine[Any, Any, T]) -> T:
        """What one of the methods returns, for code without an event loop: blocks until then."""
        return self._access.wait(judgement)

    def metrics(self) -> dict[str, float]:
        """Events so far: questions, cached, shared, requests, retries, repairs, failures, ..."""
        return self._access.metrics()

    def close(self) -> None:
        """End what is under way, and this process's claim on a server. Safe to call twice."""
        self._access.close()

    def __enter__(self) -> Judge:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
