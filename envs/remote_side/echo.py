"""A side that needs no package: say the word. The smallest one there is, to copy from.

[[env]]
path = "remote"
[env.args]
python = "/path/to/venv/bin/python"
side = "echo"
words = ["munro", "cairn"]
"""

from __future__ import annotations

import json
from typing import Any

SHOUT = {
    "type": "function",
    "function": {
        "name": "shout",
        "description": "The same in capitals.",
        "parameters": {
            "type": "object",
            "properties": {"text": {"type": "string"}},
            "required": ["text"],
        },
    },
}


class Side:
    """Say the word in capitals; a tool writes them."""

    name = "echo"
    at_once = 1
    """Questions that may be asked at the same moment; more than one runs in threads."""

    def __init__(self, words: list[str] | None = None) -> None:
        """Arguments are those of the recipe. ValueError refuses them, in one sentence."""
        self._words = words or ["munro", "cairn", "belay", "scree"]

    def tasks(self, split: str) -> list[dict[str, Any]]:
        """Tasks as plain data, the same at every call; a list, or an iterator."""
        words = self._words if split == "train" else [word[::-1] for word in self._words]
        return [
            {
                "id": word,
                "prompt": f"Shout {word!r}, and then say it.",
                "tools": [SHOUT],
                "payload": {"word": word},
            }
            for word in words
        ]

    def start(self, task: dict[str, Any]) -> dict[str, Any]:
        """Whatever an episode is here: the other methods get it back."""
        return {"word": task["payload"]["word"], "shouted": []}

    def reply(
        self, episode: dict[str, Any], message: dict[str, Any]
    ) -> list[dict[str, Any]] | None:
        """Answer the policy's turn: its calls, each by its id; None where the episode is over."""
        answers = []
        for call in message.get("tool_calls", ()):
            error = call["error"]
            text = ""
            if not error and call["name"] != "shout":
                error = f"there is no tool {call['name']!r}"
            if not error:
                try:
                    text = str(json.loads(call["arguments"])["text"]).upper()
                    episode["shouted"].append(text)
                except (ValueError, KeyError, TypeError) as wrong:
                    error = f"the arguments are no {{'text': ...}} ({wrong})"
            content = f"Error: {error}" if error else text
            answers.append(
                {"role": "tool", "tool_call_id": call["id"], "content": content, "error": error}
            )
        return answers or None

    def grade(self, episode: dict[str, Any], trajectory: dict[str, Any]) -> dict[str, Any]:
        """A reward, or an object with reward, passed, parts and reason."""
        word = episode["word"].upper()
        said = trajectory["reply"].strip() == word
        return {
            "reward": float(said),
            "passed": said,
            "parts": {"shouted": float(word in episode["shouted"])},
            "reason": "" if said else f"the word is {word}",
        }

    def close(self, episode: dict[str, Any]) -> None:
        """Free what the episode holds."""

    def save(self, episode: dict[str, Any]) -> bytes:
        """Optional, with `restore`: the episode after a turn."""
        return json.dumps(episode).encode()

    def restore(self, task: dict[str, Any], saved: bytes) -> dict[str, Any]:  # noqa: ARG002
        """The episode again, in another process."""
        episode: dict[str, Any] = json.loads(saved)
        return episode

    def gold(self, task: dict[str, Any]) -> list[Any]:
        """Optional: what a perfect policy says, a text or a message a turn; or a function of all
        observations so far that says the next."""
        word = task["payload"]["word"]
        call = {"id": "call00000", "name": "shout", "arguments": {"text": word}}
        return [{"role": "assistant", "content": "", "tool_calls": [call]}, word.upper()]
