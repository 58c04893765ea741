"""What a rater does on the page, in real Chromium against the real server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.rate.browser.conftest import DESKTOP, PHONE
from tests.rate.browser.study import EDITORS, Rater, Server

from hpedit.records import Case, Edit
from hpedit.store.tables import write_cases, write_edits

pytestmark = pytest.mark.slow

Visit = Callable[..., Rater]


def front(rater: Rater, panel: int) -> str | None:
    """Which picture a panel shows: 0 source, 1 edit or A, 2 B."""
    return rater.page.locator("#stage figure").nth(panel).locator("img.front").get_attribute("data-which")


def transforms(rater: Rater) -> list[str]:
    return [str(image.evaluate("image => image.style.transform + image.style.width")) for image in
            rater.page.locator("#stage img").all()]  # fmt: skip


def test_guide_shows_the_papers_rubric_then_keys_and_clicks_score(visit: Visit, scoring: Server) -> None:
    rater = visit(scoring).sign_in()
    guide = rater.page.locator("#guide")
    guide.wait_for()
    for words in ("Does not follow the instruction", "the quality is poor", "fully, and looks realistic", "Between"):
        assert words in guide.inner_text()
    rater.page.click("#guide-go")
    rater.see().press("4").saved()
    before = rater.shown()
    rater.page.click(".choice[data-value='2']")
    rater.moved_on(before)
    assert rater.stored(2) == [4.0, 2.0]
    assert rater.page.inner_text("#count") == "2 of 12"
    assert rater.page.get_attribute("#progress", "aria-valuenow") == "2"
    first = scoring.answers(rater.name)[0]
    assert first.ms > 300
    assert first.flags == ()


def test_every_button_shows_its_key_and_has_a_name(visit: Visit, scoring: Server) -> None:
    rater = visit(scoring).begin()
    names = [str(button.inner_text()).split("\n")[0] for button in rater.page.locator(".choice").all()]
    assert names == ["0", "1", "2", "3", "4", "5"]
    for name in ("5: follows fully, realistic", "Z Undo", "S Skip", "U Unsafe", "I Impossible instruction", "Zoom in"):
        assert rater.page.get_by_role("button", name=name, exact=True).count() == 1, name
    assert rater.page.get_by_role("heading", level=1).count() == 1
    assert rater.page.locator("#instruction").evaluate("element => element === document.activeElement")


def test_instruction_and_name_are_text(visit: Visit, scoring: Server) -> None:
    rater = visit(scoring)
    rater.name = "<b id=evil>Eve</b>"
    rater.begin()
    assert '<img src=x onerror="window.hacked=1">' in rater.instruction()
    assert rater.page.evaluate("window.hacked") is None
    assert rater.page.locator("#evil, #instruction *").count() == 0
    assert rater.page.inner_text("#who") == rater.name


def test_page_holds_nothing_of_the_editor(visit: Visit, scoring: Server) -> None:
    rater = visit(scoring).begin()
    html = rater.page.content()
    assert "/picture/" in html
    assert not [name for name in (*EDITORS, "photo-", ".png") if name in html]


def test_undo_supersedes_and_shows_the_former_answer(visit: Visit, scoring: Server) -> None:
    rater = visit(scoring).begin()
    assert rater.page.is_disabled("#undo")
    first = rater.shown()
    rater.press("5").saved()
    second = rater.shown()
    rater.page.keyboard.press("z")
    rater.moved_on(second)
    assert rater.shown() == first
    assert "previous" in str(rater.page.get_attribute(".choice[data-value='5']", "class"))
    rater.press("1")
    assert rater.shown() == second, "the item that was on the screen follows"
    assert rater.stored(1) == [1.0]
    assert [answer.value for answer in scoring.answers(rater.name, all_of_them=True)] == [5.0, 1.0]
    rater.press("3")
    third = rater.shown()
    rater.page.click("#undo")
    rater.moved_on(third)
    rater.page.keyboard.press("Backspace")
    rater.moved_on(second)
    assert rater.shown() == first, "undo goes back as far as one likes"
    assert rater.stored(0) == []


def test_skip_and_flags_by_key_and_click(visit: Visit, scoring: Server) -> None:
    rater = visit(scoring).begin()
    rater.page.keyboard.press("u")
    assert rater.page.get_attribute("[data-flag=unsafe]", "aria-pressed") == "true"
    rater.press("s")
    assert rater.page.get_attribute("[data-flag=unsafe]", "aria-pressed") == "false", "flags belong to one item"
    rater.page.click("[data-flag=impossible]")
    rater.page.keyboard.press("u")
    rater.page.keyboard.press("u")
    rater.press("0")
    rater.stored(2)
    stored = scoring.answers(rater.name)
    assert [(answer.value, answer.flags) for answer in stored] == [("skip", ("unsafe",)), (0.0, ("impossible",))]


def test_practice_gives_feedback_and_then_counts(visit: Visit, new_server: Callable[..., Server]) -> None:
    rater = visit(new_server("--practice", "2", cases=2)).sign_in()
    rater.page.get_by_role("button", name="Start with 2 practice items").click()
    rater.see()
    assert rater.page.inner_text("#phase") == "Practice"
    rater.page.keyboard.press("0")
    rater.page.locator("#feedback").wait_for()
    assert "the expected answer is 5" in rater.page.inner_text("#feedback-verdict")
    assert len(rater.page.inner_text("#feedback-text")) > 20
    assert "expected" in str(rater.page.get_attribute(".choice[data-value='5']", "class"))
    rater.page.keyboard.press("3")
    first = rater.shown()
    rater.page.keyboard.press("Enter")
    rater.moved_on(first)
    rater.page.keyboard.press("0")
    rater.page.locator("#feedback.right").wait_for()
    rater.page.keyboard.press("Enter")
    rater.page.get_by_role("heading", name="Practice complete").wait_for()
    rater.page.keyboard.press("Enter")
    rater.see()
    assert rater.page.inner_text("#phase") == ""
    assert rater.stored(0) == []


def test_all_done_is_said_and_can_be_undone(visit: Visit, new_server: Callable[..., Server]) -> None:
    rater = visit(new_server("--practice", "0", "--retest", "0", cases=1)).begin()
    rater.press("3")
    rater.page.keyboard.press("4")
    done = rater.page.locator("#message")
    done.wait_for()
    assert "All done" in done.inner_text()
    assert rater.stored(2) == [3.0, 4.0]
    rater.page.click("#message-undo")
    rater.see()
    assert rater.stored(1) == [3.0]


def test_compare_by_keys_and_clicks(visit: Visit, comparing: Server) -> None:
    rater = visit(comparing).sign_in()
    assert "Neither follows" in rater.page.inner_text("#guide")
    rater.page.click("#guide-go")
    rater.see()
    assert rater.page.locator("#stage figcaption").all_inner_texts() == ["Source", "A", "B"]
    rater.press("a").press("b").press("t").press("x")
    before = rater.shown()
    rater.page.get_by_role("button", name="B is better").click()
    rater.moved_on(before)
    assert rater.stored(5) == ["A", "B", "tie", "both_bad", "B"]
    assert all(set(answer.edit_ids[0]) for answer in comparing.answers(rater.name))


def test_compare_flips_to_the_source_and_swaps_the_sides(visit: Visit, comparing: Server) -> None:
    rater = visit(comparing).begin()
    rater.page.keyboard.down(" ")
    assert [front(rater, panel) for panel in range(3)] == ["0", "0", "0"]
    rater.page.keyboard.up(" ")
    rater.page.keyboard.down("w")
    assert [front(rater, panel) for panel in range(3)] == ["0", "2", "1"]
    assert rater.page.locator("#stage figcaption").all_inner_texts() == ["Source", "B", "A"]
    rater.page.keyboard.up("w")
    assert [front(rater, panel) for panel in range(3)] == ["0", "1", "2"]


def test_space_and_press_flip_in_place(visit: Visit, scoring: Server) -> None:
    rater = visit(scoring).begin()
    edit = rater.page.locator("#stage figure").nth(1)
    place = edit.locator(".frame").bounding_box()
    rater.page.keyboard.down(" ")
    assert (front(rater, 0), front(rater, 1)) == ("0", "0")
    assert edit.locator("figcaption").inner_text() == "Source"
    assert edit.locator(".frame").bounding_box() == place
    rater.page.keyboard.up(" ")
    assert front(rater, 1) == "1"
    edit.locator(".frame").hover()
    rater.page.mouse.down()
    rater.page.locator("#stage figure.flipped").wait_for()
    assert front(rater, 1) == "0"
    rater.page.mouse.up()
    assert front(rater, 1) == "1"
    # Space on a button that the mouse has pressed flips, too; only Tab makes it the button's key.
    flag = rater.page.locator("[data-flag=unsafe]")
    flag.click()
    rater.page.keyboard.press(" ")
    assert flag.get_attribute("aria-pressed") == "true"
    rater.page.keyboard.press("Shift+Tab")
    rater.page.keyboard.press("Tab")
    rater.page.keyboard.press(" ")
    assert flag.get_attribute("aria-pressed") == "false"
    assert rater.stored(0) == []


def test_zoom_and_pan_move_all_pictures_together(visit: Visit, scoring: Server) -> None:
    rater = visit(scoring).begin()
    rest = transforms(rater)
    rater.page.locator(".frame").nth(1).hover(position={"x": 30, "y": 30})
    rater.page.mouse.wheel(0, -600)
    rater.page.locator("#stage.zoomed").wait_for()
    zoomed = transforms(rater)
    assert len(set(zoomed)) == 1
    assert set(zoomed) != set(rest)
    rater.page.mouse.down()
    rater.page.mouse.move(200, 300, steps=4)
    rater.page.mouse.up()
    dragged = transforms(rater)
    assert len(set(dragged)) == 1
    assert dragged != zoomed
    rater.page.keyboard.press("ArrowRight")
    assert transforms(rater) != dragged
    rater.page.keyboard.press("f")
    assert transforms(rater) == rest
    rater.page.keyboard.press("+")
    assert rater.page.inner_text("#zoom-value") == "1.3×"


def test_small_pictures_are_scaled_by_whole_screen_pixels(visit: Visit, scoring: Server) -> None:
    rater = visit(scoring).begin()
    image = rater.page.locator("#stage img.front").first
    width = image.evaluate("image => image.getBoundingClientRect().width")
    assert width >= 400
    assert width % image.evaluate("image => image.naturalWidth") == 0
    assert image.evaluate("image => getComputedStyle(image).imageRendering") == "pixelated"


def test_help_opens_by_key_and_answers_nothing(visit: Visit, scoring: Server) -> None:
    rater = visit(scoring).begin()
    rater.page.keyboard.press("?")
    help_ = rater.page.get_by_role("dialog")
    assert "undo the last answer" in help_.inner_text()
    assert "Does not follow the instruction" in help_.inner_text()
    rater.page.keyboard.press("3")
    rater.page.keyboard.press("Escape")
    help_.wait_for(state="hidden")
    assert rater.stored(0) == []


def test_further_source_pictures_are_shown(visit: Visit, new_server: Callable[..., Server], tmp_path: Path) -> None:
    photos = [Image.new("RGB", (40, 30), colour) for colour in ("red", "green", "blue")]
    write_cases(tmp_path / "cases.parquet", [Case("case", "style", "paint it so", tuple(photos), "photo")])
    write_edits(tmp_path / "edits.parquet", [Edit("edit", "case", "some editor", 0, photos[0])])
    rater = visit(new_server("--practice", "0", edits=tmp_path)).begin()
    further = rater.page.get_by_role("button", name="Further source picture")
    assert further.count() == 2
    further.first.click()
    large = further.first.bounding_box()
    assert large is not None
    assert large["width"] > 1000
    further.first.click()
    rater.page.keyboard.press("5")
    assert rater.stored(1) == [5.0]


def test_long_instruction_scrolls_and_says_that_it_goes_on(visit: Visit, new_server: Callable[..., Server]) -> None:
    words = "keep {} as it is, " * 400 + "and make it red"
    rater = visit(new_server("--practice", "0", cases=1, instruction=words.replace("{}", "all"))).begin()
    heading = rater.page.locator("#instruction.more")
    heading.wait_for()
    assert heading.inner_text().endswith("and make it red")
    picture = rater.page.locator(".frame").nth(1).bounding_box()
    assert picture is not None
    assert picture["height"] > 250, "the pictures keep their room"
    heading.evaluate("element => element.scrollTo(0, element.scrollHeight)")
    heading.wait_for(state="detached")


def test_dark_scheme_and_reduced_motion_are_followed(visit: Visit, scoring: Server) -> None:
    rater = visit(scoring, {**DESKTOP, "color_scheme": "dark", "reduced_motion": "reduce"}).open()
    style = "element => [getComputedStyle(element).backgroundColor, getComputedStyle(element).transitionDuration]"
    assert rater.page.locator("body").evaluate(style)[0] == "rgb(21, 24, 28)"
    assert rater.page.locator("#progress-fill").evaluate(style)[1] == "0s"


def test_token_is_asked_for_and_a_link_can_carry_it(visit: Visit, new_server: Callable[..., Server]) -> None:
    token = "correct-horse-battery"
    server = new_server("--practice", "0", token=token, cases=1)
    rater = visit(server).open()
    rater.page.fill("#name", rater.name)
    rater.page.fill("#token", "wrong-token-of-the-same-length")
    rater.page.click("#signin-button")
    rater.page.locator("#signin-error", has_text="token is wrong").wait_for()
    guest = visit(server).open(f"#token={token}")
    guest.page.fill("#name", guest.name)
    guest.page.click("#signin-button")
    guest.page.locator("#guide").wait_for()
    assert token not in guest.page.url


def test_phone_fits_without_scrolling_and_works_by_touch(visit: Visit, scoring: Server, comparing: Server) -> None:
    for server in (scoring, comparing):
        rater = visit(server, PHONE).begin()
        page = rater.page
        root = "document.documentElement"
        assert page.evaluate(f"[{root}.scrollWidth, {root}.scrollHeight]") == [390, 844]
        for button in page.locator("#decide button:visible, #flip").all():
            box = button.bounding_box()
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 390
            assert box["y"] + box["height"] <= 844
            assert min(box["width"], box["height"]) >= 36
        fingers = page.context.new_cdp_session(page)
        hold(rater, fingers, edit_centre(rater))
        pinch(rater, fingers, edit_centre(rater))
        before = rater.shown()
        page.locator(".choice").nth(3).tap()
        rater.moved_on(before)
        assert rater.stored(1) == ([3.0] if server is scoring else ["B"])


def edit_centre(rater: Rater) -> tuple[float, float]:
    box = rater.page.locator(".frame").nth(1).bounding_box()
    assert box is not None
    assert min(box["width"], box["height"]) >= 120, "pictures must be large enough to be judged"
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def touch(fingers: Any, kind: str, *points: tuple[float, float]) -> None:
    where = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
    fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": where})


def hold(rater: Rater, fingers: Any, at: tuple[float, float]) -> None:
    touch(fingers, "touchStart", at)
    rater.page.locator("#stage figure.flipped").wait_for()
    assert front(rater, 1) == "0"
    touch(fingers, "touchEnd")
    rater.page.locator("#stage figure.flipped").wait_for(state="detached")
    assert front(rater, 1) == "1"


def pinch(rater: Rater, fingers: Any, at: tuple[float, float]) -> None:
    x, y = at
    touch(fingers, "touchStart", (x - 20, y), (x + 20, y))
    for spread in (30, 40, 50):
        touch(fingers, "touchMove", (x - spread, y), (x + spread, y))
    touch(fingers, "touchEnd")
    rater.page.locator("#stage.zoomed").wait_for()
    assert len(set(transforms(rater))) == 1
