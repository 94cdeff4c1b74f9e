"""An agent of somebody's own as an environment: it calls the policy at an address.

    AgentRun.run(task, address) ──► POST {address.base_url}/chat/completions ──► ... ──► Outcome

The address is of this one attempt. Whatever the agent says there is the conversation, and what it
gets is sampled from the policy, token for token what the learner trains on. The agent may extend
what was said, rewrite it, or ask for several things at once (docs/any_agent.md).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field

from munro.envs.base import Environment, Episode, Outcome, as_grade, call
from munro.envs.budget import Budget
from munro.envs.types import Message, Task, Trajectory
from munro.rewards.types import Grade


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where one attempt's policy is to be had, in the OpenAI API's shape.

    Example:
        openai.AsyncOpenAI(base_url=address.base_url, api_key=address.key)
    """

    base_url: str
    """Up to and with /v1; on the loopback of this machine."""
    key: str = field(repr=False)
    """Bearer token; of this attempt alone, and of nothing once that is over."""
    model: str
    """What a request must name as its model."""
    socket: str = ""
    """Path of the Unix socket that answers the same, for what has no network; its folder stays the
    same as long as the process lives."""

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which most programs find it."""
        return {
            "OPENAI_BASE_URL": self.base_url,
            "OPENAI_API_BASE": self.base_url,
            "OPENAI_API_KEY": self.key,
        }


class AgentEpisode(Episode):
    """An attempt that is played by an agent, not turn by turn from outside."""

    @abstractmethod
    def run(self, address: Address) -> Awaitable[None] | None:
        """Let the agent work; return once it has ended, and nothing of it goes on.

        A limit of the attempt (`Budget`) is told at the address as an error: 400 where the messages
        are too long, 403 where its turns, its time or its tokens are spent. An exception that
        follows from that ends the attempt, which is then graded.
        Where this is given up, it is cancelled (a thread is left behind) and `close` follows.

        Raises:
            EpisodeError: it says nothing about the policy; as any other exception, it is tried
                again and never scored.
        """

    def reply(
        self,
        message: Message,  # noqa: ARG002
    ) -> Sequence[Message] | Awaitable[Sequence[Message] | None] | None:
        """Nobody replies turn by turn."""
        raise TypeError("an AgentEpisode is run at an address, and takes no replies")


class AgentRun(Environment):
    """Write `tasks`, and `run`: your own loop, which gives the grade.

    Example:
        class Loop(AgentRun):
            def tasks(self, split):
                return [Task(id="sum", prompt="What is 17 + 25?")]

            async def run(self, task, address):
                client = openai.AsyncOpenAI(base_url=address.base_url, api_key=address.key)
                said = [{"role": "user", "content": task.prompt}]
                got = await client.chat.completions.create(model=address.model, messages=said)
                return "42" in got.choices[0].message.content
    """

    budget = Budget(turns=200, wall_s=3600, start_s=120, reply_s=600)

    @property
    def endpoint(self) -> bool:
        """It does."""
        return True

    @abstractmethod
    def run(self, task: Task, address: Address) -> Outcome | Awaitable[Outcome]:
        """Let the agent work at one task, and judge what came of it.

        Returns:
            As a `grade` does. Where a limit ended the attempt before this returned one, `grade` is
            asked.
        """

    def grade(self, task: Task, trajectory: Trajectory) -> Outcome | Awaitable[Outcome]:  # noqa: ARG002
        """Of an attempt whose `run` a limit ended: failed, unless it is written otherwise."""
        return False

    def start(self, task: Task) -> Episode:
        """An episode that `run` plays."""
        return _Run(self, task)


class _Run(AgentEpisode):
    def __init__(self, environment: AgentRun, task: Task) -> None:
        self._environment, self._task = environment, task
        self._outcome: Outcome = None
        self._has_ended = False

    async def run(self, address: Address) -> None:
        self._outcome = await call(self._environment.run, self._task, address)
        self._has_ended = True

    async def grade(self, trajectory: Trajectory) -> Grade:
        if self._has_ended:
            return as_grade(self._outcome)
        return as_grade(await call(self._environment.grade, self._task, trajectory))
