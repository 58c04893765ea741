"""Rewards of the user's own: functions by their dotted path, and a real HTTP service."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from hpedit.errors import HPEditError
from hpedit.records import Case
from hpedit.scorer.custom_reward import FunctionScorer, HTTPScorer, is_custom, load_custom

SOURCE = """
def red(source, edit, instruction):
    assert source.mode == edit.mode == "RGB" and isinstance(instruction, str)
    return edit.resize((1, 1)).getpixel((0, 0))[0] / 51

def nothing(source, edit, instruction):
    return None

def broken(source, edit, instruction):
    return 7.0

def text(source, edit, instruction):
    return "3"

def raising(source, edit, instruction):
    raise KeyError("no such model")

class Whole:
    fingerprint = "whole"
    def score(self, cases, images, edit_ids=None):
        return ["as it is"]

class Callable:
    def __call__(self, source, edit, instruction):
        return 2.5

number = 3
"""
CASE = Case("a", "style", "make it red", (Image.new("RGB", (8, 8)),), "photo")
IMAGES = [Image.new("RGB", (8, 8), (255, 0, 0)), Image.new("RGB", (8, 8), (102, 0, 0))]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's in the working directory."""
    name = f"rewards_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    return name


def test_a_function_is_a_scorer(module: str) -> None:
    scorer = load_custom(f"{module}.red")
    scores = scorer.score([CASE, CASE], IMAGES, ["one", "two"])
    assert [(score.edit_id, score.value) for score in scores] == [("one", 5.0), ("two", 2.0)]
    assert scorer.fingerprint == load_custom(f"{module}.red").fingerprint
    assert scorer.fingerprint != load_custom(f"{module}.nothing").fingerprint
    assert load_custom(f"{module}.Callable").score([CASE], IMAGES[:1])[0].value == 2.5
    (none,) = load_custom(f"{module}.nothing").score([CASE], IMAGES[:1])
    assert none.value is None
    assert none.reason


def test_an_object_with_score_is_taken_as_it_is(module: str) -> None:
    scorer: Any = load_custom(f"{module}.Whole")
    assert scorer.score([CASE], IMAGES[:1]) == ["as it is"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("broken", "gave 7.0"), ("text", "gave '3'"), ("raising", "KeyError"), ("number", "can't be called"),
        ("missing", "has no missing"),
    ],
)  # fmt: skip
def test_what_is_no_reward_is_named(module: str, name: str, says: str) -> None:
    with pytest.raises(HPEditError, match=says):
        load_custom(f"{module}.{name}").score([CASE], IMAGES[:1])
    with pytest.raises(HPEditError, match="no module"):
        load_custom("no_such_package.reward")


def test_folders_are_not_custom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs.v2").mkdir()
    assert not is_custom("runs.v2")
    assert not is_custom("runs/scorer")
    assert not is_custom("scorer")
    assert is_custom("my_package.rewards.identity")
    assert is_custom("http://127.0.0.1:9000/score")


class Service(BaseHTTPRequestHandler):
    """Scores by the red of the edit; `mode` makes it misbehave."""

    mode = "good"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["edits"]
        scores: list[float | None] = []
        for edit in asked:
            data = base64.b64decode(edit["edit"].partition(",")[2])
            scores.append(Image.open(io.BytesIO(data)).getpixel((0, 0))[0] / 51)  # type: ignore[index,operator]
            assert edit.keys() == {"id", "task", "instruction", "source", "edit"}
        body = json.dumps({"scores": scores, "fingerprint": "red-1"})
        if self.mode == "short":
            body = json.dumps({"scores": scores[1:]})
        if self.mode == "text":
            body = "<html>"
        if self.mode == "large":
            body = json.dumps({"scores": scores, "more": "x" * 17_000_000})
        self.send_response(500 if self.mode == "fails" else 200)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def service() -> Iterator[str]:
    Service.mode = "good"
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/score"
    server.shutdown()
    server.server_close()


def test_a_service_is_a_scorer(service: str) -> None:
    scorer = load_custom(service)
    assert isinstance(scorer, HTTPScorer)
    assert [score.value for score in scorer.score([CASE, CASE], IMAGES)] == [5.0, 2.0]
    assert scorer.fingerprint == HTTPScorer(service).fingerprint


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        ("short", "one score for each"),
        ("text", "not JSON"),
        ("fails", "answers 500"),
        ("large", "more than 16,000,000"),
    ],
)
def test_a_service_that_misbehaves_is_named(service: str, mode: str, says: str) -> None:
    scorer = load_custom(service)
    Service.mode = mode
    with pytest.raises(HPEditError, match=says):
        scorer.score([CASE, CASE], IMAGES)


def test_no_service_is_named() -> None:
    with pytest.raises(HPEditError, match="can't be reached"):
        load_custom("http://127.0.0.1:9/score")


def test_a_lambda_has_a_name() -> None:
    scorer = FunctionScorer(lambda *_: 1.0)
    assert scorer.score([CASE], IMAGES[:1])[0].value == 1.0
    assert scorer.name
