"""The page in a real browser: keys alone, a reload, a kill, hostile and long and right-to-left."""

from __future__ import annotations

import shutil
import threading
import time

import pytest

from munro.evaluation.sides.journal import clicks_of
from munro.evaluation.sides.ratings import read_ratings
from munro.evaluation.sides.study import CLICKS, Asked
from tests.evaluation.sides.serving import Served
from tests.evaluation.sides.studies import study

CHROMIUM = shutil.which("chromium")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
HOSTILE = [
    "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">",
    "ж" * 1_000_000,
    "שלום \u202eolleh\u202c עולם",
    "plain",
]


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    with sync_api.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture
def served(tmp_path):
    folder = study(tmp_path, 4, a=HOSTILE, criteria=("is right",))
    served = Served(folder)
    yield served, folder
    if served.process.poll() is None:
        served.kill()


def expect(locator):
    from playwright.sync_api import expect as expected

    return expected(locator)


def answer(page, key: str) -> None:
    """One pair by keys alone: a grade on each side, the preference, Enter."""
    done, _, total = page.locator("#progress").text_content().split()
    for side in ("left", "right"):
        page.locator(f'input[name="{side}/is right"]').first.focus()
        page.keyboard.press("ArrowRight")
    page.keyboard.press(key)
    expect(page.locator("#next")).to_be_enabled()
    page.keyboard.press("Enter")
    if done == total:
        page.wait_for_selector("text=That was the last one")
    else:
        expect(page.locator("#progress")).to_have_text(f"{int(done) + 1} of {total}")


def test_a_rater_goes_through_it_by_keys_alone(browser, served):
    server, folder = served
    page = browser.new_page()
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.goto(server.links["r1"])
    for number in range(4):
        expect(page.locator("#progress")).to_have_text(f"{number + 1} of 4")
        texts = page.locator(".sides .text").all_text_contents()
        for text in texts:
            if text.startswith("ж"):
                assert len(text) == 40_000
                page.get_by_role("button", name="960,000 characters are left").click()
                page.get_by_role("button", name="920,000 characters are left").wait_for()
        if number == 1:  # half of a pair, and a reload: what was chosen is there
            page.keyboard.press("2")
            expect(page.locator("#state")).to_have_text("saved")
            page.reload()
            page.wait_for_selector("#next")
            assert page.locator('input[name="preference"][value="2"]').is_checked()
        answer(page, "6")
    assert page.title() == "Side by side"
    # what is no error of ours: the icon that a browser asks for by itself
    assert [one for one in wrong if "404" not in one] == []
    found = read_ratings(folder)
    assert len(found.ratings) == 4
    assert {one.towards_left for one in found.ratings} == {-1.0}
    page.close()


def test_direction_and_what_hides_are_shown(browser, served):
    server, folder = served
    asked = Asked.read(folder)
    page = browser.new_page()
    page.goto(server.links["r2"])
    seen = ""
    for _ in asked.lists["r2"]:
        page.wait_for_selector("#next")
        for box in page.locator(".sides .text").all():
            text = box.text_content()
            seen += text[:100]
            if text.startswith("שלום"):
                assert box.evaluate("(node) => getComputedStyle(node).direction") == "rtl"
        answer(page, "4")
    assert "\u2039U+202E\u203a" in seen
    assert "<script>document.title='taken'</script>" in seen
    page.close()


def test_a_wrong_link_and_two_windows_are_told(browser, served):
    server, _ = served
    page = browser.new_page()
    page.goto(server.links["r1"].partition("#")[0])
    page.wait_for_selector("text=this one has no token")
    page.goto(server.links["r1"].partition("#")[0] + "?from=mail#nonsense")
    page.wait_for_selector("text=This link is not one of the study")
    one, two = browser.new_page(), browser.new_page()
    for each in (one, two):
        each.goto(server.links["r1"])
        each.wait_for_selector("#next")
    answer(one, "5")
    two.keyboard.press("3")
    two.wait_for_selector("text=This pair was answered in another window")
    expect(two.locator("#progress")).to_have_text("2 of 4")
    for each in (page, one, two):
        each.close()


def test_a_kill_while_somebody_rates_loses_nothing_and_the_page_goes_on(browser, served):
    server, folder = served
    page = browser.new_page()
    page.goto(server.links["r3"])
    page.wait_for_selector("#next")
    answer(page, "5")
    page.wait_for_selector("#next")
    server.kill()
    page.keyboard.press("7")
    page.wait_for_selector("text=not saved yet")
    again: list[Served] = []

    def come_back() -> None:
        time.sleep(0.5)
        again.append(Served(folder, server.port))

    threading.Thread(target=come_back).start()
    expect(page.locator("#state")).to_have_text("saved", timeout=60_000)
    kept = [one for one in clicks_of(folder / CLICKS) if one.field == "preference"]
    assert [(one.look, one.value) for one in kept] == [(0, 5), (1, 7)]
    answer(page, "7")
    page.close()
    again[0].kill()
