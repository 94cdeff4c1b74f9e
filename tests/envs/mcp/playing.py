"""Episodes of tools by hand, for tests."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from munro.envs.mcp import McpTools
from munro.envs.types import Answer, Message, ToolCall
from munro.envs.world.source import composed
from munro.envs.worlds.rows import draw

BAD = Path(__file__).with_name("bad_server.py")
Call = tuple[str, dict[str, Any]]


def bad(*what: str, **more: Any) -> dict[str, Any]:
    """A server by command that does these things wrong."""
    return {"command": [sys.executable, "-I", "-S", str(BAD), *what], **more}


def rows_in(folder: Path, *rows: dict[str, Any]) -> str:
    """A file of rows."""
    file = folder / "rows.jsonl"
    written = rows or ({"prompt": "Say hi.", "answer": "hi"},)
    file.write_text("".join(json.dumps(row) + "\n" for row in written))
    return str(file)


def env_of(folder: Path, *rows: dict[str, Any], servers: Any, **args: Any) -> McpTools:
    """An environment on these rows, none of them held out."""
    args.setdefault("test_share", 0)
    return McpTools(rows_in(folder, *rows), servers, **args)


def turn(*calls: Call) -> Message:
    """A policy's turn that makes these calls."""
    made = tuple(
        ToolCall(id=f"call{number}", name=name, arguments=json.dumps(arguments))
        for number, (name, arguments) in enumerate(calls)
    )
    return Message(role="assistant", content="", tool_calls=made, is_sampled=True)


def answers(env: McpTools, *turns: Message) -> list[Sequence[Answer]]:
    """What each turn of one episode of the first task is answered."""

    async def play() -> list[Any]:
        episode = await env.start(next(iter(env.tasks("train"))))
        try:
            return [await episode.reply(message) for message in turns]
        finally:
            await episode.close()

    return asyncio.run(play())


def called(env: McpTools, name: str, **arguments: Any) -> Answer:
    """What one call is answered."""
    ((answer,),) = answers(env, turn((name, arguments)))
    return answer


def prices(folder: Path) -> dict[str, Any]:
    """Arguments of an environment over the stall: what things cost, and what is in boxes."""
    rows = draw(composed(["stall"]), seed="serve/0", size=1.0)
    asked: list[dict[str, Any]] = []
    for thing in rows["stall.thing"]:
        call = {"name": "price", "arguments": {"name": thing["name"]}}
        prompt = f"What does {thing['name']} cost?"
        asked.append({"prompt": prompt, "answer": str(thing["price"]), "calls": [call]})
    for box in rows["stall.box"]:
        call = {"name": "box", "arguments": {"id": box["id"]}}
        asked.append(
            {"prompt": f"What is in box {box['id']}?", "answer": box["thing"], "calls": [call]}
        )
    servers = {"stall": {"object": "tests.envs.mcp.objects:stall"}}
    return {"path": rows_in(folder, *asked), "servers": servers, "test_share": 0.4}
