"""What the console writes, on a terminal and into a log file."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys

import pytest
from rich.console import Console as Terminal

from munro.machine.run.console import Console, Summary, duration, printable

SUMMARY = Summary(run="stem", model="tiny", env="arithmetic", engine="vllm", entropy_target=0.3)
METRICS = {
    "pass_rate/sampled": 0.25,
    "eval/pass_rate": 0.5,
    "reward/total": 0.75,
    "policy/entropy": 0.31,
    "policy/k": 0.25,
    "response/length": 24.0,
    "speed/rollout_tokens_per_s": 1234.5,
    "staleness/mean": 1.0,
    "time/step": 2.0,
    "groups/abandoned/too_hard_early": 3,
    "event": ["length cap 64 -> 128"],
}


def plain(width=80):
    out = io.StringIO()
    return Terminal(file=out, width=width), out


def test_without_a_terminal_every_step_is_one_plain_line():
    terminal, out = plain()
    with Console(SUMMARY, 10, terminal=terminal) as console:
        assert not console.is_live
        console.phase("sampling", 96, 256)
        console.step(1, METRICS)
        console.step(2, {"pass_rate/sampled": 0.5})
        console.note("resumed from step 0")
    assert out.getvalue().splitlines() == [
        "stem: tiny on arithmetic (vllm)",
        "step 1/10  pass rate 0.250  held-out 0.500  reward 0.750  entropy 0.310 (target 0.3)  "
        "k 0.25  length 24.0  tok/s 1,234  staleness 1.0  s/step 2.00  18s left",
        "step 2/10  pass rate 0.500  16s left",
        "resumed from step 0",
    ]


def test_a_controller_that_can_do_nothing_is_said_so_once_and_shows_no_k():
    terminal, out = plain()
    still = {"policy/k": 2.5, "clip/low": 0.0, "clip/high": 0.0}
    with Console(SUMMARY, 20, terminal=terminal) as console:
        for step in range(1, 13):
            console.step(step, still)
        console.step(13, still | {"clip/high": 0.01})
    lines = out.getvalue().splitlines()[1:]
    assert [line for line in lines if "idle: in 10 steps no ratio reached the clip" in line] == [
        lines[10]
    ]
    assert lines[8].endswith("k 2.50")
    assert lines[9].endswith("k idle")
    assert lines[-1].endswith("k 2.50")


def test_pretraining_writes_some_twenty_lines_however_long_it_is():
    terminal, out = plain()
    with Console(SUMMARY, 10, terminal=terminal) as console:
        for step in range(1, 1301):
            console.pretrain(step, 1300, 3.0)
    lines = out.getvalue().splitlines()[1:]
    assert len(lines) == 20
    assert lines[-1] == "base model  step 1300/1300  loss 3.000"


def test_a_terminal_shows_the_table_with_charts_phase_and_what_was_given_up():
    out = io.StringIO()
    terminal = Terminal(file=out, width=100, force_terminal=True, color_system=None)
    with Console(SUMMARY, 10, terminal=terminal) as console:
        assert console.is_live
        console.step(1, METRICS)
        console.step(2, METRICS | {"pass_rate/sampled": 1.0})
        console.phase("sampling", 96, 256)
        terminal.print(console._render())
        shown = out.getvalue()
    for text in ("2/10", "1.000  ▃█", "0.310 (target 0.3)", "too hard early 6", "sampling 96/256"):
        assert text in shown


def test_steps_without_numbers_are_shown_without_them():
    terminal, out = plain()
    with Console(SUMMARY, 3, terminal=terminal) as console:
        console.step(3, {"policy/entropy": None})
    assert out.getvalue().splitlines()[1:] == ["step 3/3"]


def test_text_can_neither_steer_the_terminal_nor_be_markup():
    terminal, out = plain()
    with Console(SUMMARY, 1, terminal=terminal) as console:
        console.note("[bold]a[/bold] \x1b]0;owned\x07\x1b[2J \r\nb [/nothing]")
    assert out.getvalue().splitlines()[1:] == ["[bold]a[/bold]  ]0;owned  [2J   b [/nothing]"]
    assert printable("é 山 \x9b31m") == "é 山  31m"


LIVE = """
import sys
from munro.machine.run.console import Console, Summary
with Console(Summary(run="r", model="m", env="e", engine="v"), 5) as console:
    assert console.is_live
    console.step(1, {"pass_rate/sampled": 0.5})
    raise KeyboardInterrupt
"""


def test_an_interrupted_run_gives_the_terminal_its_cursor_back():
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "30"}
    child = subprocess.Popen(
        [sys.executable, "-c", LIVE], stdout=theirs, stderr=subprocess.DEVNULL, env=environment
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other side of a pty is gone
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert child.wait() != 0
    hidden, restored = shown.rfind(b"\x1b[?25l"), shown.rfind(b"\x1b[?25h")
    assert 0 <= hidden < restored


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0s"), (59.6, "1m 00s"), (3725, "1h 02m"), (90_000, "1d 01h")]
)
def test_durations_read_as_people_say_them(seconds, said):
    assert duration(seconds) == said
