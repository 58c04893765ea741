"""No answer is lost or doubled between the click and the server's disk."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.rate.browser.conftest import ARGUMENTS, CHROMIUM, DESKTOP
from tests.rate.browser.study import Rater, Server

pytestmark = pytest.mark.slow

Visit = Callable[..., Rater]


def test_key_held_down_is_one_answer(visit: Visit, scoring: Server) -> None:
    rater = visit(scoring).begin()
    before = rater.shown()
    for _ in range(12):
        rater.page.keyboard.down("3")
        rater.page.wait_for_timeout(60)
    rater.page.keyboard.up("3")
    rater.moved_on(before)
    assert rater.stored(1) == [3.0]


def test_double_click_is_one_answer(visit: Visit, scoring: Server) -> None:
    rater = visit(scoring).begin()
    before = rater.shown()
    rater.page.dblclick(".choice[data-value='4']")
    rater.moved_on(before)
    # Faster than any hand: the first one counts.
    rater.page.locator("#choices").evaluate("box => [3, 1, 0].forEach((index) => box.children[index].click())")
    assert rater.stored(2) == [4.0, 3.0]
    rater.page.locator(".notice").wait_for(state="detached")


def test_key_meant_for_the_item_before_is_no_answer(visit: Visit, scoring: Server) -> None:
    rater = visit(scoring).begin()
    before = rater.shown()
    rater.page.evaluate(
        """() => {
          const press = () => document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "2", bubbles: true }));
          const stage = document.getElementById("stage");
          const watch = () => !stage.classList.contains("waiting") && (observer.disconnect(), setTimeout(press, 50));
          const observer = new MutationObserver(watch);
          setTimeout(() => observer.observe(stage, { attributes: true }));
        }"""
    )
    rater.page.keyboard.press("4")
    rater.moved_on(before)
    assert rater.stored(1) == [4.0]


def test_two_tabs_follow_each_other(visit: Visit, scoring: Server) -> None:
    first = visit(scoring).begin()
    second = Rater.at(first.page.context, scoring, first.name).open().pass_guide()
    item = first.shown()
    assert second.shown() == item
    first.press("5").saved()
    second.moved_on(item)
    assert "another tab" in second.notice("Answered in another tab")
    second.press("2")
    assert second.stored(2) == [5.0, 2.0]
    assert second.faults == []


def test_tabs_that_do_not_know_of_each_other_make_one_answer(visit: Visit, scoring: Server) -> None:
    first = visit(scoring)
    first.page.context.add_init_script("delete window.BroadcastChannel")
    first.begin()
    second = Rater.at(first.page.context, scoring, first.name).open().pass_guide()
    first.press("5").saved()
    second.press("2")
    assert "The first answer counts" in second.notice("already answered")
    assert "Not stored: 2" in second.notice("already answered")
    second.page.get_by_role("button", name="OK").click()
    second.page.locator(".notice").wait_for(state="detached")
    assert second.stored(1) == [5.0]


def test_back_button_shows_no_answered_item(visit: Visit, scoring: Server) -> None:
    rater = visit(scoring).begin()
    before = rater.shown()
    rater.press("5").saved()
    rater.page.goto("about:blank")
    rater.page.go_back()
    rater.see()
    assert rater.shown() != before
    rater.press("1")
    assert rater.stored(2) == [5.0, 1.0]


def test_lost_response_is_sent_again_as_the_same_answer(visit: Visit, scoring: Server) -> None:
    rater = visit(scoring).begin()
    sent: list[str] = []

    def lose(route: Any) -> None:
        sent.append(route.request.post_data_json["client_id"])
        if len(sent) == 1:
            route.fetch()  # It arrives and is stored; the reply gets lost.
            route.abort()
        else:
            route.continue_()

    rater.page.route("**/api/answer", lose)
    rater.page.keyboard.press("4")
    rater.notice("No connection")
    rater.saved()
    assert len(sent) == 2
    assert len(set(sent)) == 1
    assert rater.stored(1) == [4.0]


def test_what_a_proxy_says_of_a_server_that_is_down_loses_no_answer(visit: Visit, scoring: Server) -> None:
    rater = visit(scoring).begin()
    page = rater.page
    page.route("**/api/answer", lambda route: route.fulfill(status=404, content_type="text/html", body="<h1>404</h1>"))
    page.keyboard.press("4")
    assert "kept in this browser" in rater.notice("Not stored yet")
    page.unroute("**/api/answer")
    page.get_by_role("button", name="Try now").click()
    rater.saved()
    assert rater.stored(1) == [4.0]


@pytest.mark.parametrize(
    "fault",
    [
        "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError') }",
        "IDBObjectStore.prototype.delete = () => { throw new DOMException('lost', 'UnknownError') }",
        """const { getAll } = IDBObjectStore.prototype;
           IDBObjectStore.prototype.getAll = function () {
             IDBObjectStore.prototype.getAll = () => { throw new DOMException("lost", "UnknownError") };
             return getAll.call(this);
           }""",
    ],
    ids=["history", "delete", "read"],
)
def test_a_browser_that_cannot_keep_things_still_rates(visit: Visit, scoring: Server, fault: str) -> None:
    rater = visit(scoring)
    rater.page.add_init_script(fault)
    rater.begin().press("5").press("4").saved()
    rater.page.keyboard.press("z")
    rater.page.locator(".choice.previous[data-value='4']").wait_for()
    rater.see().press("2")
    assert rater.stored(2) == [5.0, 2.0]


def test_offline_answers_wait_and_are_sent_later(visit: Visit, scoring: Server) -> None:
    rater = visit(scoring).begin()
    rater.press("1").saved().loaded(8)  # Of this item, the one before and the two to come.
    rater.page.context.set_offline(True)
    rater.press("2").press("3")
    rater.page.keyboard.press("4")
    rater.page.locator("#status", has_text="3 answers waiting").wait_for()
    assert "kept in this browser" in rater.notice("No connection to the server")
    assert rater.server.values(rater.name) == [1.0]
    rater.page.context.set_offline(False)
    assert rater.stored(4) == [1.0, 2.0, 3.0, 4.0]
    rater.saved().see().press("5")
    rater.page.locator(".notice").wait_for(state="detached")
    assert rater.stored(5) == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_browser_closed_with_a_queue(chromium: Any, new_server: Callable[..., Server], tmp_path: Path) -> None:
    server = new_server("--practice", "0", "--retest", "0", cases=4)
    options = {"executable_path": str(CHROMIUM), "args": ARGUMENTS, **DESKTOP}
    context = chromium.launch_persistent_context(tmp_path, **options)
    rater = Rater.at(context, server, "Persistent").begin()
    context.set_offline(True)
    # A browser that closes may let a last request through: nobody is there to take it.
    server.kill()
    rater.page.keyboard.press("5")
    rater.notice("No connection")
    context.close()
    server.start()
    assert server.values("Persistent") == []
    context = chromium.launch_persistent_context(tmp_path, **options)
    rater = Rater.at(context, server, "Persistent").open()
    rater.see()
    assert rater.stored(1) == [5.0]
    context.close()
    assert rater.faults == []


def test_kill_9_of_the_server_between_answers(visit: Visit, new_server: Callable[..., Server]) -> None:
    server = new_server("--practice", "0", "--retest", "0", cases=4)
    rater = visit(server).begin()
    rater.press("1").saved().loaded(8)
    server.kill()
    rater.press("2")
    rater.page.keyboard.press("3")
    rater.notice("No connection")
    server.start()
    rater.saved()
    assert rater.stored(3) == [1.0, 2.0, 3.0]
    rater.see().press("4")
    assert rater.stored(4) == [1.0, 2.0, 3.0, 4.0]


def test_server_that_cannot_write_says_so_and_the_answer_is_kept(
    visit: Visit, new_server: Callable[..., Server]
) -> None:
    server = new_server("--practice", "0", cases=4)
    rater = visit(server).begin()
    assert server.process is not None
    limits = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    rater.page.keyboard.press("3")
    assert "kept in this browser" in rater.notice("Not stored yet")
    assert rater.page.locator("#status.saved").count() == 0
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, limits)
    rater.page.get_by_role("button", name="Try now").click()
    rater.saved()
    assert rater.stored(1) == [3.0]


def test_ended_session_keeps_the_answer_until_its_rater_is_back(visit: Visit, scoring: Server) -> None:
    rater = visit(scoring).begin()
    page, other = rater.page, f"not {rater.name}"
    page.context.clear_cookies()
    page.keyboard.press("5")
    rater.notice("Your session has ended")
    page.get_by_role("button", name="Sign in").click()
    rater.notice(f"Sign in as {rater.name}")
    page.fill("#name", other)
    page.click("#signin-button")
    rater.pass_guide().press("1").saved()
    page.click("#sign-out")
    page.fill("#name", rater.name)
    page.click("#signin-button")
    assert rater.stored(1) == [5.0]
    assert scoring.values(other) == [1.0]


def test_picture_that_fails_to_load_cannot_be_rated(visit: Visit, scoring: Server) -> None:
    rater = visit(scoring).sign_in()
    rater.page.locator("#guide").wait_for()
    rater.page.route("**/picture/*", lambda route: route.abort())
    rater.page.reload()
    rater.page.click("#guide-go")
    rater.notice("A picture could not be loaded")
    rater.page.keyboard.press("5")
    rater.page.unroute("**/picture/*")
    rater.page.get_by_role("button", name="Try again").click()
    rater.see().press("2")
    assert rater.stored(1) == [2.0]


def test_client_ids_are_uuids_without_randomUUID(visit: Visit, scoring: Server) -> None:
    """The page may come over plain HTTP from another machine, where browsers leave crypto.randomUUID out."""
    rater = visit(scoring)
    rater.page.add_init_script("delete Crypto.prototype.randomUUID")
    rater.begin().press("5").press("4")
    assert rater.stored(2) == [5.0, 4.0]
    ids = [answer.client_id for answer in scoring.answers(rater.name)]
    assert all(len(name) == 36 and name[14] == "4" and name[19] in "89ab" for name in ids)
    assert len(set(ids)) == 2
