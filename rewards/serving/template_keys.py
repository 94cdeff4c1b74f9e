"""What a chat template can be told beside the conversation, such as `enable_thinking`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

GIVEN = frozenset(
    {
        "messages", "tools", "documents", "add_generation_prompt", "continue_final_message",
        "raise_exception", "strftime_now", "chat_template", "conversation", "conversations",
        "tokenize", "padding", "truncation", "max_length", "return_tensors", "return_dict",
        "return_assistant_tokens_mask", "tokenizer_kwargs", "processor_kwargs",
    }
)  # fmt: skip
"""Names that are not a person's to give: the conversation, and how it is rendered."""
# a mark that transformers adds to the language, which changes no text
GENERATION = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")


def keys_of(template: str) -> tuple[frozenset[str], tuple[str, ...]]:
    """The names that a template reads from outside.

    Returns:
        All that it might read, and those of them that are surely meant to be given.

    Raises:
        ValueError: it is no template.
    """
    from jinja2 import Environment, TemplateError, meta, nodes

    environment = Environment(extensions=["jinja2.ext.loopcontrols"])
    try:
        tree = environment.parse(GENERATION.sub("", template))
    except TemplateError as error:
        raise ValueError(str(error)) from error
    read = meta.find_undeclared_variables(tree) - {*environment.globals} - GIVEN
    read = {name for name in read if not name.endswith("_token")}
    written = {name.name for name in tree.find_all(nodes.Name) if name.ctx != "load"}
    asked = {
        test.node.name
        for test in tree.find_all(nodes.Test)
        if test.name in ("defined", "undefined") and isinstance(test.node, nodes.Name)
    }
    return frozenset(read), tuple(sorted(read & asked | read - written))


def refusal(key: str, args: Mapping[str, Any], templates: Iterable[str], whose: str) -> str:
    """Why a template cannot be told these things; empty where it can.

    Args:
        key: under which they stand, as in "rollout.template_args".
        args: by name.
        templates: the model's, most have one.
        whose: the template, for a person.

    Example:
        refusal("rollout.template_args", {"thinking": False}, ["{{ messages }}"], "the template")
    """
    if theirs := sorted(GIVEN & args.keys()):
        return f"{key}.{theirs[0]} is not yours to give: Munro gives it itself."
    if not args:
        return ""
    known, meant = set[str](), set[str]()
    for template in templates:
        try:
            read, named = keys_of(template)
        except ValueError as error:
            return f"{key}: {whose} cannot be read: {error}."
        known |= read
        meant |= {*named}
    if unused := [name for name in args if name not in known]:
        takes = f"it takes {', '.join(sorted(meant))}" if meant else "it takes nothing of the kind"
        return f"{key}.{unused[0]}: {whose} does not use it; {takes}."
    return ""


def templates_in(folder: Path) -> list[str]:
    """The chat templates of a checkpoint's folder; none where it has none that can be read."""
    files = [folder / "chat_template.jinja", *sorted(folder.glob("additional_chat_templates/*"))]
    if found := [file.read_text(encoding="utf-8") for file in files if file.is_file()]:
        return found
    try:
        text = (folder / "tokenizer_config.json").read_text(encoding="utf-8")
        told = json.loads(text).get("chat_template")
    except (OSError, ValueError, AttributeError):
        return []
    return texts_of(told)


def texts_of(told: Any) -> list[str]:
    """The templates that a tokenizer has, whatever it keeps them in."""
    if isinstance(told, str):
        return [told]
    if isinstance(told, Mapping):
        return [str(text) for text in told.values()]
    many = told if isinstance(told, list) else []
    return [str(one["template"]) for one in many if isinstance(one, Mapping) and "template" in one]
