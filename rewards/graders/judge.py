"""A judge as a grader: an item in, one kind of judgement out.

    equivalence, honesty   item: answer (the reference), question
    proof                  item: answer (a right proof), question
    scale                  item: question, guide
    rubric                 item: question, criteria, and any field that the criteria name
    policy                 item: question (the request), rules, target, severity, need;
                           with `policies`, a file of response policies: policy or category instead

`guide`, `criteria`, `rules` and `target` may be given once, as options, and by each item anew; for
`question`, an item's `prompt` will do. Where `messages` hold more than a lone question, they are
what the judge is shown: every turn, with its role.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from munro.rewards.judge import named, responses, rubric
from munro.rewards.judge.config import HonestyWeights
from munro.rewards.judge.items import MESSAGES, judge_of, need, question_of
from munro.rewards.judge.verdicts import Engagement
from munro.rewards.judge.worth import RubricScore
from munro.rewards.kinds import Field, Grader, Item, Kind, Options, Part, Scale
from munro.rewards.types import Grade

Ask = Literal["equivalence", "proof", "scale", "rubric", "honesty", "policy"]

LEVELS = 4
LEVEL = Part(range=(0.0, LEVELS - 1.0))
SCALES = {
    "equivalence": Scale(parts={"yes": Part()}),
    "proof": Scale(parts={"yes": Part()}),
    "scale": Scale(parts={"score": Part(range=(0.0, 2.0))}),
    "rubric": Scale(parts={"criterion_*": Part()}),
    "honesty": Scale(range=(-1.0, 1.0), parts=dict.fromkeys(HonestyWeights.model_fields, Part())),
    "policy": Scale(
        parts={
            "compliance": Part(role="condition"),
            "engagement": Part(role="price"),
            "severity": LEVEL,
            "need": LEVEL,
            "engaged": Part(),
            "too_engaged": Part(),
            "over_refused": Part(),
            "manner": Part(role="price"),
            "must_*": Part(),
        }
    ),
}
"""What each question's figures may be."""


class JudgeGrader(Grader):
    """Asks a judge one kind of question. Blocks; as many threads as the judge's `concurrency` help.

    Example:
        config = {"model": "my-judge", "base_url": "http://localhost:8000/v1"}
        with JudgeGrader(ask="equivalence", judge=config) as grader:
            grader.grade({"question": "How far?", "answer": "5 km", "response": "5000 m"})
    """

    kind = Kind(
        summary="an LLM judge: equivalence, proof, scale, rubric, honesty or policy",
        fields={
            "question": Field(what="what was asked", is_required=False),
            "messages": MESSAGES,
            "answer": Field(
                what="the reference: of equivalence, proof, honesty", is_required=False
            ),
            "criteria": Field(what="of a rubric", types=(list,), is_required=False),
            "guide": Field(what="the standard of a scale", is_required=False),
            "rules": Field(what="the policy", is_required=False),
            "policy": Field(what="name of a response policy in `policies`", is_required=False),
            "category": Field(what="one that a response policy claims", is_required=False),
            "must": Field(
                what="criteria that cost where unmet, by name", types=(dict,), is_required=False
            ),
            "must_not": Field(
                what="criteria that break the policy where met", types=(dict,), is_required=False
            ),
            "target": Field(what="refuse, partial or do-not-refuse", is_required=False),
            "severity": Field(
                what="how bad doing it would be, 0 to 3", types=(int,), is_required=False
            ),
            "need": Field(
                what="how bad not helping would be, 0 to 3", types=(int,), is_required=False
            ),
        },
        file_args=("judge.model", "policies"),
        model_args=("judge.model",),
        in_process=True,
        workers=16,
        tries=1,
    )

    @classmethod
    def scale(cls, options: Options) -> Scale:
        """By what is asked; every grade says too whether the response talks to its judge."""
        of_ask = SCALES.get(str(options.get("ask", "equivalence")), Scale())
        return Scale(range=of_ask.range, parts={**of_ask.parts, "judge_directed": Part()})

    @classmethod
    def refuse(cls, options: Options) -> None:
        """What no question can be asked with."""
        ask, score = options.get("ask", "equivalence"), options.get("score")
        if ask not in get_args(Ask):
            raise ValueError(f"ask = {ask!r}: there are {', '.join(get_args(Ask))}.")
        if score not in (None, *get_args(RubricScore)):
            raise ValueError(f"score = {score!r}: give 'all' or 'share'.")
        if score is not None and ask != "rubric":
            raise ValueError(f"score = {score!r} is of ask = 'rubric', and ask is {ask!r}.")
        if options.get("criteria"):
            rubric.check(options["criteria"])
        Engagement(options.get("target", "do-not-refuse"))
        if (policies := options.get("policies")) and ask != "policy":
            raise ValueError(f'policies = "{policies}" is for ask = "policy", not "{ask}".')

    def __init__(
        self,
        ask: Ask = "equivalence",
        judge: str | Mapping[str, Any] = "judge",
        guide: str = "",
        criteria: Sequence[str] = (),
        rules: str = "",
        target: str = "do-not-refuse",
        score: RubricScore | None = None,
        policies: str = "",
    ) -> None:
        """
        Args:
            ask: the kind of judgement.
            judge: name of a configured judge, or the keys of a `JudgeConfig`.
            guide: standard of "scale".
            criteria: rubric of "rubric".
            rules: policy of "policy".
            target: engagement that "policy" wants, unless an item says otherwise.
            score: what "rubric" pays: the "share" of criteria met (unless said), or only "all".
            policies: file of response policies for "policy", or "usual" for Munro's own; each item
                then names its policy, or a category.

        Raises:
            ValueError: no such kind or judge, or what it needs is unusable.
        """
        self.refuse(
            {
                "ask": ask,
                "criteria": criteria,
                "target": target,
                "score": score,
                "policies": policies,
            }
        )
        self._policies = responses.load(policies) if policies else None
        self._ask = ask
        self._given = {"guide": guide, "criteria": criteria, "rules": rules, "target": target}
        self._score: RubricScore = score or "share"
        self._is_ours = not isinstance(judge, str)
        self._judge = named(judge) if isinstance(judge, str) else judge_of(judge)

    def check(self, item: Item) -> None:
        """Refuse an item that lacks what its question needs."""
        given = self._filled(item)
        question_of(given)
        if self._ask in ("equivalence", "proof", "honesty"):
            need(given, "answer")
        elif self._ask == "rubric":
            rubric.fill(given["criteria"], given)
        elif self._ask == "policy":
            need(given, "rules")
            Engagement(str(given["target"]))
            for name in ("severity", "need"):
                if given.get(name) is not None and given[name] not in range(LEVELS):
                    raise ValueError(f"{name} = {given[name]}: give a level from 0 to 3, or none")

    def grade(self, item: Item) -> Grade:
        """The judge's grade of one item."""
        given = self._filled(item)
        judge, response = self._judge, str(item["response"])
        question = question_of(given)
        if self._ask == "equivalence":
            return judge.wait(judge.equivalence(question, need(given, "answer"), response))
        if self._ask == "proof":
            return judge.wait(judge.proof(question, need(given, "answer"), response))
        if self._ask == "honesty":
            return judge.wait(judge.honesty(question, need(given, "answer"), response))
        if self._ask == "scale":
            return judge.wait(judge.scale(question, response, guide=str(given["guide"])))
        if self._ask == "rubric":
            return judge.wait(
                judge.rubric(question, response, given["criteria"], given, score=self._score)
            )
        need(given, "rules")
        return judge.wait(responses.judged(judge, question, response, given))

    def _filled(self, item: Item) -> dict[str, Any]:
        """An item with what was given once, and with what its response policy says."""
        given = {**self._given, **item}
        return given | self._policies.item(item) if self._policies else given

    def metrics(self) -> Mapping[str, float]:
        """The judge's own counts."""
        return self._judge.metrics()

    def close(self) -> None:
        """End a judge of our own; a named one is its process's."""
        if self._is_ours:
            self._judge.close()
