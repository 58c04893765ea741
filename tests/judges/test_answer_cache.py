"""Answers on disk: what counts as the same question, what is never kept, and what damage does."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.judges.questions import FOUR, TAILS, CountingJudge, edit_questions, noise
from tests.judges.servers import GOOD, says, serving, status

from hpedit.errors import HPEditError
from hpedit.judges import answer_cache as cache_module
from hpedit.judges.answer_cache import CachedJudge, question_keys
from hpedit.judges.limits import UnscorableLimit
from hpedit.judges.openai_judge import OpenAIJudge
from hpedit.judges.protocol import DIGITS, YES_NO, Answer, Question


def test_an_answer_is_asked_for_once_also_by_the_next_run(tmp_path: Path) -> None:
    judge = CountingJudge()
    questions = edit_questions()
    first = CachedJudge(judge, tmp_path / "deep" / "answers.sqlite")
    assert first.ask(questions) == [FOUR] * 4
    assert (first.hits, first.misses) == (0, 4)
    again = CachedJudge(judge, tmp_path / "deep" / "answers.sqlite")
    assert again.ask([*questions, edit_questions(1)[0]]) == [FOUR] * 5
    assert (again.hits, again.misses) == (4, 1)
    assert len(judge.asked) == 5
    assert again.fingerprint == "judge"


def test_equal_questions_of_one_call_are_asked_once(tmp_path: Path) -> None:
    judge = CountingJudge()
    assert CachedJudge(judge, tmp_path / "a").ask(edit_questions() + edit_questions()) == [FOUR] * 8
    assert len(judge.asked) == 4


def test_the_key_holds_prompt_pixels_choices_and_judge() -> None:
    base = edit_questions()[0]
    one_pixel = noise(0)
    one_pixel.putpixel((5, 5), (0, 0, 0))
    others = [
        replace(base, tail=base.tail + " "),
        replace(base, stem=(base.stem[0] + ".", *base.stem[1:])),
        replace(base, choices=DIGITS[:5]),
        replace(base, images=(one_pixel, base.images[1])),
        replace(base, images=base.images[::-1]),
    ]
    (key,) = question_keys([base], "judge")
    assert question_keys(edit_questions()[:1], "judge") == [key], "the same pixels in another object"
    assert len({key, *question_keys(others, "judge"), *question_keys([base], "judge@2")}) == 7


def test_a_changed_judge_is_asked_anew(tmp_path: Path) -> None:
    CachedJudge(CountingJudge("revision 1"), tmp_path / "a").ask(edit_questions())
    changed = CachedJudge(CountingJudge("revision 2"), tmp_path / "a")
    changed.ask(edit_questions())
    assert (changed.hits, changed.misses) == (0, 4)


def test_failures_are_never_kept(tmp_path: Path) -> None:
    questions = edit_questions(tails=TAILS[:3])
    with serving(GOOD, status(400, "filtered"), says({"four": 1.0}), GOOD) as server:
        judge = OpenAIJudge("m", [server.url], concurrency=1, attempts=1)
        first = CachedJudge(judge, tmp_path / "a").ask(questions)
        second_judge = CachedJudge(judge, tmp_path / "a")
        second = second_judge.ask(questions)
    assert [answer.probabilities is None for answer in first] == [False, True, True]
    assert all(answer.probabilities for answer in second)
    assert (second_judge.hits, second_judge.misses) == (1, 2)
    assert second[0] == first[0], "missing choices are kept too"
    assert second[0].missing == ("0", "1", "2", "3")


def test_a_second_run_is_not_stopped_by_the_few_that_fail_again(tmp_path: Path) -> None:
    good = [q for edit in range(10) for q in edit_questions(edit)]
    bad = edit_questions(30)
    CachedJudge(CountingJudge(), tmp_path / "a").ask(good)
    limit = UnscorableLimit(0.2, 4)
    with serving(status(400, "filtered")) as server:
        judge = OpenAIJudge("m", [server.url], limit=limit)
        judge.__dict__["_fingerprint"] = "judge"
        answers = CachedJudge(judge, tmp_path / "a", limit).ask(good + bad)
    assert sum(answer.probabilities is None for answer in answers) == 4


def test_what_was_answered_before_the_judge_died_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "CHUNK", 4)

    class Dying(CountingJudge):
        def ask(self, questions: Sequence[Question]) -> list[Answer]:
            if len(self.asked) >= 8:
                raise HPEditError("no server of the judge answers any more")
            return super().ask(questions)

    questions = [q for edit in range(4) for q in edit_questions(edit)]
    with pytest.raises(HPEditError):
        CachedJudge(Dying(), tmp_path / "a").ask(questions)
    again = CachedJudge(CountingJudge(), tmp_path / "a")
    again.ask(questions)
    assert (again.hits, again.misses) == (8, 8)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE answers SET value = substr(value, 1, 20)",
        "UPDATE answers SET value = replace(value, '0.8', '0.9')",
        "UPDATE answers SET digest = ''",
        "UPDATE answers SET value = x'00ff'",
    ],
    ids=["torn", "changed", "no digest", "bytes"],
)
def test_a_damaged_entry_is_asked_again_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    questions = edit_questions(tails=TAILS[:2])
    CachedJudge(CountingJudge(), tmp_path / "a").ask(questions)
    (key, _) = question_keys(questions, "judge")
    connection = sqlite3.connect(tmp_path / "a")
    connection.execute(damage + " WHERE key = ?", (key,))
    connection.commit()
    connection.close()
    judge = CachedJudge(CountingJudge(), tmp_path / "a")
    assert judge.ask(questions) == [FOUR] * 2
    assert (judge.hits, judge.misses, judge.damaged) == (1, 1, 1)
    assert key in caplog.text
    mended = CachedJudge(CountingJudge(), tmp_path / "a")
    mended.ask(questions)
    assert (mended.hits, mended.damaged) == (2, 0)


def test_an_answer_with_other_choices_than_asked_is_damaged(tmp_path: Path) -> None:
    yes_no = edit_questions(choices=YES_NO)[:1]
    CachedJudge(CountingJudge(answer=FOUR), tmp_path / "a").ask(yes_no)
    judge = CachedJudge(CountingJudge(answer=Answer((0.5, 0.5))), tmp_path / "a")
    assert judge.ask(yes_no) == [Answer((0.5, 0.5))]
    assert judge.damaged == 1


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_cache_is_left_alone_and_the_run_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    (tmp_path / "a").write_bytes(content)
    assert CachedJudge(CountingJudge(), tmp_path / "a").ask(edit_questions()) == [FOUR] * 4
    assert (tmp_path / "a").read_bytes() == content
    assert "can't be read" in caplog.text
    assert "can't be stored" in caplog.text


def test_a_folder_that_can_not_be_written_does_not_stop_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert CachedJudge(CountingJudge(), tmp_path / "file" / "a").ask(edit_questions()) == [FOUR] * 4
    assert "can't be stored" in caplog.text


WRITER = """
import sys
from pathlib import Path
from tests.judges.questions import CountingJudge, edit_questions
from hpedit.judges import answer_cache
answer_cache.CHUNK = 1
print("ready", flush=True)
sys.stdin.readline()
for edit in range(int(sys.argv[2]), int(sys.argv[3])):
    answer_cache.CachedJudge(CountingJudge(), Path(sys.argv[1])).ask(edit_questions(edit))
    print(edit, flush=True)
"""


def writer(path: Path, first: int, last: int) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(first), str(last)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": "."},
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def go(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()


@pytest.mark.slow
def test_two_processes_share_a_file(tmp_path: Path) -> None:
    children = [writer(tmp_path / "a", 0, 15), writer(tmp_path / "a", 10, 25)]
    for child in children:
        go(child)
    for child in children:
        _, errors = child.communicate(timeout=120)
        assert child.returncode == 0
        assert not errors
    judge = CachedJudge(CountingJudge(), tmp_path / "a")
    judge.ask([q for edit in range(25) for q in edit_questions(edit)])
    assert judge.misses == 0


def test_all_who_make_a_file_at_once_can_use_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    start = threading.Barrier(8)

    def use(path: Path) -> None:
        judge = CachedJudge(CountingJudge(), path)
        start.wait()
        judge.ask(edit_questions(0)[:1])

    for number in range(25):
        users = [threading.Thread(target=use, args=(tmp_path / str(number),)) for _ in range(8)]
        for user in users:
            user.start()
        for user in users:
            user.join()
    assert not caplog.messages


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 3, 7])
def test_kill_9_while_writing_leaves_a_usable_file(tmp_path: Path, after: int) -> None:
    child = writer(tmp_path / "a", 0, 10_000)
    go(child)
    assert child.stdout is not None
    for _ in range(after):
        done = int(child.stdout.readline())
    time.sleep(0.003 * after)
    child.send_signal(signal.SIGKILL)
    child.wait()
    judge = CachedJudge(CountingJudge(), tmp_path / "a")
    judge.ask([q for edit in range(done + 1) for q in edit_questions(edit)])
    assert (judge.misses, judge.damaged) == (0, 0), "what was confirmed is there"
    connection = sqlite3.connect(tmp_path / "a")
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
