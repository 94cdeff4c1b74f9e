"""Every family in every shape, and what others make of the same texts.

A difference to a peer has to stand here with its reason: what we read otherwise is decided, never
by chance.
"""

from __future__ import annotations

import json
import logging

import pytest

from munro.rollout.calls import FAMILIES, reader_of
from tests.rollout.calls.shapes import BASEL, BERN, SHAPES, TOOLS, written
from tests.rollout.families import FAMILIES as FORMS
from tests.rollout.families import template_of, tokenizer_of

GOOD = {"well": [BERN], "parallel": [BERN, BASEL]}
TABLE = [(family, shape) for family in FORMS for shape in SHAPES]

# the package `renderers`: what it reads where we do not, or the other way round
PACKAGE = {
    "hermes": "qwen3", "qwen_xml": "qwen3.5", "glm": "glm-4.5", "llama_json": "llama-3",
    "deepseek": "deepseek-v3", "kimi": "kimi-k2",
}  # fmt: skip
NOT_IN_PACKAGE = {
    "pythonic": "it has no such family",
    "mistral": "it has no such family",
    "harmony": "its reader fetches a vocabulary from the network",
}
PACKAGE_DIFFERS = {
    ("qwen_xml", "malformed"): "it carries out a call without the parameter that is not closed",
    ("glm", "thought"): "it carries out what stands in a thought that the turn opened itself",
    ("llama_json", "parallel"): "it reads one call a turn",
}
MORE_TOKENS = {"deepseek": ("<｜tool▁outputs▁begin｜>", "<｜tool▁outputs▁end｜>")}  # noqa: RUF001

VLLM = {
    "hermes": "hermes", "qwen_xml": "qwen3_coder", "glm": "glm45", "llama_json": "llama3_json",
    "pythonic": "pythonic", "mistral": "mistral", "deepseek": "deepseek_v3", "kimi": "kimi_k2",
}  # fmt: skip
NOT_IN_VLLM = {"harmony": "its parser for gpt-oss reads tokens of a vocabulary from the network"}
HALF = "it carries out what could be read of it"
RAW = "it hands arguments on that are no JSON"
VLLM_DIFFERS = {
    ("qwen_xml", "malformed"): HALF,
    ("qwen_xml", "unclosed"): HALF,
    ("glm", "malformed"): HALF,
    ("glm", "unclosed"): HALF,
    ("deepseek", "malformed"): RAW,
    ("kimi", "malformed"): RAW,
    ("kimi", "unclosed"): RAW,
}


def ours(family, shape):
    return reader_of(family).message(written(family, shape), turn=0, tools=TOOLS)


def given(calls):
    return [json.loads(call.arguments) for call in calls if not call.error]


def test_every_family_is_in_the_table():
    assert sorted(FORMS) == FAMILIES.names()
    assert len(FORMS) >= 9
    assert PACKAGE.keys() | NOT_IN_PACKAGE.keys() == VLLM.keys() | NOT_IN_VLLM.keys() == {*FORMS}


@pytest.mark.parametrize(("family", "shape"), TABLE)
def test_what_can_be_read_is_carried_out_and_what_cannot_is_answered(family, shape):
    turn = ours(family, shape)
    assert given(turn.tool_calls) == GOOD.get(shape, [])
    wrong = [call for call in turn.tool_calls if call.error]
    # a call that went wrong is never taken for a final answer
    assert len(wrong) == (shape in ("malformed", "unclosed"))
    if shape == "thought":
        assert turn.content == "It is sunny."


def in_package(family, shape):
    from renderers import ToolCallParseStatus, config_from_name, create_renderer

    tokenizer = tokenizer_of(family, template_of(family))
    tokenizer.add_tokens(list(MORE_TOKENS.get(family, ())), special_tokens=True)
    package = create_renderer(tokenizer, config_from_name(PACKAGE[family]))
    ids = tokenizer.encode(written(family, shape), add_special_tokens=False)
    read = package.parse_response(ids, tools=[dict(tool["function"]) for tool in TOOLS])
    return [call.arguments for call in read.tool_calls if call.status == ToolCallParseStatus.OK]


@pytest.mark.parametrize(("family", "shape"), [at for at in TABLE if at[0] in PACKAGE])
def test_the_package_reads_the_same(family, shape):
    alike = in_package(family, shape) == given(ours(family, shape).tool_calls)
    assert alike is ((family, shape) not in PACKAGE_DIFFERS), PACKAGE_DIFFERS.get((family, shape))


@pytest.mark.slow  # vLLM takes a quarter of a minute to import
@pytest.mark.filterwarnings("default")
def test_vllms_own_parsers_read_the_same():
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.tool_parsers import ToolParserManager

    logging.getLogger("vllm").setLevel("CRITICAL")  # it tells of each text that it cannot read
    asked = ChatCompletionRequest(
        model="m",
        messages=[{"role": "user", "content": "?"}],
        tools=[dict(tool) for tool in TOOLS],
    )
    unlike = set()
    for family, name in VLLM.items():
        parser = ToolParserManager.get_tool_parser(name)
        for shape in SHAPES:
            text = written(family, shape)
            if shape == "thought":  # its server parts thoughts off before
                text = reader_of(family).family.parted(text)[1]
            tokenizer = tokenizer_of(family, template_of(family))
            read = parser(tokenizer, asked.tools).extract_tool_calls(text, asked)
            told = [call.function.arguments for call in read.tool_calls]
            wanted = [call.arguments for call in ours(family, shape).tool_calls if not call.error]
            if told != wanted:
                unlike.add((family, shape))
    assert unlike == VLLM_DIFFERS.keys()
