"""Questions with a reference answer, from a file of yours or from the Hugging Face hub.

prompt   A train covers 60 km in 45 min. How fast is it, in km/h?  (...)
reply    60 / 0.75 is 80. <answer>80</answer>
grade    passed: `munro.rewards.math` finds the answer equal to the reference

With a judge, rows whose `type` is `words` (an answer that rules cannot compare) or `proof` are its:
is this answer the reference's, does this proof hold? What it gives no verdict on is not scored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from munro.envs.base import SingleTurn
from munro.envs.data.columns import Row, is_conversation, messages_of, text_of, value_of
from munro.envs.data.guess import TALKS, after_mark, is_answered, open_found, said_last
from munro.envs.data.rows import Rows, RowTasks, open_rows, parted
from munro.envs.types import Message, Task
from munro.rewards import service
from munro.rewards.judge.items import config_of
from munro.rewards.language import visible
from munro.rewards.math.extraction import extract, last_number
from munro.rewards.types import Grade

PROMPT = "{question}\n\nPut the final answer in <answer></answer> tags."
PROOF_PROMPT = "{question}\n\nWrite the whole proof."
WORDS, PROOF = "words", "proof"
ASKS = {WORDS: "equivalence", PROOF: "proof"}
"""Types that are a judge's, and what it is asked of each."""
FINALS = ("answer", "last_number")


class QuestionsAndAnswers(SingleTurn):
    """Question and answer pairs from JSONL, Parquet or the Hugging Face hub, checked as maths."""

    name = "qa"
    file_args: ClassVar[tuple[str, ...]] = ("path", "test_path", "judge.model")

    def __init__(
        self,
        path: str,
        question: str = "",
        answer: str = "",
        id: str = "",
        answer_after: str = "",
        subset: str = "",
        split: str = "train",
        test_path: str = "",
        test_split: str = "",
        test_share: float = 0.1,
        prompt: str = PROMPT,
        where: Mapping[str, str | Sequence[str]] | None = None,
        judge: str | Mapping[str, Any] = "",
        type: str = "type",
        proof_prompt: str = PROOF_PROMPT,
        final: Literal["answer", "last_number"] = "answer",
    ) -> None:
        """Read the rows once, to check each of them and to part training from testing.

        Args:
            path: a .jsonl, .csv or .parquet file, or the name of a data set on the hub.
            question: column of the question: a text, or a conversation ({role, content} or
                {from, value}) that ends in it. A dotted name goes into an object
                ("reward_model.ground_truth"), in all columns. Unless given, the first row tells:
                question, prompt, problem, messages, ... (`munro.envs.data.guess`).
            answer: column of the reference answer; unless given, likewise: answer, ground_truth,
                reward_model.ground_truth, ..., or what a conversation ends in.
            id: column of a unique id; the number of the row unless given.
            answer_after: take only what follows this in the answer column. Unless given, what
                follows "####" at the start of a line, where there is one (GSM8K).
            subset: of a data set on the hub ("main").
            split: of a data set on the hub, to train on.
            test_path: a file of held-out rows.
            test_split: of a data set on the hub, held out.
            test_share: where neither is given, this share of the questions is held out.
            prompt: the question, with {question} in it.
            where: only rows whose column holds one of these, as in { type = ["open"] }.
            judge: name of a judge, a table [judge.NAME], or the keys of one; asked about rows of
                type "words" and "proof", which without one are refused.
            type: column of a row's type; rows without it go by rules.
            proof_prompt: as `prompt`, for proofs.
            final: what of a reply is its final answer: the one it marks (tags, a box, "the answer
                is"), or, of a base model that marks none, the last number it writes.
        """
        for key, text in (("prompt", prompt), ("proof_prompt", proof_prompt)):
            if "{question}" not in text:
                raise ValueError(f"{key} = {text!r}: it must hold {{question}}.")
        if final not in FINALS:
            raise ValueError(f"final = {final!r}: one of {', '.join(FINALS)}.")
        if isinstance(judge, Mapping):
            config_of(judge)
        self._judges = {
            kind: service.grader("judge", ask=ask, judge=judge) for kind, ask in ASKS.items()
        }
        self._judge, self._type, self._proof_prompt, self._final = judge, type, proof_prompt, final
        self._id = id
        self._answer_after, self._prompt = answer_after, prompt
        self._where = {
            column: (values,) if isinstance(values, str) else tuple(map(str, values))
            for column, values in (where or {}).items()
        }
        if_there = [type] if type else []
        rows, self._found = open_found(
            path,
            subset,
            split,
            columns=(question, answer),
            others=(id, *self._where),
            if_there=if_there,
        )
        held_out = None
        if test_path or test_split:
            columns = (self._found.question, self._found.answer, id, *self._where)
            named = [column for column in columns if column]
            held_out = open_rows(test_path or path, subset, test_split or split, named, if_there)
        self._train, self._test = parted(self._checked, rows, held_out, test_share)

    def tasks(self, split: str) -> Sequence[Task]:
        """The rows of one side, each made into a task when it is drawn."""
        return self._train if split == "train" else self._test

    def grade(self, task: Task, reply: str) -> Grade:
        """Equal to the reference, as mathematics; of words and proofs, what the judge says."""
        kind = task.payload.get("type")
        if kind not in ASKS:
            if self._final == "last_number":
                reply = f"<answer>{last_number(reply) or ''}</answer>"
            return service.grade("math", {**task.payload, "response": reply}, group=task.id)
        said = visible(reply) if kind == PROOF else extract(reply)
        if said is None or not said.strip():
            return Grade.of(False, "no proof" if kind == PROOF else "no final answer")
        if kind == WORDS and _even(said) == _even(task.payload["answer"]):
            return Grade.of(True, "word for word")
        return self._judges[kind].grade({**task.payload, "response": said, "task_id": task.id})

    def gold_reply(self, task: Task) -> str:
        """The reference, in its tags but for a proof."""
        if task.payload.get("type") == PROOF:
            return str(task.payload["answer"])
        return f"<answer>{task.payload['answer']}</answer>"

    def task(self, row: Row, place: str) -> Task:
        """One row as a task. `place` ("file:line") names it where it is unusable."""
        value = value_of(row, self._found.question, place)
        asked = self._asked(value, row, place)
        reference = self._reference(value, row, place)
        last, kind = asked[-1], self._kind(row, place)
        around = self._proof_prompt if kind == PROOF else self._prompt
        prompt = around.replace("{question}", last.content.strip())
        payload: dict[str, Any] = {"answer": reference.strip(), "question": last.content}
        if kind:
            said = [{"role": one.role, "content": one.content} for one in asked]
            payload |= {"type": kind} | ({"messages": said} if len(said) > 1 else {})
        return Task(
            id=text_of(row, self._id, place) if self._id else place.rpartition(":")[2],
            messages=(*asked[:-1], Message(role=last.role, content=prompt)),
            payload=payload,
        )

    def _kind(self, row: Row, place: str) -> str:
        """ "words" or "proof" of a row that is the judge's, empty of any other."""
        kind = row.get(self._type) if self._type else ""
        if kind not in ASKS:
            return ""
        if not self._judge:
            raise ValueError(
                f"{place} is of {self._type} {kind!r}, which no rule can grade: name a judge "
                f"(args.judge), or take others by where = {{ {self._type} = [...] }}."
            )
        return str(kind)

    def _asked(self, value: Any, row: Row, place: str) -> tuple[Message, ...]:
        """The question, which may be a whole conversation that ends in it."""
        column = self._found.question
        if not is_conversation(value):
            return (Message(role="user", content=text_of(row, column, place)),)
        is_told = column in TALKS or not self._found.answer
        return messages_of(value[:-1] if is_told and is_answered(value) else value, column, place)

    def _reference(self, value: Any, row: Row, place: str) -> str:
        """The answer: of its column, or what the conversation ends in."""
        if not self._found.answer:
            return said_last(value if is_answered(value) else [{}], self._found.question, place)
        reference = text_of(row, self._found.answer, place)
        if not self._answer_after:
            return after_mark(reference)
        _, mark, reference = reference.rpartition(self._answer_after)
        if not mark or not reference.strip():
            raise ValueError(f"{place}: nothing follows {self._answer_after!r} in the answer.")
        return reference

    def _checked(self, rows: Rows, is_ours: Callable[[str], bool]) -> RowTasks:
        num_wanted = 0

        def ours() -> Iterator[int]:
            nonlocal num_wanted
            for number, row in enumerate(rows):
                place = rows.place(number)
                if self._is_wanted(row, place):
                    num_wanted += 1
                    if is_ours(self.task(row, place).payload["question"]):
                        yield number

        found = RowTasks(self.task, rows, ours())
        if self._where and not num_wanted:
            told = ", ".join(f"{column} = {list(one)}" for column, one in self._where.items())
            raise ValueError(f"where: no row has {told}. Mend the values, or leave it out.")
        return found

    def _is_wanted(self, row: Row, place: str) -> bool:
        """Whether each column of `where` holds one of its values."""
        return all(
            str(value_of(row, column, place)) in values for column, values in self._where.items()
        )


def _even(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".")
