"""The page in a real browser: two runs, a group, its tokens; nothing that a model wrote happens."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from munro.rollout.store.store import RolloutStore
from tests.builders import make_attempt, make_group, make_task, make_trajectory
from tests.machine.builders import make_run
from tests.machine.watch.watching import make_watched, served

CHROMIUM = Path("/usr/bin/chromium")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no {CHROMIUM}"),
]

STEERING = "\u202e\u202c\u2066\u2069\u200b\ufeff\U000e0041\u061c\x00\x1b"
ATTACKS = (
    "</pre></script><script>window.owned = 1</script>",
    '<img src=x onerror="window.owned = 2"><svg onload="window.owned = 3">',
    "\u202etxt.exe\u202c \u2066hidden\u2069 \u200b\ufeff \U000e0041 \u061c",
    "javascript:window.owned=4 {{constructor.constructor('window.owned=5')()}} \x00\x1b[31m",
)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.troubles = []
    page.on("pageerror", lambda error: page.troubles.append(str(error)))
    page.on("dialog", lambda dialog: page.troubles.append(dialog.message))
    yield page
    assert page.troubles == []
    page.close()


def test_two_runs_over_each_other_and_one_alone(page, tmp_path):
    paths = [make_watched(tmp_path / name).path for name in ("one", "two")]
    with served(*paths) as server:
        page.goto(server.url)
        page.wait_for_selector("#climb svg")
        assert page.title() == "2 runs: munro watch"
        names = page.locator("#climb text.label").all_text_contents()
        assert names[:2] == ["one", "two"]
        assert len(set(page.eval_on_selector_all("#climb path.curve", TONES))) == 2
        page.hover("#climb .chart", position={"x": 500, "y": 90})
        tip = page.locator("#climb .tip").inner_text()
        assert re.search(r"step \d+", tip)
        assert "one: training" in tip
        assert "two: training" in tip
        page.get_by_label("one").uncheck()
        page.wait_for_function("!document.querySelector('#climb text.label.run')")
        assert page.locator("#climb text.label").all_text_contents()[:2] == ["training", "held-out"]


TONES = "all => all.map(one => getComputedStyle(one).stroke)"


def test_new_steps_appear_by_themselves_and_only_they_are_sent(page, tmp_path):
    run = make_run(tmp_path / "one", num_steps=16)
    with served(run.path) as server:
        page.goto(server.url)
        page.wait_for_selector("#climb svg")
        sizes = []
        page.on("response", lambda said: sizes.append(len(said.body())))
        run.metrics.append(17, {"pass_rate/sampled": 0.5, "response/length": 9.0})
        RolloutStore(run.rollouts).write(17, [make_group()], [[1.0, -1.0]])
        page.wait_for_selector("text=step 17")
        page.wait_for_selector("#attempts .attempt:has-text('17')")
        assert max(sizes) < 20_000
        # what it had, it did not get again
        assert min(sizes) < 4000


def test_a_group_side_by_side_and_its_tokens_by_name(page, tmp_path, monkeypatch):
    run = make_watched(tmp_path / "one")
    monkeypatch.setattr(
        "munro.machine.watch.watched.tokenizer_of",
        lambda run, model: lambda ids: "".join(f" {'abcdefghij'[each]}" for each in ids),
    )
    with served(run.path) as server:
        page.goto(server.url)
        page.click("#attempts .attempt:nth-child(2) button")
        page.wait_for_selector(".side article:nth-child(2) .parts")
        # the one that was clicked, beside one of the other verdict
        heads = page.locator(".side h4").all_inner_texts()
        assert [head.split(" tokens")[0] for head in heads] == [
            "attempt 1: failed",
            "attempt 0: passed",
        ]
        page.click(".members button:has-text('4:')")
        page.wait_for_selector(".side article:nth-child(3) .parts")
        page.click(".members button:has-text('0:')")
        assert page.locator(".side article").count() == 2
        page.click(".side article h4 button")
        page.wait_for_selector(".tokens .own")
        assert page.locator(".tokens").inner_text().split() == list("bcdefgh")
        assert page.locator(".tokens .own").count() == 3
        page.hover(".tokens .own")
        assert "sampled with probability 0.607" in page.locator(".told").inner_text()
        options = page.locator(".shade option").all_inner_texts()
        assert options[0] == "surprise"
        assert "ratio (not stored)" in options
        assert "munro replay" in page.locator(".side .note").inner_text()
        page.select_option("#attempts select[aria-label=Which]", "dropped")
        page.wait_for_selector("#attempts .attempt:has-text('too hard')")
        page.click("#given .attempt button")
        page.wait_for_selector("#group:has-text('given up: too hard')")


def test_nothing_that_a_model_wrote_happens(page, tmp_path):
    run = make_watched(tmp_path / "one<img src=x onerror='window.owned=9'>")
    attempts = tuple(
        make_attempt(float(at % 2), trajectory=make_trajectory(reply=attack, messages=()))
        for at, attack in enumerate(ATTACKS)
    )
    task = make_task(f"task {ATTACKS[1]}", prompt="".join(ATTACKS), env=f"env{ATTACKS[0]}")
    group = make_group(index=1000, task=task, attempts=attempts)
    RolloutStore(run.rollouts).write(41, [group], [[0.0] * 4])
    run.metrics.append(41, {"pass_rate/sampled": 0.5, "event": [f"event {ATTACKS[1]}"]})
    with served(run.path) as server:
        page.goto(server.url)
        page.wait_for_selector("#climb svg")
        page.wait_for_selector("#attempts .attempt:has-text('task <img')")
        page.click("#attempts .attempt button")
        for number in range(2, 4):
            page.click(f".members button:nth-child({number + 1})")
        page.wait_for_selector(".side article:nth-child(4) .parts")
        for button in page.locator(".side h4 button").all():
            button.click()
        page.wait_for_selector(".side article:nth-child(4) .tokens .own")
        for button in page.locator(".side h4 button").all():
            button.click()
        page.hover("#climb .chart", position={"x": 970, "y": 90})
        page.fill("#attempts input[type=search]", "<script>")
        page.wait_for_selector("#attempts .count:has-text('in the newest')")
        text = page.locator("body").inner_text()
        for attack in (ATTACKS[0], ATTACKS[1]):
            assert attack in text
        # what would turn the text around or hide in it is shown by its number
        numbers = re.findall(r"U\+[0-9A-F]{4,}", text)
        assert {f"U+{ord(letter):04X}" for letter in STEERING} <= {*numbers}
        assert not set(STEERING) & set(text)
        assert page.evaluate("window.owned") is None
        assert page.locator("img").count() == 0
        # our six files, and nothing that was put in
        assert page.locator("script").count() == 6
        # and had it got in as markup, the browser would not have run it
        refused = page.evaluate(
            "(() => { try { document.body.innerHTML = '<b>x</b>'; return ''; }"
            " catch (error) { return error.name; } })()"
        )
        assert refused == "TypeError"


@contextmanager
def watching(path: Path, port: int):
    """The command itself, killed at the end; the address of its page."""
    code = "from munro.machine.cli.main import main; main()"
    words = [sys.executable, "-c", code, "watch", str(path), "--port", str(port)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            said = process.stdout.readline()
            yield re.search(r"http://\S+", said)[0]
        finally:
            process.kill()


def test_a_connection_that_is_lost_is_told_and_comes_back(page, tmp_path):
    run = make_run(tmp_path / "one", num_steps=16)
    with watching(run.path, 0) as url:
        page.goto(url)
        page.wait_for_selector("#live:has-text('live')")
        page.wait_for_selector("#climb svg")
    page.wait_for_selector("#live.lost:has-text('no connection since')")
    assert page.locator("#climb path.curve").count() > 0
    page.select_option("#attempts select[aria-label=Verdict]", "failed")
    page.wait_for_selector("#attempts .count:has-text('no connection')")
    run.metrics.append(17, {"pass_rate/sampled": 0.25})
    with watching(run.path, int(url.rstrip("/").rpartition(":")[2])):
        page.wait_for_selector("#live:not(.lost)")
        page.wait_for_selector("text=step 17")


def test_the_report_draws_with_the_same_engine(page, tmp_path):
    from munro.machine.report.report import write_report

    run = make_watched(tmp_path / "one")
    page.goto(f"file://{write_report(run.path)}")
    page.wait_for_selector("#climb svg")
    assert page.locator("#climb text.label").all_text_contents()[:2] == ["training", "held-out"]
    assert page.locator("#climb path.raw").count() > 0
    page.hover("#climb .chart", position={"x": 500, "y": 90})
    assert "training" in page.locator("#climb .tip").inner_text()
    page.click("#rollouts .attempt button")
    assert page.locator("#rollouts .detail pre").count() == 2
