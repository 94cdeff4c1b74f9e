"""What a server says, cut into lines and made into observations."""

from __future__ import annotations

import json
import random

import mcp_types as types

from munro.envs.mcp.links.lines import Cutter, TooLong, asked_by
from munro.envs.mcp.links.words import last_words
from munro.envs.mcp.results import MOST_CHARACTERS, text_of
from munro.envs.mcp.tools import plain


def result(*blocks, structured=None, is_error=False):
    return types.CallToolResult(content=[*blocks], structured_content=structured, is_error=is_error)


def text(said):
    return types.TextContent(text=said)


def test_lines_come_out_as_they_went_in_however_they_are_cut():
    rng = random.Random(0)
    lines = [bytes(rng.choices(b"ab", k=rng.randint(0, 40))) for _ in range(300)]
    stream = b"".join(line + b"\n" for line in lines)
    cutter, found = Cutter(most_bytes=20), []
    while stream:
        size = rng.randint(1, 50)
        found += cutter.take(stream[:size])
        stream = stream[size:]
    assert len(found) == len(lines)
    for line, one in zip(lines, found, strict=True):
        if len(line) <= 20:
            assert one == line
        else:
            assert isinstance(one, TooLong)
            assert (one.size, one.head, one.tail) == (len(line), line, line)


def test_of_a_long_line_only_its_ends_are_kept():
    cutter = Cutter(most_bytes=1000)
    (line,) = [*cutter.take(b"<" + b"x" * 5_000_000 + b">\n")]
    assert isinstance(line, TooLong)
    assert (line.head[:1], line.tail[-1:], line.size) == (b"<", b">", 5_000_002)
    assert len(line.head) + len(line.tail) <= 512


def test_a_long_line_answers_the_only_question_or_the_one_it_names():
    first = TooLong(b'{"jsonrpc":"2.0","id":3,"result":{"content"', b"xxx", 9)
    last = TooLong(b'{"jsonrpc":"2.0","result":{"content"', b'xx"}]},"id": "a-1"}', 9)
    assert asked_by(first, {3, 4}) == 3
    assert asked_by(last, {"a-1", 4}) == "a-1"
    assert asked_by(first, {7}) == 7
    assert asked_by(TooLong(b"x", b"x", 9), {1, 2}) is None


def test_structure_is_said_once():
    said = {"a": [1, 2]}
    assert text_of(result(text(json.dumps(said, indent=2)), structured=said))[0].count("a") == 1
    assert text_of(result(text("7"), structured={"result": "7"})) == ("7", "")
    assert text_of(result(text("[1]"), structured={"items": [1]})) == ("[1]", "")
    assert text_of(result(structured=said)) == ('{"a": [1, 2]}', "")
    assert text_of(result(text("see below"), structured=said))[0].splitlines()[1] == '{"a": [1, 2]}'


def test_what_is_no_text_is_a_line():
    image = types.ImageContent(data="AAEC", mime_type="image/png")
    inside = types.TextResourceContents(uri="file:///a.txt", text="inside")
    resource = types.EmbeddedResource(resource=inside)
    link = types.ResourceLink(name="a", uri="file:///a.txt")
    said, error = text_of(result(image, resource, link))
    assert said == "[image image/png, 3 bytes]\ninside\n[resource a, file:///a.txt]"
    assert not error


def test_errors_say_why_and_everything_is_bounded():
    assert text_of(result(text("no fig"), is_error=True)) == ("no fig", "no fig")
    assert text_of(result(is_error=True)) == ("Error: the tool failed", "the tool failed")
    assert text_of("unknown tool") == ("Error: unknown tool", "unknown tool")
    said, _ = text_of(result(text("a" * 10**7)))
    assert len(said) < MOST_CHARACTERS + 100


def test_names_can_be_called_by_any_family():
    assert plain("get-sum_2") == "get-sum_2"
    assert plain("files/read.text") == "files_read_text"
    assert plain("ü" * 100) == "_" * 64
    assert plain("") == "tool"


def test_the_last_words_are_those_that_tell():
    node = b"Error: Cannot find package 'a'\n    at resolve (node:internal)\n  code: 'E'\n}\n"
    assert last_words(node) == "Error: Cannot find package 'a'"
    assert last_words(b"bye\n\n") == "bye"
    assert last_words(b"") == ""
