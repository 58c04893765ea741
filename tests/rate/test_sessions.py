"""Sessions end, names that look alike are one rater, and what is missing is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.rate.serving import Serving

from hpedit.rate import sessions
from hpedit.rate.launch import prepare_rating
from hpedit.rate.sessions import RatingSettings
from hpedit.ratings.store import RatingStore


def test_a_changed_token_ends_all_sessions_and_the_same_one_none(edits: Path, tmp_path: Path) -> None:
    with RatingStore.hold(tmp_path / "ratings.sqlite") as store:
        service, _ = prepare_rating(store, edits, RatingSettings(kind="score"), practice=0)
        service.require_token("a" * 20)
        with store.transaction():
            cookie, _ = service.sign_in("Anna")
        service.require_token("a" * 20)
        assert service.session(cookie) is not None
        service.require_token("b" * 20)
        assert service.session(cookie) is None
        with store.transaction():
            cookie, _ = service.sign_in("Anna")
        service.require_token(None)
        assert service.session(cookie) is None


def test_a_session_expires_on_the_server_too(edits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with RatingStore.hold(tmp_path / "ratings.sqlite") as store:
        service, _ = prepare_rating(store, edits, RatingSettings(kind="score"), practice=0)
        with store.transaction():
            cookie, _ = service.sign_in("Anna")
        assert service.session(cookie) is not None
        monkeypatch.setattr(sessions, "SESSION_SECONDS", 0.0)
        assert service.session(cookie) is None


@pytest.mark.parametrize(
    "name",
    ["ANNA", "An\u200bna", "Anna\ufe0f", "\u2060Anna", "Ａｎｎａ", "Anna\u3164", "\u202eAnna", "\u2066Anna\u2069"],
)
def test_names_that_look_alike_are_one_rater(app: Serving, name: str) -> None:
    app.rater("Anna")
    app.rater(name)
    with RatingStore.open(app.store.path) as store:
        assert store.raters() == ["Anna"]


@pytest.mark.parametrize("name", ["\u200b", "\u3164", "\u202e"])
def test_names_that_show_nothing_are_refused(app: Serving, name: str) -> None:
    reply = app.rater(sign_in=False).http.post("/api/session", json={"rater": name, "token": None})
    assert (reply.status_code, reply.json()["hint"]) == (422, "without control characters")


def test_a_study_takes_so_many_raters(app: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_RATERS", 1)
    app.rater("Anna")
    app.rater("anna")
    reply = app.rater(sign_in=False).http.post("/api/session", json={"rater": "Ben", "token": None})
    assert (reply.status_code, reply.json()["error"]) == (409, "this study has 1 raters already")


@pytest.mark.parametrize("damage", ["gone", "altered"])
def test_a_missing_or_altered_picture_is_said(app: Serving, damage: str) -> None:
    rater = app.rater()
    item = rater.ok(rater.http.get("/api/next"))["item"]
    for path in app.store.path.with_name("ratings.sqlite.pictures").glob("*.png"):
        path.unlink() if damage == "gone" else path.write_bytes(path.read_bytes()[:-30] + bytes(30))
    reply = rater.http.get(item["source"])
    assert reply.status_code == 404
    assert "start the server again" in reply.json()["hint"]
