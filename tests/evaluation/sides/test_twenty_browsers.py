"""Twenty raters in twenty browser windows at once, the server killed three times in the middle."""

from __future__ import annotations

import asyncio
import random
import shutil
import threading
import time

import pytest

from munro.evaluation.sides.journal import clicks_of
from munro.evaluation.sides.ratings import read_ratings
from munro.evaluation.sides.study import CLICKS
from tests.evaluation.sides.serving import Served
from tests.evaluation.sides.studies import study

CHROMIUM = shutil.which("chromium")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
RATERS = tuple(f"r{i + 1}" for i in range(20))
WAIT_MS = 240_000
"""On two cores twenty pages are slow, and a server that was killed is some seconds away."""


def test_no_click_of_twenty_browsers_is_lost_to_three_kills(tmp_path):
    api = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    folder = study(tmp_path, 16, raters=RATERS, per_pair=5, criteria=())
    saved: dict[str, list[int]] = {rater: [] for rater in RATERS}
    failed: list[str] = []

    async def rate(browser, rater: str, link: str) -> None:
        chosen = random.Random(rater)
        context = await browser.new_context()
        page = await context.new_page()
        page.set_default_timeout(WAIT_MS)
        page.on("requestfailed", lambda _: failed.append(rater))
        await page.goto(link)
        for number in range(4):
            await api.expect(page.locator("#progress")).to_have_text(
                f"{number + 1} of 4", timeout=WAIT_MS
            )
            value = chosen.randint(1, 7)
            await page.keyboard.press(str(value))
            await api.expect(page.locator("#state")).to_have_text("saved", timeout=WAIT_MS)
            saved[rater].append(value)
            await page.locator("#next").click()
        await page.wait_for_selector("text=That was the last one")
        await context.close()

    async def all_rate(links: dict[str, str]) -> None:
        async with api.async_playwright() as started:
            browser = await started.chromium.launch(
                executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
            )
            await asyncio.gather(*(rate(browser, rater, links[rater]) for rater in RATERS))
            await browser.close()

    served = Served(folder)
    raters = threading.Thread(target=asyncio.run, args=(all_rate(served.links),))
    raters.start()
    for share in (10, 30, 50):
        while raters.is_alive() and sum(map(len, saved.values())) < share:
            time.sleep(0.005)
        served.kill()
        time.sleep(1.0)
        served = Served(folder, served.port)
    raters.join()
    assert "80 looks are done" in served.end()
    assert failed, "no page noticed a kill"
    kept: dict[str, list[int]] = {rater: [] for rater in RATERS}
    for click in clicks_of(folder / CLICKS):
        if click.field == "preference":
            kept[click.rater].append(click.value)
    assert kept == saved
    found = read_ratings(folder)
    assert len(found.ratings) == 80
    assert not found.stale
    assert not found.windows
