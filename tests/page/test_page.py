"""The status page in a browser, in front of a running dualkv."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
import redis
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.page.conftest import KEYS
from tests.page.stage import PHONE, Stage, opened, staged, wait_until

pytestmark = pytest.mark.page

TOKEN = "0123456789abcdef"

expect.set_options(timeout=15_000)


def condition(page: Page, name: str) -> None:
    """Wait until the headline says something."""
    expect(page.locator("#headline")).to_have_attribute("data-condition", name)


# --- at a glance


def test_the_headline_says_that_all_is_well_and_figures_come_live(browser: Browser) -> None:
    """Who serves, and how much; and the charts begin."""
    with staged() as stage, stage.traffic(), opened(browser, stage.url) as page:
        condition(page, "well")
        expect(page.locator("#condition")).to_have_text("All is well")
        expect(page.locator("#mode")).to_have_text("dual-write-shadow")
        expect(page.locator("#connection")).to_have_text("live")
        expect(page.locator("#node-answers .figure")).to_have_text(re.compile(r"^[1-9]\d* ops/s$"))
        expect(page.locator("#chart-throughput path.first")).to_have_attribute("d", re.compile("L"))
        expect(page.locator("#chart-throughput svg")).to_have_attribute(
            "aria-label", re.compile("answers [1-9]")
        )


def test_an_absent_follower_needs_attention_and_an_absent_answerer_affects_clients(browser: Browser) -> None:
    """The first two things to know: is it bad, and is it bad for clients."""
    with staged() as stage, opened(browser, stage.url) as page:
        condition(page, "well")
        stage.secondary.kill()
        with stage.client() as client:
            client.set("k", "v")
        condition(page, "attention")
        expect(page.locator("#reasons li").first).to_contain_text("elastickv does not answer")
        expect(page.locator("#node-follows .state")).to_have_class("state bad")
        stage.primary.kill()
        condition(page, "trouble")
        expect(page.locator("#condition")).to_have_text("Clients are affected")
        assert "✕" in page.title()


def test_the_page_tells_when_dualkv_is_gone(browser: Browser) -> None:
    """Old figures must not look like new ones; and an open page does not hold up the end."""
    with staged() as stage, opened(browser, stage.url, tolerated=r"ERR_|network") as page:
        condition(page, "well")
        began = time.monotonic()
        stage.stop()
        assert time.monotonic() - began < 10
        expect(page.locator("#connection")).to_have_text("no connection, trying again")


def test_several_workers_are_one_page(browser: Browser) -> None:
    """Their figures are added up, a change of the mode reaches all of them."""
    with staged("--workers", "2") as stage, stage.traffic(), opened(browser, stage.url) as page:
        condition(page, "well")
        expect(page.locator("#node-clients .figure")).to_have_text("1 connected")
        expect(page.locator("#chart-throughput path.first")).to_have_attribute("d", re.compile("M"))
        for key in KEYS:
            stage.let_differ(key)
        expect(page.locator("#found button")).to_have_count(2)
        page.get_by_role("button", name="Change mode…").click()
        page.get_by_role("radio", name="dual-write", exact=False).nth(0).check()
        page.get_by_role("button", name="Change", exact=True).click()
        expect(page.locator("#mode")).to_have_text("dual-write")


# --- divergences


def test_keys_of_any_text_are_text(stage: Stage, browser: Browser) -> None:
    """What clients name their keys is never markup, in the table or in a record."""
    with opened(browser, stage.url) as page:
        for key in KEYS:
            button = page.get_by_role("button", name=key.decode(), exact=True)
            expect(button).to_have_text(key.decode())
            button.click()
            expect(page.locator("#record dd.bytes").first).to_have_text(key.decode())
            page.keyboard.press("Escape")
            expect(page.locator("#record-dialog")).to_be_hidden()
        assert page.locator("main img, main script, dialog img").count() == 0
        assert page.title().endswith("· dualkv")


def test_a_record_tells_how_it_was_found_but_no_values(stage: Stage, browser: Browser) -> None:
    """Kind, cause, readings, history; of values a length and a hash. All by keyboard."""
    with opened(browser, stage.url) as page:
        page.get_by_role("button", name="cart:7", exact=True).focus()
        page.keyboard.press("Enter")
        record = page.locator("#record-dialog")
        expect(record).to_contain_text("migration gap")
        expect(record).to_contain_text("7 readings over")
        expect(record.locator("#record-history")).to_contain_text("before: set cart:7 <10 bytes, #")
        assert "<b>one</b>" not in record.inner_text()
        page.keyboard.press("Escape")
        expect(record).to_be_hidden()
        expect(page.get_by_role("button", name="cart:7", exact=True)).to_be_focused()


def test_values_are_shown_as_text_where_the_settings_say_so(browser: Browser) -> None:
    """Both of them, and they are no markup either."""
    with staged("--show-values") as stage, opened(browser, stage.url) as page:
        stage.let_differ(b"k")
        page.get_by_role("button", name="k", exact=True).click()
        expect(page.locator("#record")).to_contain_text("<b>one</b>")
        expect(page.locator("#record")).to_contain_text("<i>another</i>")
        assert page.locator("#record b, #record i").count() == 0


def test_divergences_can_be_narrowed_to_a_kind(stage: Stage, browser: Browser) -> None:
    """Before a back-fill gaps would hide the rest."""
    with opened(browser, stage.url) as page:
        expect(page.locator("#found tr")).to_have_count(3)
        page.get_by_label("kind").select_option("migration_gap")
        expect(page.locator("#found button")).to_have_text(["cart:7"])
        page.get_by_label("kind").select_option("extra_data")
        expect(page.locator("#no-divergences")).to_have_text("None of this kind is remembered.")


# --- the mode


def test_a_change_of_the_mode_is_tried_before_it_is_made(browser: Browser) -> None:
    """What speaks against it is said, and nothing happens; forced, it is done, and the page says so."""
    with staged() as stage, stage.traffic(), opened(browser, stage.url) as page:
        condition(page, "well")
        page.get_by_role("button", name="Change mode…").click()
        dialog = page.locator("#mode-dialog")
        page.get_by_role("radio", name="elastickv-primary").check()
        expect(page.locator("#mode-preview")).to_contain_text("Refused:")
        expect(page.locator("#mode-confirm")).to_be_disabled()
        expect(page.locator("#mode")).to_have_text("dual-write-shadow")
        page.get_by_label("Do it although").check()
        expect(page.locator("#mode-confirm")).to_be_enabled()
        page.get_by_role("button", name="Change", exact=True).click()
        expect(dialog).to_be_hidden()
        expect(page.locator("#mode")).to_have_text("elastickv-primary")
        expect(page.locator("#node-answers h3")).to_have_text("elastickv answers")


def test_cancelling_changes_nothing(browser: Browser) -> None:
    """By button or by Escape, whatever was chosen; what could be done says so first."""
    with staged() as stage, opened(browser, stage.url) as page:
        for leave in ("Cancel", "Escape"):
            page.get_by_role("button", name="Change mode…").click()
            page.get_by_role("radio", name="dual-write", exact=False).nth(0).check()
            expect(page.locator("#mode-preview")).to_contain_text("It can be done")
            if leave == "Cancel":
                page.get_by_role("button", name="Cancel").click()
            else:
                page.keyboard.press("Escape")
            expect(page.locator("#mode-dialog")).to_be_hidden()
        expect(page.locator("#mode")).to_have_text("dual-write-shadow")


# --- the kill switch


def test_the_follower_is_paused_and_resumed_behind_a_confirmation(browser: Browser) -> None:
    """What it means is said first; then it is seen at a glance that it is paused, and since when."""
    with staged() as stage, opened(browser, stage.url) as page, stage.client() as client:
        condition(page, "well")
        expect(page.locator("#paused")).to_be_hidden()
        page.get_by_role("button", name="Pause elastickv…").click()
        expect(page.locator("#pause-text")).to_contain_text("Clients notice nothing.")
        page.get_by_role("button", name="Pause elastickv", exact=True).click()
        expect(page.locator("#pause-dialog")).to_be_hidden()
        condition(page, "attention")
        since = re.compile(r"^elastickv paused since \d\d:\d\d, for \d")
        expect(page.locator("#paused")).to_have_text(since)
        expect(page.locator("#link-stream")).to_contain_text("paused")
        client.set("k", "v")
        expect(page.locator("#repair dd").first).to_have_text("1")
        page.get_by_role("button", name="Resume elastickv…").click()
        expect(page.locator("#pause-text")).to_contain_text("Keys to copy: 1.")
        page.get_by_role("button", name="Resume elastickv", exact=True).click()
        expect(page.locator("#pause-text")).to_contain_text("1 dirty key to copy: that begins now")
        page.get_by_role("button", name="Close").click()
        condition(page, "well")
        expect(page.locator("#paused")).to_be_hidden()
        with redis.Redis(port=stage.secondary.port) as beside:
            wait_until(lambda: beside.get("k") == b"v")


def test_the_kill_switch_needs_no_mouse_and_can_be_left(browser: Browser) -> None:
    """It stands behind the mode; the safe answer has the focus, and nothing happens by Enter or Escape."""
    with staged() as stage, opened(browser, stage.url) as page:
        condition(page, "well")
        page.locator("#change-mode").focus()
        for leave in ("Enter", "Escape"):
            page.locator("#change-mode").focus()
            page.keyboard.press("Tab")
            expect(page.locator("#pause")).to_be_focused()
            page.keyboard.press("Enter")
            expect(page.locator("#pause-cancel")).to_be_focused()
            page.keyboard.press(leave)
            expect(page.locator("#pause-dialog")).to_be_hidden()
            expect(page.locator("#pause")).to_be_focused()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.locator("#paused")).to_be_visible()


def test_where_nothing_follows_there_is_nothing_to_pause(browser: Browser) -> None:
    """The kill switch is not there."""
    with staged("--mode", "redis-only") as stage, opened(browser, stage.url) as page:
        expect(page.locator("#mode")).to_have_text("redis-only")
        expect(page.locator("#pause")).to_be_hidden()
        expect(page.locator("#paused")).to_be_hidden()


# --- who may look


def test_a_token_is_asked_for_and_kept_for_the_tab_only(browser: Browser, tmp_path: Path) -> None:
    """A wrong one is said to be wrong; the right one lives as long as the tab, also through a reload."""
    file = tmp_path / "token"
    file.write_text(f"ops:{TOKEN}\n")
    with staged("--admin-token-file", str(file)) as stage, opened(browser, stage.url) as page:
        page.get_by_role("textbox", name="Token").fill("something else")
        page.get_by_role("button", name="Enter").click()
        expect(page.locator("#token-error")).to_have_text("This token is not right.")
        page.get_by_role("textbox", name="Token").fill(TOKEN)
        page.keyboard.press("Enter")
        condition(page, "well")
        page.reload()
        condition(page, "well")
        assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
        assert TOKEN not in page.content()
        page.get_by_role("button", name="Pause elastickv…").click()
        page.get_by_role("button", name="Pause elastickv", exact=True).click()
        expect(page.locator("#paused")).to_be_visible()
        with opened(browser, stage.url) as other:
            expect(other.get_by_role("textbox", name="Token")).to_be_visible()


def test_nothing_is_fetched_from_elsewhere(stage: Stage, browser: Browser) -> None:
    """Neither fonts nor scripts: it works where there is no internet."""
    asked: list[str] = []
    with opened(browser, "about:blank") as page:
        page.on("request", lambda request: asked.append(request.url))
        page.goto(stage.url)
        condition(page, "attention")

    assert asked
    assert [url for url in asked if not url.startswith(stage.url)] == []


@pytest.mark.parametrize(
    "attempt",
    [
        "document.body.innerHTML = '<b>x</b>'",
        "document.body.setAttribute('onclick', 'window.owned = 1')",
        "document.body.append(Object.assign(document.createElement('script'), {text: 'window.owned = 1'}))",
    ],
)
def test_no_text_can_become_markup_or_a_script(stage: Stage, browser: Browser, attempt: str) -> None:
    """The page's own rules forbid it, should its program ever try."""
    with opened(browser, stage.url, tolerated="Trusted|Content Security Policy") as page:
        condition(page, "attention")
        tried = page.evaluate(f"() => {{ try {{ {attempt} }} catch (error) {{ return error.name }} }}")
        assert tried == "TypeError"
        assert page.evaluate("window.owned") is None


# --- for everybody


@pytest.mark.parametrize("options", [{}, {"color_scheme": "dark"}, {"viewport": PHONE}], ids=str)
def test_everybody_can_read_and_use_it(stage: Stage, browser: Browser, options: dict[str, Any]) -> None:
    """Names, roles, order of headings, contrast: axe has nothing to complain about, dialogs included."""
    with opened(browser, stage.url, **options) as page:
        condition(page, "attention")
        expect(page.locator("#found tr")).to_have_count(3)
        complaints = [Axe().run(page)]
        page.get_by_role("button", name="cart:7", exact=True).click()
        complaints.append(Axe().run(page))
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Change mode…").click()
        complaints.append(Axe().run(page))
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Pause elastickv…").click()
        complaints.append(Axe().run(page))

    assert [one.generate_report() for one in complaints if one.violations_count] == []


def test_on_a_phone_nothing_is_cut_off(stage: Stage, browser: Browser) -> None:
    """At 360 pixels the page itself does not scroll sideways, and the mode's button is within reach."""
    with opened(browser, stage.url, viewport=PHONE) as page:
        condition(page, "attention")
        expect(page.locator("#found tr")).to_have_count(3)
        assert page.evaluate("document.scrollingElement.scrollWidth") <= PHONE["width"]
        for name in ("Change mode…", "Pause elastickv…"):
            button = page.get_by_role("button", name=name).bounding_box()
            assert button is not None
            assert button["height"] >= 40
            assert button["y"] + button["height"] < PHONE["height"]


def test_it_can_be_used_without_a_mouse(stage: Stage, browser: Browser) -> None:
    """Tab leads to the mode, Enter opens it, arrows choose, Escape leaves; focus returns where it was."""
    with opened(browser, stage.url) as page:
        condition(page, "attention")
        page.keyboard.press("Tab")
        expect(page.locator(".skip")).to_be_focused()
        page.keyboard.press("Tab")
        expect(page.locator("#change-mode")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.get_by_role("radio", name="dual-write-shadow")).to_be_focused()
        page.keyboard.press("ArrowUp")
        expect(page.locator("#mode-preview")).to_contain_text("It can be done")
        page.keyboard.press("Escape")
        expect(page.locator("#change-mode")).to_be_focused()
