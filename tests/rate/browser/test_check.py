"""Checking cases on the page, in real Chromium against `hpedit bench check`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from tests.rate.browser.conftest import DESKTOP, PHONE
from tests.rate.browser.study import SCRIPT, Rater, Server
from tests.rate.serving import photo

from hpedit.records import Case
from hpedit.store.tables import write_cases

pytestmark = pytest.mark.slow

Visit = Callable[..., Rater]


@pytest.fixture(scope="module")
def checking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("check")
    cases = [Case(f"c{n}", "color", f"Make thing {n} red {SCRIPT}", (photo(n, (48, 36)),), f"p{n}") for n in range(8)]
    write_cases(folder / "cases.parquet", cases)
    options = ("--overlap", "99")
    server = Server(folder / "cases.parquet", folder / "check.sqlite", options, command=("bench", "check")).start()
    yield server
    server.stop()


def test_keys_keep_edit_and_drop_with_reasons(visit: Visit, checking: Server) -> None:
    rater = visit(checking).sign_in()
    rater.page.locator("#guide:not([hidden])").wait_for()
    assert "Is this a fair task" in rater.page.inner_text("#guide")
    assert "Which edit is better" not in rater.page.inner_text("#guide")
    rater.pass_guide().press("k").saved()
    before, shown = rater.shown(), rater.instruction()
    assert SCRIPT in shown
    rater.page.keyboard.press("v")
    rater.page.keyboard.press("m")
    rater.page.locator("#reword:not([hidden])").wait_for()
    assert rater.page.input_value("#reword-text") == shown, "no letter of the key that opened it"
    rater.page.keyboard.press("Enter")
    assert "is unchanged" in rater.page.inner_text("#reword-error")
    rater.page.fill("#reword-text", "  Paint the thing\nblue k d ")
    rater.page.keyboard.press("Enter")
    rater.moved_on(before)
    rater.page.keyboard.press("t")
    rater.page.keyboard.press("p")
    rater.press("d")
    rater.stored(3)
    assert [(answer.value, answer.flags) for answer in checking.answers(rater.name)] == [
        ("keep", ()),
        ("mend:Paint the thing blue k d", ("vague",)),
        ("drop", ("bad_photo", "wrong_task")),
    ]


def test_typing_is_no_answer_and_escape_gives_the_words_back(visit: Visit, checking: Server) -> None:
    rater = visit(checking).begin()
    rater.page.click(".choice[data-value='reword']")
    rater.page.fill("#reword-text", "half a thought")
    rater.page.keyboard.type(" kdszui?")
    assert rater.page.input_value("#reword-text") == "half a thought kdszui?"
    rater.page.keyboard.press("Escape")
    assert rater.page.is_visible("#decide")
    assert rater.page.get_attribute("[data-flag=unsafe]", "aria-pressed") == "false"
    rater.page.keyboard.press("m")
    assert rater.page.input_value("#reword-text") == "half a thought kdszui?", "what was typed is there again"
    assert rater.stored(0) == []


def test_undo_brings_the_changed_words_back(visit: Visit, checking: Server) -> None:
    rater = visit(checking).begin()
    before = rater.shown()
    rater.page.keyboard.press("m")
    rater.page.fill("#reword-text", "Paint it green")
    rater.page.click("#reword .primary")
    rater.moved_on(before).saved()
    second = rater.shown()
    rater.page.keyboard.press("z")
    rater.moved_on(second)
    assert rater.shown() == before
    assert "previous" in str(rater.page.get_attribute(".choice[data-value='reword']", "class"))
    rater.page.keyboard.press("m")
    assert rater.page.input_value("#reword-text") == "Paint it green"
    rater.page.keyboard.press("Escape")
    rater.press("k")
    assert rater.stored(1) == ["keep"]


def test_a_changed_instruction_waits_for_the_network(visit: Visit, checking: Server) -> None:
    rater = visit(checking).begin()
    before = rater.shown()
    rater.page.context.set_offline(True)
    rater.page.keyboard.press("m")
    rater.page.fill("#reword-text", "Written without a network")
    rater.page.keyboard.press("Enter")
    rater.moved_on(before)
    rater.notice("No connection")
    assert checking.values(rater.name) == []
    rater.page.context.set_offline(False)
    assert rater.stored(1) == ["mend:Written without a network"]


def test_a_held_source_is_no_fault_where_there_is_no_edit(visit: Visit, checking: Server) -> None:
    rater = visit(checking).begin()
    assert rater.page.locator("#stage figure").count() == 1
    assert not rater.page.is_visible("#flip")
    box = rater.page.locator("#stage .frame").bounding_box()
    assert box is not None
    rater.page.mouse.move(box["x"] + 20, box["y"] + 20)
    rater.page.mouse.down()
    rater.page.wait_for_timeout(300)
    rater.page.mouse.up()
    rater.page.keyboard.down(" ")
    rater.page.keyboard.up(" ")
    rater.press("k")


@pytest.mark.parametrize("device", [DESKTOP, {"viewport": {"width": 1000, "height": 700}}, PHONE,
                                    {**PHONE, "viewport": {"width": 844, "height": 390}}])  # fmt: skip
def test_all_is_inside_the_window(visit: Visit, checking: Server, device: dict[str, object]) -> None:
    rater = visit(checking, device).begin()
    for opened in (False, True):
        if opened:
            rater.page.click(".choice[data-value='reword']")
        boxes = rater.page.evaluate(
            "[...document.querySelectorAll('#rate button, #rate textarea, #stage .frame')]"
            ".filter((one) => one.offsetParent !== null).map((one) => {"
            " const box = one.getBoundingClientRect();"
            " return [one.id || one.textContent.trim(), box.left, box.top, box.right, box.bottom,"
            "         one.scrollWidth - one.clientWidth] })"
        )
        width, height = rater.page.evaluate("[innerWidth, innerHeight]")
        assert len(boxes) >= 3
        for name, left, top, right, bottom, hidden in boxes:
            assert min(left, top) >= 0, name
            assert (right <= width + 0.5, bottom <= height + 0.5) == (True, True), (name, right, bottom)
            assert hidden <= 1, f"{name}: its words are cut"
