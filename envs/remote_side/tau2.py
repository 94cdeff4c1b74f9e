"""tau2-bench's airline, retail and telecom, out of inspect-evals (0.28): its data, tools, scorers.

    [env.args]
    python = "/path/to/venv/bin/python"
    side = "tau2"
    domain = "retail"                       # airline, retail, telecom
    user = { base_url = "http://127.0.0.1:8000/v1", model = "served", api_key_env = "USER_KEY" }

The policy serves customers, and a language model at any OpenAI-compatible address plays the
customer by the package's own guidelines and scenario. The customer greets, always with the same
words; a turn without a call speaks to it; its `###STOP###` (or TRANSFER, or OUT-OF-SCOPE) ends the
episode, and an episode that it does not end fails. An address that does not answer leaves the
attempt unscored. With `solo = true` (telecom) nobody plays the customer: the policy gets the ticket
and both sides' tools, as in tau2-bench's solo mode.

Where the right thing is to change and to say nothing, doing nothing passes too (tau2-bench#129):
such tasks are left out unless `idle = true`.
"""

from __future__ import annotations

import asyncio
import functools
import http.client
import importlib
import json
import os
import tempfile
import time
import urllib.error
import urllib.request
from typing import Any

# what else the package wants is of no use here, and not all of it is to be had
INSTALL = (
    "inspect-ai==0.3.285 toml pyyaml && {python} -m pip install --no-deps inspect-evals==0.28.0"
)
DOMAINS = ("airline", "retail", "telecom")
GREETING = "Hello, I need your help."
BEGIN = "Greet the agent."
ENDS = ("###STOP###", "###TRANSFER###", "###OUT-OF-SCOPE###")
READS = ("get_", "find_", "list_", "search_", "calculate", "transfer_to_human_agents", "check_")
"""How the names of tools begin that change nothing."""
SAME = ("12", "105")
"""Tasks of retail whose right actions, as the benchmark has them, leave everything as it was."""
ASK = "Please use your tool"
MOST_USER_CALLS = 30
MOST_BYTES = 4 << 20
SYSTEM = """You serve the customers of a company, within the <policy> below. In each turn either \
speak to the customer or call tools; what you write beside a call the customer does not see.

"""
SOLO = """You work on a customer's ticket, within the policy below. Solve it by calling tools, the \
company's and those of the customer's own phone. When it is solved, say so without a call.

"""


class Side:
    """A domain of tau2-bench, with a simulated customer."""

    name = "tau2"
    at_once = 64

    def __init__(
        self,
        domain: str = "airline",
        user: dict[str, Any] | None = None,
        solo: bool = False,
        idle: bool = False,
    ) -> None:
        """
        Args:
            domain: airline, retail or telecom.
            user: where the customer's model is: base_url, model, and if need be api_key_env,
                temperature, max_tokens, timeout_s, retries.
            solo: nobody plays the customer (telecom alone).
            idle: keep the tasks that are solved by doing nothing.
        """
        if domain not in DOMAINS:
            raise ValueError(f"domain = {domain!r}: it is one of {', '.join(DOMAINS)}")
        if solo and domain != "telecom":
            raise ValueError(f"solo = true: {domain} has no tickets, only telecom has")
        self._user: Any = None if solo else Customer(**customer_args(user))
        self.name = f"tau2_{domain}"
        self._is_solo, self._keeps_idle = solo, idle
        self._package = package = Package(domain)
        self._user_schemas = [package.schema(tool) for tool in package.user_tools]
        self._tools = package.tools + (package.user_tools if solo else [])
        self._schemas = [package.schema(tool) for tool in self._tools]
        self._users = {each["function"]["name"] for each in self._user_schemas if solo}

    def tasks(self, split: str) -> list[dict[str, Any]]:
        """Those of the split that the benchmark made."""
        records = self._package.records(split)
        same = SAME if self._package.domain == "retail" else ()
        kept = self._keeps_idle
        return [self._task(r) for r in records if kept or not (is_idle(r) or r["id"] in same)]

    def _task(self, record: dict[str, Any]) -> dict[str, Any]:
        policy = (SOLO if self._is_solo else SYSTEM) + self._package.policy(self._is_solo)
        asked = record["ticket"] if self._is_solo else GREETING
        return {
            "id": record["id"],
            "messages": _messages(("system", policy), ("user", asked)),
            "tools": self._schemas,
            "payload": {"id": record["id"]},
        }

    async def start(self, task: dict[str, Any]) -> Conversation:
        """The data as the task finds them."""
        conversation = Conversation(self._package.sample(task["payload"]["id"]))
        self._package.enter(conversation)
        await self._package.begin(conversation)
        guide = str(conversation.sample.input[0].text)  # the guidelines and the scenario
        began = (("system", guide), ("user", BEGIN), ("assistant", GREETING))
        conversation.heard = _messages(*began)
        return conversation

    async def reply(
        self, conversation: Conversation, message: dict[str, Any]
    ) -> list[dict[str, Any]] | None:
        """Carry out calls one after the other; a turn without any is the customer's to answer."""
        self._package.enter(conversation)
        calls = message.get("tool_calls") or ()
        if calls:
            return [await self._answer(conversation, call) for call in calls]
        conversation.spoken.append(self._package.said(message["content"]))
        if self._is_solo:
            conversation.is_ended = True
            return None
        conversation.heard.append({"role": "user", "content": message["content"]})
        answer = await self._customers_turn(conversation)
        if any(end in answer for end in ENDS):
            conversation.is_ended = True
            return None
        return [{"role": "user", "content": answer}]

    async def _answer(self, conversation: Conversation, call: dict[str, Any]) -> dict[str, Any]:
        text, error = "", call["error"]
        if not error:
            arguments, error = arguments_of(call["arguments"])
        if not error:
            made = self._package.call(call["id"], call["name"], arguments)
            who = conversation.spoken if call["name"] in self._users else conversation.called
            who.append(made)
            text, error = await self._package.carried_out(made, self._tools)
        content = f"Error: {error}" if error else text
        return {"role": "tool", "tool_call_id": call["id"], "content": content, "error": error}

    async def _customers_turn(self, conversation: Conversation) -> str:
        """What the customer says, after whatever it looks up and sets on its own phone."""
        for _ in range(MOST_USER_CALLS):
            said = await asyncio.to_thread(self._user.turn, conversation.heard, self._user_schemas)
            conversation.heard.append(said)
            if not said.get("tool_calls"):
                return str(said["content"])
            for call in said["tool_calls"]:
                wanted = call["function"]
                arguments, error = arguments_of(wanted["arguments"])
                text = ""
                if not error:
                    made = self._package.call(call["id"], wanted["name"], arguments)
                    conversation.spoken.append(made)
                    text, error = await self._package.carried_out(made, self._package.user_tools)
                content = f"Error: {error}" if error else text
                conversation.heard.append(
                    {"role": "tool", "tool_call_id": call["id"], "content": content}
                )
        raise RuntimeError(f"the customer called {MOST_USER_CALLS} times in one turn")

    async def grade(
        self,
        conversation: Conversation,
        trajectory: dict[str, Any],  # noqa: ARG002
    ) -> dict[str, Any]:
        """The package's own scorer of the domain."""
        if not conversation.is_ended:
            why = "the conversation was not brought to its end"
            return {"reward": 0.0, "passed": False, "reason": why}
        self._package.enter(conversation)
        passed, why = await self._package.score(conversation)
        return {"reward": float(passed), "passed": passed, "reason": "" if passed else why}

    def close(self, conversation: Conversation) -> None:
        """Nothing of it is anywhere else."""

    def gold(self, task: dict[str, Any]) -> list[Any]:
        """The benchmark's actions. For the customer's own it is asked, in so many words: a model
        may do as it is told or not."""
        wanted = self._package.record(task["payload"]["id"])["evaluation_criteria"]
        turns: list[Any] = []
        for number, action in enumerate(wanted.get("actions") or []):
            arguments = action["arguments"]
            if (action.get("requestor") or "assistant") == "user" and not self._is_solo:
                turns.append(f"{ASK} {action['name']} with {json.dumps(arguments)}")
                continue
            call = {"id": f"gold{number:03d}", "name": action["name"], "arguments": arguments}
            turns.append({"role": "assistant", "content": "", "tool_calls": [call]})
        told = "; ".join(wanted.get("communicate_info") or [])
        return [*turns, f"That is all. {told}".strip()]


class Conversation:
    """One episode: what the scorers read."""

    def __init__(self, sample: Any) -> None:
        self.sample = sample
        self.store: Any = None
        self.transcript: Any = None
        self.heard: list[dict[str, Any]] = []
        """By the customer's model, in the OpenAI shape."""
        self.spoken: list[Any] = []
        """The package's record of the customer's side: what it was told, and its own calls."""
        self.called: list[Any] = []
        """The package's record of the policy's calls."""
        self.is_ended = False


class Package:
    """What is used of inspect-evals and inspect-ai."""

    def __init__(self, domain: str) -> None:
        module = importlib.import_module
        here = f"inspect_evals.tau2.{domain}"
        self.domain, self._instance = domain, f"{domain.capitalize()}Agent"
        database: Any = module("inspect_evals.tau2.environment.db")
        # every episode loads its data anew, out of a copy that it unpacks and leaves behind
        database.load_file = functools.lru_cache(maxsize=None)(database.load_file)
        self._agents, self._model = module(f"{here}.agents"), module("inspect_ai.model")
        self._tool, self._solver = module("inspect_ai.tool"), module("inspect_ai.solver")
        self._util, self._store = module("inspect_ai.util"), module("inspect_ai.util._store")
        self._transcript = module("inspect_ai.log._transcript")
        self._state_of = module("inspect_evals.tau2.common.scorer").get_default_agent_state
        self._folder = module("inspect_evals.tau2.utils").TAU2_DATA_DIR / "domains" / domain
        self._score = getattr(module(f"{here}.scorer"), f"{domain}_scorer")()
        telecom = domain == "telecom"
        kind = "all_telecom_agent_tools" if telecom else f"all_{domain}_tools"
        self.tools = [make() for make in getattr(module(f"{here}.tools"), kind)]
        self.user_tools: list[Any] = []
        self._begin: Any = None
        if telecom:
            users = module(f"{here}.user_tools").all_telecom_user_tools
            self.user_tools = [make() for make in users]
            self._begin = module(f"{here}.solver").telecom_initializer()
        with tempfile.TemporaryDirectory() as scratch:
            tempfile.tempdir, before = scratch, tempfile.tempdir
            try:
                read = module(f"{here}.dataset").read_dataset(self._instance)
                for file in self._folder.glob("*db.*"):
                    database.load_file(str(file))
            finally:
                tempfile.tempdir = before
        self._samples = {str(sample.id): sample for sample in read}

    def records(self, split: str) -> list[dict[str, Any]]:
        """The tasks of a split, as the benchmark writes them."""
        ids = json.loads((self._folder / "split_tasks.json").read_text(encoding="utf-8"))[split]
        return [self.record(str(each)) for each in ids]

    def record(self, task_id: str) -> dict[str, Any]:
        """One task, as the benchmark writes it."""
        record: dict[str, Any] = self._samples[task_id].metadata["task"]
        return record

    def sample(self, task_id: str) -> Any:
        """One task, as the package's scorers want it."""
        return self._samples[task_id]

    def policy(self, solo: bool) -> str:
        """What the policy must keep to."""
        if solo:
            files = ("main_policy_solo.txt", "tech_support_workflow_solo.txt")
            return "\n".join((self._folder / name).read_text(encoding="utf-8") for name in files)
        workflow = {"workflow": False} if self.domain == "telecom" else {}
        return str(self._agents.get_domain_policy(**workflow))

    def enter(self, conversation: Conversation) -> None:
        """From here on, in this task of the event loop, the package's state is the episode's."""
        if conversation.store is None:
            conversation.store = self._util.Store()
            conversation.transcript = self._transcript.Transcript()
        self._store.init_subtask_store(conversation.store)
        self._transcript.init_transcript(conversation.transcript)

    async def begin(self, conversation: Conversation) -> None:
        """Set the data as the task finds them."""
        if self._begin is not None:
            await self._begin(self._state(conversation), None)

    def schema(self, tool: Any) -> dict[str, Any]:
        """Of a tool, in the OpenAI shape."""
        said = self._tool.ToolDef(tool)
        parameters = said.parameters.model_dump(mode="json", exclude_none=True)
        function = {"name": said.name, "description": said.description, "parameters": parameters}
        return {"type": "function", "function": function}

    def call(self, call_id: str, name: str, arguments: dict[str, Any]) -> Any:
        """A turn with one call."""
        calls = [self._tool.ToolCall(id=call_id, function=name, arguments=arguments)]
        return self._model.ChatMessageAssistant(content="", tool_calls=calls)

    def said(self, text: str) -> Any:
        """What the customer is told."""
        return self._model.ChatMessageUser(content=text)

    async def carried_out(self, made: Any, tools: list[Any]) -> tuple[str, str]:
        """What a call answers, or why it failed."""
        with self._store.suspend_store_events():  # else all data are copied twice a call
            done = await self._model.execute_tools([made], tools)
        answer = done.messages[0]
        return str(answer.text), "" if answer.error is None else str(answer.error.message)

    async def score(self, conversation: Conversation) -> tuple[bool, str]:
        """Whether the task is solved, and what the package says to it."""
        self._state_of(self._instance).messages = conversation.called
        score = await self._score(self._state(conversation), None)
        return score.value == "C", " ".join(str(score.explanation or "").split())

    def _state(self, conversation: Conversation) -> Any:
        return self._solver.TaskState(
            model="none/policy",
            sample_id=conversation.sample.id,
            epoch=1,
            input="",
            messages=conversation.spoken,
            metadata=conversation.sample.metadata,
        )


class Customer:
    """A language model at an address."""

    def __init__(self, base_url: str, model: str, api_key: str, **options: float) -> None:
        self._url, self._model, self._key = (
            f"{base_url.rstrip('/')}/chat/completions",
            model,
            api_key,
        )
        self._options = options

    def turn(self, heard: list[dict[str, Any]], tools: list[dict[str, Any]]) -> dict[str, Any]:
        """The next message: a text, or calls.

        Raises:
            RuntimeError: none is to be had.
        """
        limits = {name: self._options[name] for name in ("temperature", "max_tokens")}
        body: dict[str, Any] = {"model": self._model, "messages": heard, **limits}
        if tools:
            body["tools"] = tools
        why = ""
        for attempt in range(int(self._options["retries"]) + 1):
            if attempt:
                time.sleep(min(0.5 * 2**attempt, 30.0))
            try:
                return message_of(self._asked(body))
            except urllib.error.HTTPError as error:
                why = f"{error.code}: {error.read(300).decode(errors='replace')}"
                if error.code < 500 and error.code not in (408, 409, 429):
                    break
            except (OSError, http.client.HTTPException, ValueError) as error:
                why = f"{type(error).__name__}: {str(error)[:300]}"
        raise RuntimeError(f"the customer's model at {self._url} gives no turn ({why})")

    def _asked(self, body: dict[str, Any]) -> Any:
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(self._url, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=self._options["timeout_s"]) as answer:
            return json.loads(answer.read(MOST_BYTES))


OPTIONS: dict[str, float] = {"temperature": 0, "max_tokens": 1024, "timeout_s": 120, "retries": 4}


def customer_args(user: dict[str, Any] | None) -> dict[str, Any]:
    """What a `Customer` is made of, out of the table that a person wrote.

    Raises:
        ValueError: it cannot be used.
    """
    given = dict(user or {})
    url, model = given.pop("base_url", ""), given.pop("model", "")
    if not str(url).startswith(("http://", "https://")) or not model:
        raise ValueError(
            'user = {...} says who plays the customer: base_url = "http://HOST:PORT/v1", model = '
            '"NAME", and api_key_env where it needs a key (telecom does without by solo = true)'
        )
    variable = given.pop("api_key_env", "")
    if variable and not os.environ.get(variable):
        raise ValueError(f"user.api_key_env = {variable!r}: no such variable is set")
    for name, value in given.items():
        if name not in OPTIONS or isinstance(value, bool) or not isinstance(value, int | float):
            known = ", ".join(["base_url", "model", "api_key_env", *OPTIONS])
            raise ValueError(f"user.{name} = {value!r}: it takes {known}, the last four numbers")
    key = os.environ.get(variable, "") if variable else ""
    return {"base_url": url, "model": model, "api_key": key, **OPTIONS, **given}


def message_of(said: Any) -> dict[str, Any]:
    """The message of a completion, as it goes back into the next request.

    Raises:
        ValueError: it holds neither a text nor a call.
    """
    try:
        message = said["choices"][0]["message"]
        calls = [
            {"id": str(call["id"]), "type": "function", "function": _text(call["function"])}
            for call in message.get("tool_calls") or []
        ]
        content = str(message.get("content") or "")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"no chat completion: {said!r:.200}") from error
    if not calls and not content.strip():
        raise ValueError("neither a text nor a call")
    return {"role": "assistant", "content": content, **({"tool_calls": calls} if calls else {})}


def _messages(*said: tuple[str, str]) -> list[dict[str, Any]]:
    return [{"role": role, "content": content} for role, content in said]


def _text(function: dict[str, Any]) -> dict[str, str]:
    return {key: str(function[key]) for key in ("name", "arguments")}


def arguments_of(text: str) -> tuple[dict[str, Any], str]:
    """Arguments out of JSON, or why they are none."""
    try:
        arguments = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        return {}, f"the arguments are not JSON ({str(error)[:100]})"
    if not isinstance(arguments, dict):
        return {}, "the arguments are no object"
    return arguments, ""


def is_idle(record: dict[str, Any]) -> bool:
    """Whether doing nothing solves a task: what is right changes nothing and tells nothing."""
    wanted = record.get("evaluation_criteria") or {}
    if wanted.get("communicate_info") or wanted.get("env_assertions"):
        return False
    names = [action["name"] for action in wanted.get("actions") or []]
    basis = [str(getattr(each, "value", each)) for each in wanted.get("reward_basis") or []]
    return "ACTION" not in basis and all(name.startswith(READS) for name in names)
