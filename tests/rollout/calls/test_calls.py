"""Calls are read in the form of the model's family, and in no other one silently."""

# ruff: noqa: RUF001 - DeepSeek's tokens as they were published

from __future__ import annotations

import json
import time
from types import SimpleNamespace

import pytest

from munro.envs import Message, ToolUse, tool
from munro.envs.types import ToolCall
from munro.rewards.plugins import BadPlugin
from munro.rollout.calls import FAMILIES, reader_of
from munro.rollout.config import RolloutConfig

WEATHER = {"city": "Bern", "days": 2}
TOOLS = (
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            },
        },
    },
)
J = json.dumps(WEATHER)
# one call as each family writes it, and what of its chat template tells it from others
WRITTEN = {
    "hermes": f'<tool_call>\n{{"name": "weather", "arguments": {J}}}\n</tool_call>',
    "qwen_xml": (
        "<tool_call>\n<function=weather>\n<parameter=city>\nBern\n</parameter>\n"
        "<parameter=days>\n2\n</parameter>\n</function>\n</tool_call>"
    ),
    "glm": (
        "<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>Bern</arg_value>\n"
        "<arg_key>days</arg_key>\n<arg_value>2</arg_value>\n</tool_call>"
    ),
    "llama_json": f'{{"name": "weather", "parameters": {J}}}',
    "mistral": f'[TOOL_CALLS] [{{"name": "weather", "arguments": {J}}}]',
    "pythonic": '[weather(city="Bern", days=2)]',
    "deepseek": (
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n"
        f"{J}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
    ),
    "kimi": (
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.weather:0"
        f"<|tool_call_argument_begin|>{J}<|tool_call_end|><|tool_calls_section_end|>"
    ),
    "harmony": f"<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{J}",
}
ALSO = {
    "llama_json": f'<|python_tag|>{{"name": "weather", "parameters": {J}}}',
    "mistral": f"[TOOL_CALLS]weather[CALL_ID]aB3[ARGS]{J}",
    "deepseek": f"<｜tool▁call▁begin｜>weather<｜tool▁sep｜>{J}<｜tool▁call▁end｜>",
    "pythonic": "<function_calls>\nweather(city='Bern', days=2)\n</function_calls>",
    "qwen_xml": "<function=weather>\n<parameter=city>\nBern\n</parameter>\n<parameter=days>2"
    "</parameter>\n</function>",
}
TEMPLATES = {
    "hermes": "... return <tool_call>{json}</tool_call>",
    "qwen_xml": "<tool_call>\n<function=f>\n<parameter=p>",
    "glm": "<tool_call>{name}<arg_key>k</arg_key><arg_value>v</arg_value>",
    "llama_json": '{"name": function name, "parameters": dictionary of argument name and value}',
    "mistral": "{{ '[TOOL_CALLS] [' }}",
    "pythonic": "[func_name1(param1=value1, param2=value2), func_name2(...)]",
    "deepseek": "<｜tool▁call▁begin｜>...<｜tool▁sep｜>",
    "kimi": "<|tool_call_begin|>...<|tool_call_argument_begin|>",
    "harmony": "<|start|>assistant to=' + 'functions.f<|channel|>commentary<|message|>",
}


def with_template(text):
    return SimpleNamespace(chat_template=text)


def test_every_family_is_one_file_and_all_are_tried_here():
    assert FAMILIES.names() == sorted(WRITTEN) == sorted(TEMPLATES)
    assert all(line for _, line in FAMILIES.described())


@pytest.mark.parametrize("family", WRITTEN)
def test_the_template_says_which_family_it_is(family):
    reader = reader_of("auto", with_template(TEMPLATES[family]))
    assert type(reader.family) is FAMILIES.find(family)
    assert reader.is_sure


@pytest.mark.parametrize(
    ("family", "text"), [*WRITTEN.items(), *ALSO.items()], ids=[*WRITTEN, *(f"{f}2" for f in ALSO)]
)
def test_each_family_reads_its_own_calls(family, text):
    for name, tokenizer in ((family, None), ("auto", None)):
        (call,) = reader_of(name, tokenizer).read(text, turn=3, tools=TOOLS)
        assert (call.name, json.loads(call.arguments), call.error) == ("weather", WEATHER, "")
        assert call.id == ("functions.weather:0" if family == "kimi" else "call00300")


@pytest.mark.parametrize("family", WRITTEN)
@pytest.mark.parametrize("other", WRITTEN)
def test_a_call_in_another_familys_form_is_answered_with_the_right_one(family, other):
    if family == other:
        return
    calls = reader_of(family).read(WRITTEN[other], turn=0, tools=TOOLS)
    assert [call.name for call in calls] == [""]
    assert calls[0].error.endswith(f"a call is written {reader_of(family).family.form}")
    assert FAMILIES.find(other).name in calls[0].error


@pytest.mark.parametrize("family", WRITTEN)
def test_what_is_thought_is_no_call(family):
    reader = reader_of(family)
    for thought in (
        f"<think>I could {WRITTEN[family]}</think>It is sunny.",
        f"I could {WRITTEN[family]}</think>It is sunny.",
        f"<think>I could {WRITTEN[family]}",
    ):
        assert reader.read(thought, turn=0, tools=TOOLS) == ()
    told = f"<think>{WRITTEN[family]}</think>{WRITTEN[family]}"
    assert len(reader.read(told, turn=0, tools=TOOLS)) == 1


@pytest.mark.parametrize(
    ("family", "thought"),
    [
        ("mistral", f"[THINK]{WRITTEN['mistral']}[/THINK]It is sunny."),
        ("harmony", f"<|channel|>analysis<|message|>{WRITTEN['harmony']}<|end|>It is sunny."),
    ],
)
def test_a_familys_own_marks_of_thought_hold(family, thought):
    assert reader_of(family).read(thought, turn=0, tools=TOOLS) == ()


@pytest.mark.parametrize("family", ["auto", *WRITTEN])
def test_an_answer_is_no_call(family):
    for answer in ("42", "It is `<tool_call>` that one writes.", '{"name": "Bern"}', "[1, 2]", ""):
        assert reader_of(family).read(answer, turn=0, tools=TOOLS) == ()


@pytest.mark.parametrize(
    ("family", "text"),
    [
        ("hermes", '<tool_call>{"name": "weather"'),
        ("hermes", "<tool_call>{weather}</tool_call>"),
        ("qwen_xml", "<function=weather><parameter=city>Bern"),
        ("qwen_xml", "<function=weather><parameter=city>Bern</function>"),
        ("glm", "<tool_call>weather<arg_key>city</arg_key></tool_call>"),
        ("llama_json", '<|python_tag|>weather.call(city="Bern")'),
        ("mistral", "[TOOL_CALLS] weather"),
        ("mistral", "[TOOL_CALLS] []"),
        ("mistral", '[TOOL_CALLS][{"name": "weather", "arguments": NaN}]'),
        ("deepseek", "<｜tool▁call▁begin｜>weather<｜tool▁sep｜>{<｜tool▁call▁end｜>"),
        ("kimi", "<|tool_call_begin|>functions.weather:0"),
        ("harmony", "to=functions.weather<|message|>Bern"),
        ("pythonic", "[weather(city="),
        ("pythonic", '[weather("Bern")]'),
        ("pythonic", '[weather(city="Bern", city="Basel")]'),
        ("pythonic", "<function_calls>\nweather(days=2)"),
        ("pythonic", "<function_calls>days = 2</function_calls>"),
        ("hermes", '<tool_call>{"name": "\\ud800", "arguments": {}}</tool_call>'),
        ("llama_json", '{"name": "weather", "parameters": {"city": "\\udc00"}}'),
        ("hermes", "<tool_call>" + "[" * 100_000 + "</tool_call>"),
    ],
)
def test_a_call_that_cannot_be_read_says_what_is_wrong(family, text):
    (call,) = reader_of(family).read(text, turn=0, tools=TOOLS)
    assert call.name == ""
    assert call.error


@pytest.mark.parametrize(
    "value",
    [
        "__import__('os').system('x')",
        "f'{days}'",
        "b'x'",
        "lambda: 1",
        "[day for day in week]",
        "1 + 1",
        "1 if True else 2",
        "week[0]",
        "f()()",
        "(day := 2)",
        "{**week}",
        "...",
        "1j",
        "-" * 50_000 + "1",
        "[" * 50_000,
        "(" * 40 + ")" * 40,
        "9" * 5_000,
        "not " * 20_000 + "1",
        "lambda:" * 10_000 + "1",
        "a." * 40_000 + "a",
    ],
    ids=lambda value: value[:20],
)
def test_what_is_no_literal_is_no_call(value):
    (call,) = reader_of("pythonic").read(f"[weather(days={value})]", turn=0, tools=TOOLS)
    assert call.name == ""
    assert "a call is written" in call.error or "it is written" in call.error
    assert len(call.error) < 300


def test_literals_are_read_as_json_has_them():
    text = "[weather(city='B\\'n\\n', days=-2, more=[1, 2.5e3, None, true, {'a': ()}])]"
    (call,) = reader_of("pythonic").read(text, turn=0, tools=TOOLS)
    more = [1, 2500.0, None, True, {"a": []}]
    assert json.loads(call.arguments) == {"city": "B'n\n", "days": -2, "more": more}


def test_a_list_in_an_answer_is_no_call():
    for answer in ("[sin(x), cos(x)]", "[f(x) = 3]", "[weather] (see above)", "So [weather(a=1)]"):
        assert reader_of("pythonic").read(answer, turn=0, tools=TOOLS) == ()
        assert reader_of("hermes").read(answer, turn=0, tools=TOOLS) == ()


@pytest.mark.parametrize("family", WRITTEN)
def test_what_is_thought_called_and_said_are_told_apart(family):
    reader = reader_of(family)
    before = "" if family in ("llama_json", "pythonic") else "Let me look.\n"
    text = f"<think>\nBern, surely.\n</think>\n\n{before}{WRITTEN[family]}"
    turn = reader.message(text, turn=2, tools=TOOLS)
    assert (turn.reasoning, turn.content) == ("Bern, surely.", before.strip())
    assert [call.name for call in turn.tool_calls] == ["weather"]
    assert (turn.raw, turn.text, turn.is_sampled, turn.role) == (text, text, True, "assistant")


@pytest.mark.parametrize("family", WRITTEN)
def test_an_answer_stays_as_it_is(family):
    turn = reader_of(family).message(" It is sunny.\n", turn=0, tools=TOOLS)
    assert (turn.content, turn.reasoning, turn.tool_calls) == (" It is sunny.\n", "", ())


def test_harmonys_channels_are_thought_call_and_answer():
    reader = reader_of("harmony")
    text = "<|channel|>analysis<|message|>Bern?<|end|><|start|>assistant<|channel|>"
    turn = reader.message(f"{text}final<|message|>It is sunny.", turn=0)
    assert (turn.reasoning, turn.content) == ("Bern?", "It is sunny.")
    said = (
        f"{text}commentary<|message|>I look.<|end|><|start|>assistant{WRITTEN['harmony']}<|call|>"
    )
    turn = reader.message(said, turn=0)
    assert (turn.reasoning, turn.content) == ("Bern?", "I look.")
    assert [call.name for call in turn.tool_calls] == ["weather"]


@pytest.mark.parametrize("family", WRITTEN)
def test_what_a_family_writes_it_reads_again(family):
    reader = reader_of(family)
    texts = ("Bern", 'a "quoted"\nline', "it's {ok} <b>", "é")
    first = [ToolCall(id="", name="weather", arguments=json.dumps({"city": t})) for t in texts]
    first.append(ToolCall(id="", name="weather", arguments='{"days": 2}'))
    read = reader.read(reader.family.written(first), turn=0, tools=TOOLS)
    assert [json.loads(call.arguments) for call in read] == [
        json.loads(call.arguments) for call in first
    ]
    assert {call.name for call in read} == {"weather"}


@pytest.mark.parametrize("family", WRITTEN)
def test_a_turn_of_another_family_is_written_in_ones_own_form(family):
    reader = reader_of(family)
    call = ToolCall(id="c", name="weather", arguments=json.dumps(WEATHER))
    for content, reasoning in (("", ""), ("I look.", ""), ("I look.", "Bern?"), ("", "Bern?")):
        turn = Message(
            role="assistant", content=content, reasoning=reasoning, tool_calls=(call, call)
        )
        again = reader.message(reader.family.turn(turn), turn=0, tools=TOOLS)
        assert (again.content, again.reasoning) == (content, reasoning)
        assert [json.loads(one.arguments) for one in again.tool_calls] == [WEATHER, WEATHER]


def test_several_calls_keep_their_order_and_their_ids():
    two = f'{WRITTEN["llama_json"]}; {{"name": "time", "parameters": {{}}}}'
    first, second = reader_of("llama_json").read(two, turn=12)
    assert [(call.id, call.name) for call in (first, second)] == [
        ("call01200", "weather"),
        ("call01201", "time"),
    ]


@pytest.mark.parametrize("family", WRITTEN)
def test_hostile_texts_are_read_in_linear_time(family):
    reader = reader_of(family)
    pieces = [
        "<tool_call>",
        "<function=f>",
        "<parameter=p>",
        "<arg_key>",
        "[TOOL_CALLS]",
        "<think>",
    ]
    pieces += [
        "<｜tool▁call▁begin｜>",
        "<|tool_call_begin|>",
        "to=functions.f",
        '{"name":',
        "</think>",
        "<function_calls>",
        "[f(x='a', ",
        "<|channel|>analysis<|message|>",
    ]

    def spent(times):
        began = time.process_time()
        for piece in [*pieces, "".join(pieces)]:
            reader.read(piece * times, turn=0, tools=TOOLS)
        return time.process_time() - began

    # a quadratic reader takes a hundred times as long; noise does not
    small, large = max(spent(500), 0.02), spent(5_000)
    assert large < 50 * small


class Forecast(ToolUse):
    """Any family's call reaches the tool; a foreign one is an observation."""

    def tasks(self, split):
        return []

    @tool
    def weather(self, city: str, days: int) -> str:
        """The weather of some days."""
        return f"{city}: {days} sunny days"

    def grade(self, task, reply, state):
        return True


async def test_what_the_family_read_is_what_the_environment_carries_out():
    episode = Forecast().start(None)
    reader = reader_of("qwen_xml")

    async def answered(text):
        calls = reader.read(text, turn=0, tools=TOOLS)
        turn = Message(role="assistant", content=text, tool_calls=calls, is_sampled=True)
        return await episode.reply(turn)

    (good,) = await answered(WRITTEN["qwen_xml"])
    assert (good.content, good.tool_call_id) == ("Bern: 2 sunny days", "call00000")
    (bad,) = await answered(WRITTEN["mistral"])
    assert bad.content.startswith("Error: this is a call in the form of Mistral")
    assert await answered(f"<think>{WRITTEN['qwen_xml']}</think>Sunny.") is None
    # texts that no model wrote, gold replies among them, are read as Hermes
    gold = Message(role="assistant", content=f"<think>x</think>{WRITTEN['hermes']}")
    assert len(await episode.reply(gold)) == 1
    thought = Message(role="assistant", content=f"<think>{WRITTEN['hermes']}</think>done")
    assert await episode.reply(thought) is None


def test_a_family_of_ones_own_is_a_file(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from munro.rollout.calls import Family, call\n\n\n"
        "class Mine(Family):\n"
        "    name, signs, form = 'mine', ('CALL ',), 'CALL name'\n\n"
        "    def parse(self, text, tools):\n"
        "        _, called, name = text.partition('CALL ')\n"
        "        return [call(name, {}, self.form)] if called else []\n"
    )
    config = RolloutConfig(calls=str(file))
    (call,) = reader_of(config.calls).read("CALL weather", turn=0)
    assert call.name == "weather"


def test_a_family_that_nobody_knows_is_refused_by_the_config():
    with pytest.raises(BadPlugin, match=r"no family of calls 'hermez'.*'hermes'"):
        reader_of("hermez")
    with pytest.raises(ValueError, match=r"no family of calls 'hermez'.*'hermes'"):
        RolloutConfig(calls="hermez")
