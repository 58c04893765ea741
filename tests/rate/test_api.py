"""Answers over real HTTP and real SQLite: nothing is lost, doubled, or stuck."""

from __future__ import annotations

import datetime
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from tests.rate.serving import Serving, error_of, make_edits, serving

from hpedit.errors import HPEditError
from hpedit.rate.batched_writer import BatchedWriter
from hpedit.rate.launch import prepare_rating
from hpedit.rate.requests import AnswerBody
from hpedit.rate.sessions import RatingSettings
from hpedit.ratings.store import RatingStore, utc_now


def test_a_rater_scores_all_edits_once_each(app: Serving) -> None:
    anna = app.rater()
    shown = []
    while (item := anna.next()) is not None:
        assert (item["kind"], item["phase"], item["task"]) == ("score", "rate", "Colour change")
        assert (item["width"], item["height"], item["references"]) == (24, 16, [])
        reply = anna.answer(item, len(shown) % 6, flags=["unsafe"] if not shown else [], ms=1500)
        assert (reply["stored"], reply["duplicate"], reply["feedback"]) == (True, False, None)
        shown.append(item)
    assert reply["progress"] == {"done": 8, "total": 8, "practice_done": 0, "practice_total": 0, "can_undo": True}
    answers = app.store.answers()
    assert sorted(answer.edit_ids[0] for answer in answers) == sorted(f"e{c}-{e}" for c in range(4) for e in range(2))
    assert [answer.value for answer in answers] == [0, 1, 2, 3, 4, 5, 0, 1]
    assert (answers[0].flags, answers[0].ms, answers[0].rater, answers[0].late) == (("unsafe",), 1500, "Anna", False)
    assert (answers[0].task, answers[0].phase, answers[0].expected) == ("color", "rate", None)
    assert answers[0].time.endswith("+00:00")


def test_asking_again_gives_the_same_item(app: Serving) -> None:
    anna = app.rater()
    first = anna.next()
    assert first == anna.next() == app.rater("anna").next()


def test_half_scores_skips_and_their_refusals(app: Serving) -> None:
    anna = app.rater()
    item = anna.next()
    assert item is not None
    for bad in (6, -1, 2.3, "A", "great", True, None, [3], 10**400):
        assert anna.post_answer(item, bad).status_code == 422
    assert anna.post_answer(item, 3, flags=["<script>"]).status_code == 422
    assert anna.post_answer(item, 3, client_id="x").status_code == 422
    assert anna.post_answer({"assignment": "nobody's"}, 3).status_code == 404
    anna.answer(item, 2.5)
    again = anna.next()
    assert again is not None
    anna.answer(again, "skip")
    assert [answer.value for answer in app.store.answers()] == [2.5, "skip"]


def test_a_repeated_answer_is_stored_once_and_confirmed(app: Serving) -> None:
    anna = app.rater()
    item, name = anna.next(), str(uuid.uuid4())
    assert item is not None
    replies = [anna.answer(item, 4, name) for _ in range(3)]
    assert [reply["duplicate"] for reply in replies] == [False, True, True]
    assert len(app.store.answers()) == 1
    assert anna.post_answer(item, 5, name).status_code == 409


def test_the_disk_is_waited_for(app: Serving) -> None:
    query = app.store.connection.execute
    # 2 = FULL: in WAL mode SQLite then fsyncs every commit (sqlite.org/pragma.html#pragma_synchronous).
    assert (query("PRAGMA journal_mode").fetchone()[0], query("PRAGMA synchronous").fetchone()[0]) == ("wal", 2)


def test_no_reply_comes_before_the_commit(app: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    anna = app.rater()
    item = anna.next()
    assert item is not None
    committed = threading.Event()
    real = app.store.transaction

    @contextmanager
    def slow() -> Iterator[sqlite3.Connection]:
        with real() as connection:
            yield connection
            time.sleep(0.2)
        committed.set()

    monkeypatch.setattr(RatingStore, "transaction", lambda _: slow())
    anna.answer(item, 3)
    assert committed.is_set()


def test_a_bug_in_one_operation_fails_it_alone(edits: Path, tmp_path: Path) -> None:
    with RatingStore.hold(tmp_path / "r.sqlite") as store:
        service, _ = prepare_rating(store, edits, RatingSettings("score"), practice=0)
        with closing(BatchedWriter(store, service.reload)) as writer:

            def broken() -> None:
                store.connection.execute("INSERT INTO meta VALUES ('half', 'done')")
                raise ZeroDivisionError

            def patient() -> None:
                time.sleep(0.1)

            writer.submit(lambda: service.sign_in("Anna")).result()
            item = writer.submit(lambda: service.next(1)).result()["item"]
            new = AnswerBody(client_id="11111111", assignment=item["assignment"], value=3.0)
            # While the first is at work the others come to wait, and share a transaction.
            first, answered, failed, last = (
                writer.submit(operation)
                for operation in (patient, lambda: service.answer(1, new), broken, lambda: service.sign_in("Berta"))
            )
            with pytest.raises(ZeroDivisionError):
                failed.result()
            # The answer was rolled back with it, in memory too, and stored by itself.
            assert answered.result()["duplicate"] is False
            assert last.result()[1]["rater"] == "Berta"
        assert first.done()
        assert [answer.value for answer in store.answers()] == [3]
        assert store.meta("half") is None


def test_a_caller_that_gives_up_does_not_end_the_writer(tmp_path: Path) -> None:
    with RatingStore.hold(tmp_path / "r.sqlite") as store, closing(BatchedWriter(store, lambda: None)) as writer:
        begun, go_on = threading.Event(), threading.Event()

        def patient() -> str:
            begun.set()
            go_on.wait(5)
            return "patient"

        first = writer.submit(patient)
        assert begun.wait(5)
        given_up, last = writer.submit(lambda: "never"), writer.submit(lambda: "last")
        # What waits can be given up; what is under way can't, since it will be on the disk.
        assert (first.cancel(), given_up.cancel()) == (False, True)
        go_on.set()
        assert (first.result(5), last.result(5)) == ("patient", "last")


def test_second_click_and_stale_page_change_nothing(app: Serving) -> None:
    anna = app.rater()
    item = anna.next()
    assert item is not None
    anna.answer(item, 4)
    # A held key or a second tab sends the same decision under another id; a stale page another decision.
    assert anna.answer(item, 4)["duplicate"] is True
    refused = anna.post_answer(item, 1)
    assert refused.status_code == 409
    assert "another answer" in error_of(refused)
    assert [answer.value for answer in app.store.answers()] == [4]


def test_undo_shows_the_item_again_and_keeps_the_old_answer(app: Serving) -> None:
    anna = app.rater()
    item, name, undo = anna.next(), str(uuid.uuid4()), str(uuid.uuid4())
    assert item is not None
    anna.answer(item, 1, name)
    other = anna.next()
    back = anna.ok(anna.undo(name, undo))["item"]
    assert (back["assignment"], back["previous"], back["edits"]) == (item["assignment"], 1, item["edits"])
    assert anna.ok(anna.undo(name, undo))["item"]["assignment"] == item["assignment"]
    assert anna.undo(name).status_code == 409
    # The network delivers the old answer once more: it was stored, and stays taken back.
    assert anna.answer(item, 1, name)["duplicate"] is True
    assert app.store.answers() == []
    shown = anna.next()
    assert shown is not None
    assert shown["assignment"] == item["assignment"]
    anna.answer(item, 5)
    after = anna.next()
    assert after is not None
    assert other is not None
    assert after["assignment"] == other["assignment"]
    assert [answer.value for answer in app.store.answers()] == [5]
    old, new = app.store.answers(include_superseded=True)
    assert (old.value, old.superseded_by, new.value, new.superseded_by) == (1, 2, 5, None)


def test_undo_of_the_last_answer_without_naming_it(app: Serving) -> None:
    anna = app.rater()
    assert anna.undo().status_code == 404
    item = anna.next()
    assert item is not None
    anna.answer(item, 1)
    assert anna.ok(anna.undo())["item"]["assignment"] == item["assignment"]
    assert app.store.answers() == []


def test_a_late_answer_counts_as_overlap(edits: Path, tmp_path: Path) -> None:
    now = [1000.0]
    with serving(edits, tmp_path / "r.sqlite", overlap=1, lease=60) as app:
        app.service.plan._clock = lambda: now[0]
        anna, berta = app.rater("Anna"), app.rater("Berta")
        item = anna.next()
        assert item is not None
        now[0] += 61
        assert berta.rate_all() == 8
        # The item is full, so Anna is not asked again; but what she has on her screen she may still answer.
        assert anna.next() is None
        anna.answer(item, 2)
        answers = app.store.answers()
        assert [answer.late for answer in answers if answer.rater == "Anna"] == [True]
        assert len(answers) == 9
        assert anna.next() is None


def test_whoever_returns_before_the_place_is_taken_keeps_it(edits: Path, tmp_path: Path) -> None:
    with serving(edits, tmp_path / "r.sqlite", overlap=1, lease=0.001) as app:
        anna = app.rater("Anna")
        assert anna.next() == anna.next()


def test_an_item_whose_holders_all_left_goes_to_the_next_rater(edits: Path, tmp_path: Path) -> None:
    now = [1000.0]
    with serving(edits, tmp_path / "r.sqlite", overlap=1, lease=60) as app:
        app.service.plan._clock = lambda: now[0]
        for name in ("Anna", "Berta"):
            assert app.rater(name).next() is not None
            now[0] += 61
        assert app.rater("Clara").rate_all() == 8


def test_leases_ignore_the_wall_clock(app: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    anna = app.rater()
    item = anna.next()
    assert item is not None
    times = iter(["2031-03-30T03:30:00.000+00:00", "1999-01-01T00:00:00.000+00:00"])
    monkeypatch.setattr("hpedit.rate.sessions.utc_now", lambda: next(times, "1999-01-01T00:00:00.000+00:00"))
    anna.answer(item, 1)
    second = anna.next()
    assert second is not None
    anna.answer(second, 2)
    answers = app.store.answers()
    # The order is that of the changes, whatever the clock said.
    assert [answer.value for answer in answers] == [1, 2]
    assert answers[0].time > answers[1].time
    assert not any(answer.late for answer in answers)


def test_times_are_utc_in_any_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    try:
        assert abs(datetime.datetime.fromisoformat(utc_now()).timestamp() - time.time()) < 5
        assert utc_now().endswith("+00:00")
    finally:
        monkeypatch.undo()
        time.tzset()


def test_full_disk_is_said_and_nothing_is_half_stored(app: Serving) -> None:
    anna = app.rater()
    item = anna.next()
    assert item is not None
    query = app.store.connection.execute
    query(f"PRAGMA max_page_count = {query('PRAGMA page_count').fetchone()[0]}")
    # Answers and undos of one item fill the pages that are there.
    for turn in range(400):
        name = str(uuid.uuid4())
        response = anna.post_answer(item, turn % 6, name) if turn % 2 == 0 else anna.undo(None, name)
        if response.status_code != 200:
            break
    before = app.store.change
    assert response.status_code == 507
    assert "full" in error_of(response)
    assert "locked" not in response.text
    assert before == turn
    # With room again the same request succeeds: what the server holds in memory is what the disk holds.
    query("PRAGMA max_page_count = 1000000")
    response = anna.post_answer(item, turn % 6, name) if turn % 2 == 0 else anna.undo(None, name)
    assert response.status_code == 200
    assert app.store.change == before + 1


def test_moved_store_is_said(app: Serving) -> None:
    anna = app.rater()
    item = anna.next()
    assert item is not None
    moved = app.store.path.rename(app.store.path.with_name("elsewhere.sqlite"))
    refused = anna.post_answer(item, 3)
    assert refused.status_code == 503
    assert "moved or deleted" in error_of(refused)
    # Another file in its place is not it either.
    shutil.copy(moved, app.store.path)
    assert anna.post_answer(item, 3).status_code == 503
    moved.rename(app.store.path)
    assert anna.post_answer(item, 3).status_code == 200


def test_read_only_store_is_said_and_recovers(app: Serving) -> None:
    anna = app.rater()
    item, name = anna.next(), str(uuid.uuid4())
    assert item is not None
    app.store.connection.execute("PRAGMA query_only = ON")
    refused = anna.post_answer(item, 3, name)
    assert refused.status_code == 503
    assert "read-only" in error_of(refused)
    assert app.store.answers() == []
    app.store.connection.execute("PRAGMA query_only = OFF")
    assert anna.answer(item, 3, name)["duplicate"] is False
    assert len(app.store.answers()) == 1


def test_a_second_server_on_one_store_refuses(app: Serving, tmp_path: Path) -> None:
    link = tmp_path / "link.sqlite"
    link.symlink_to(app.store.path)
    for path in (app.store.path, link):
        with pytest.raises(HPEditError, match="in use by another rating server"):
            RatingStore.hold(path)


def test_a_reader_is_not_in_the_way_of_the_writer(app: Serving) -> None:
    anna = app.rater()
    with RatingStore.open(app.store.path) as reader:
        reader.connection.execute("BEGIN")
        assert reader.answers() == []
        item = anna.next()
        assert item is not None
        anna.answer(item, 3)
        assert reader.answers() == []
        reader.connection.execute("COMMIT")
        assert len(reader.answers()) == 1
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.connection.execute("DELETE FROM sessions")


def test_an_export_names_the_state_that_it_holds(app: Serving) -> None:
    anna = app.rater()
    name = str(uuid.uuid4())
    item = anna.next()
    assert item is not None
    anna.answer(item, 1, name)
    exported = app.store.change
    anna.ok(anna.undo(name))
    anna.answer(item, 5)
    assert [answer.value for answer in app.store.answers()] == [5]
    assert [answer.value for answer in app.store.answers(as_of=exported)] == [1]
    assert app.store.change > exported
    for statement in ("DELETE FROM changes", "UPDATE changes SET value = '3'"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            app.store.connection.execute(statement)


def test_everything_survives_a_restart(edits: Path, tmp_path: Path) -> None:
    db = tmp_path / "r.sqlite"
    with serving(edits, db) as app:
        anna, port = app.rater(), int(app.base.rsplit(":", 1)[1])
        for value in range(3):
            item = anna.next()
            assert item is not None
            anna.answer(item, value)
        held = anna.next()
        cookies = dict(anna.http.cookies)
    with serving(edits, db, port=port) as app:
        anna = app.rater(sign_in=False)
        anna.http.cookies.update(cookies)
        assert held is not None
        # A page that was open all the time loads its pictures and answers as if nothing had been.
        assert anna.picture(held["edits"][0]).status_code == 200
        assert anna.next() == held
        anna.answer(held, 3)
        assert anna.rate_all() == 4
        assert len(app.store.answers()) == 8


def test_a_run_may_lose_and_gain_edits_between_starts(tmp_path: Path) -> None:
    db, folder = tmp_path / "r.sqlite", make_edits(tmp_path / "edits", cases=4, editors=1)
    with serving(folder, db, overlap=1) as app:
        assert app.rater().rate_all() == 4
    table = (folder / "edits.csv").read_text().splitlines(keepends=True)
    (folder / "edits.csv").write_text("".join(table[:2]))
    with serving(folder, db, overlap=1) as app:
        anna = app.rater()
        reply = anna.ok(anna.http.get("/api/next"))
        assert (reply["done"], reply["progress"]["done"], reply["progress"]["total"]) == (True, 4, 4)
        # What is no longer shown can still be taken back; there is only nothing to show.
        assert [answer for answer in app.store.answers() if answer.edit_ids == ("e0-0",)]
        for _ in range(4):
            assert anna.undo().status_code == 200
    make_edits(folder, cases=5, editors=1)
    with serving(folder, db, overlap=1) as app:
        # Anna's four are kept for her after a restart, for one lease.
        assert (app.rater("Berta").rate_all(), app.rater().rate_all()) == (1, 4)


def test_a_store_keeps_to_its_mode_and_its_pictures(edits: Path, tmp_path: Path) -> None:
    db = tmp_path / "r.sqlite"
    with serving(edits, db):
        pass
    with pytest.raises(HPEditError, match="made with kind score, not compare"), serving(edits, db, kind="compare"):
        pass
    with pytest.raises(HPEditError, match="made with seed 7, not 8"), serving(edits, db, seed="8"):
        pass
    make_edits(edits, size=(26, 16))
    with pytest.raises(HPEditError, match="other pictures"), serving(edits, db):
        pass


def test_practice_comes_first_with_feedback_and_never_counts(edits: Path, tmp_path: Path) -> None:
    with serving(edits, tmp_path / "r.sqlite", practice=10) as app:
        anna = app.rater()
        assert anna.ok(anna.http.get("/api/session")) == {"rater": "Anna", "practice_left": 10}
        right = []
        for _ in range(10):
            item = anna.next()
            assert item is not None
            assert item["phase"] == "practice"
            feedback = anna.answer(item, 5)["feedback"]
            assert feedback["text"]
            right.append(feedback["right"])
            assert feedback["right"] == (feedback["expected"] >= 4)
        assert (right.count(True), right.count(False)) == (3, 7)
        assert anna.undo().status_code == 409
        assert anna.ok(anna.http.get("/api/session"))["practice_left"] == 0
        item = anna.next()
        assert item is not None
        assert item["phase"] == "rate"
        assert item["progress"]["done"] == 0
        assert {answer.phase for answer in app.store.answers()} == {"practice"}


def test_a_broken_request_is_json_too(app: Serving) -> None:
    anna = app.rater()
    for body in (b"{", b"[" * 60_000, b"\xff", b'{"rater": "\\ud800"}', b'{"rater": ""}', b'{"rater": "a\\u0000b"}'):
        response = anna.http.post("/api/session", content=body, headers={"Content-Type": "application/json"})
        assert response.status_code in (400, 422), body[:20]
        error_of(response)
    for response in (anna.http.get("/nothing"), anna.http.put("/api/next"), anna.http.get("/api/next?ahead=99")):
        assert response.status_code in (404, 405, 422)
        error_of(response)
    assert anna.ok(anna.http.get("/healthz")) == {"ok": True}


def test_signing_out_ends_the_session(app: Serving) -> None:
    anna = app.rater()
    cookies = dict(anna.http.cookies)
    assert anna.http.delete("/api/session").status_code == 200
    anna.http.cookies.update(cookies)
    for path in ("/api/session", "/api/next"):
        assert anna.http.get(path).status_code == 401


@pytest.mark.slow
def test_the_server_needs_no_torch() -> None:
    code = "import sys, hpedit.rate.launch, hpedit.store.tables; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
