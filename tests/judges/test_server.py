"""Our own server of a judge: a real one, on the loopback, asked by the openai client and by hand."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import openai
import pytest
import uvicorn
from PIL import Image
from tests.judges.questions import edit_questions, noise
from tests.judges.servers import serving, status

from hpedit.errors import HPEditError
from hpedit.judges import judge_server as server_module
from hpedit.judges import load_judge
from hpedit.judges.batching import Batcher, BatcherFull
from hpedit.judges.endpoints import Endpoints
from hpedit.judges.judge_server import MAX_PICTURES, TopJudge, Tops, build_app, check_address, run_server
from hpedit.judges.openai_judge import OpenAIJudge
from hpedit.judges.picture_encoding import data_url
from hpedit.judges.protocol import IMAGE, YES_NO, Judge, Question
from hpedit.judges.transformers_judge import TransformersJudge
from hpedit.records import Case
from hpedit.scorer.prompts import score_question
from hpedit.tasks import TASK_IDS
from hpedit.web import lingering_close

TOKEN = "a-token-of-some-length"


@contextmanager
def served(judge: TopJudge, token: str | None = None, hosts: Sequence[str] = ("127.0.0.1",)) -> Iterator[str]:
    """The server in a thread; yields its base URL."""
    config = uvicorn.Config(build_app(judge, "mini", token=token, hosts=hosts), port=0, log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.should_exit = True
        thread.join()


@dataclass
class Plain:
    """Says 4; keeps the batches it was given."""

    fingerprint: str = "plain"
    batches: list[list[Question]] = field(default_factory=list)
    seconds: float = 0.0

    def top(self, questions: Sequence[Question], count: int) -> list[Tops]:
        self.batches.append(list(questions))
        time.sleep(self.seconds)
        if any("fail" in question.tail for question in questions):
            raise HPEditError("this judge fails")
        return [[("4", -0.1), ("5", -2.4), (" 4", -9.0)][:count] for _ in questions]


@pytest.fixture(scope="module")
def mini() -> TransformersJudge:
    return TransformersJudge.load("mini")


@pytest.fixture(scope="module")
def mini_url(mini: TransformersJudge) -> Iterator[str]:
    with served(mini) as url:
        yield url


@pytest.fixture
def plain() -> Iterator[tuple[Plain, str]]:
    judge = Plain()
    with served(judge) as url:
        yield judge, url


def scores(count: int) -> list[Question]:
    cases = [Case(str(k), TASK_IDS[k % 8], "make the red ball blue", (noise(k),), str(k)) for k in range(count)]
    return [score_question(case, noise(100 + k)) for k, case in enumerate(cases)]


def post(url: str, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {"content-type": "application/json", **{key.replace("_", "-"): value for key, value in headers.items()}}
    request = urllib.request.Request(url + "/chat/completions", data, named)
    try:
        with urllib.request.urlopen(request) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        text = error.read()
        return error.code, json.loads(text) if text.startswith(b"{") else {"error": {"message": text.decode()}}


def chat(*parts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"model": "mini", "messages": [{"role": "user", "content": list(parts)}], **fields}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def picture(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


# The same judge over HTTP and in process


def test_over_HTTP_the_probabilities_are_those_of_the_judge_in_process(mini: TransformersJudge, mini_url: str) -> None:
    asked = scores(20)
    remote = OpenAIJudge("mini", [mini_url]).ask(asked)
    for near, far in zip(mini.ask(asked), remote, strict=True):
        assert far.probabilities == pytest.approx(near.probabilities, abs=1e-4)


def test_several_questions_about_one_edit_are_the_same_over_HTTP(mini: TransformersJudge, mini_url: str) -> None:
    asked = [q for edit in range(3) for q in edit_questions(edit)]
    remote = OpenAIJudge("mini", [mini_url]).ask(asked)
    near = [(a.probabilities, a.reason is None) for a in mini.ask(asked)]
    assert any(readable for _, readable in near)
    for (probabilities, readable), far in zip(near, remote, strict=True):
        assert (far.reason is None) == readable
        if readable:
            assert far.probabilities == pytest.approx(probabilities, abs=1e-3)


def test_the_servers_judge_names_its_weights(mini: TransformersJudge, mini_url: str) -> None:
    name = load_judge(f"{mini_url}#mini").fingerprint
    assert name == load_judge(f"{mini_url}#mini").fingerprint
    with served(Plain()) as other:
        assert load_judge(f"{other}#mini").fingerprint != name
    assert mini.fingerprint != name, "the way it is read differs: 20 listed tokens"


def test_the_openai_client_gets_a_whole_chat_completion(mini_url: str) -> None:
    client = openai.OpenAI(base_url=mini_url, api_key="none", max_retries=0)
    assert [model.id for model in client.models.list()] == ["mini"]
    reply = client.chat.completions.create(
        model="mini",
        messages=[{"role": "user", "content": [text("Rate"), picture(data_url(noise(0))), text("0 to 5:")]}],  # type: ignore[list-item]
        max_completion_tokens=1,
        logprobs=True,
        top_logprobs=5,
    )
    (choice,) = reply.choices
    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    assert choice.finish_reason == "length"
    first = choice.logprobs.content[0]
    assert len(first.top_logprobs) == 5
    assert first.token == first.top_logprobs[0].token == choice.message.content


# Batches


def test_requests_that_arrive_together_run_together() -> None:
    judge = Plain(seconds=0.1)
    with served(judge) as url:
        OpenAIJudge("mini", [url], concurrency=8).ask([q for edit in range(10) for q in edit_questions(edit)])
    assert sum(len(batch) for batch in judge.batches) == 40
    assert len(judge.batches) <= 20
    assert all(question.stem[-1] == IMAGE for batch in judge.batches for question in batch)


def test_one_bad_question_of_a_batch_fails_alone() -> None:
    judge = Plain(seconds=0.05)
    asked = [Question(("x", IMAGE), (noise(0),), tail) for tail in ("a", "fail", "b", "c")]
    with served(judge) as url:
        answers = OpenAIJudge("mini", [url], concurrency=4).ask(asked)
    assert [answer.reason is None for answer in answers] == [True, False, True, True]
    assert "this judge fails" in (answers[1].reason or "")


def test_too_many_waiting_requests_are_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpedit.judges.batching.WAITING", 2)

    async def crowd() -> list[Any]:
        batcher: Batcher[Tops] = Batcher(lambda questions: Plain(seconds=0.1).top(questions, 1), window=0.05)
        found = await asyncio.gather(*(batcher.put(edit_questions()[0]) for _ in range(5)), return_exceptions=True)
        await batcher.close()
        return found

    results = asyncio.run(crowd())
    assert [isinstance(result, BatcherFull) for result in results] == [False, False, True, True, True]


def test_a_batch_that_breaks_is_an_error_for_its_requests_and_the_next_is_served() -> None:
    class Broken(Plain):
        def top(self, questions: Sequence[Question], count: int) -> list[Tops]:
            if not self.batches:
                self.batches.append([])
                raise RuntimeError("out of memory")
            return super().top(questions, count)

    with served(Broken()) as url:
        (answer,) = OpenAIJudge("mini", [url], attempts=3, backoff=0.01).ask(edit_questions()[:1])
    assert answer.probabilities is not None


# What it refuses


def test_no_url_is_ever_fetched(plain: tuple[Plain, str]) -> None:
    with serving(status(200)) as trap:
        trap.models = status(200)
        for url in (
            trap.url,
            "file:///etc/passwd",
            "http://169.254.169.254/latest",
            "//x/y",
            "data:text/html;base64,PA==",
        ):
            code, reply = post(plain[1], chat(picture(url), text("?")))
            assert code == 400
            assert "none is fetched" in reply["error"]["message"]
    assert trap.asked == 0
    assert not plain[0].batches


def png(image: Image.Image, kind: str = "PNG") -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return base64.b64encode(buffer.getvalue()).decode()


BOMB = bytearray(base64.b64decode(png(Image.new("RGB", (8, 8)))))
BOMB[16:24] = (65_000).to_bytes(4, "big") * 2
PICTURES = {
    "a bomb": (f"data:image/png;base64,{base64.b64encode(BOMB).decode()}", ""),
    "not base64": ("data:image/png;base64,@@@", "not base64"),
    "no picture": ("data:image/png;base64,PGh0bWw+", "not an image"),
    "another format": (f"data:image/png;base64,{png(noise(0), 'JPEG')}", "holds JPEG"),
    "truncated": (f"data:image/png;base64,{png(noise(0))[:400]}", "truncated"),
    "a GIF": (f"data:image/gif;base64,{png(noise(0), 'GIF')}", "none is fetched"),
    "empty": ("data:image/png;base64,", "empty"),
}


@pytest.mark.parametrize("case", PICTURES)
def test_a_picture_that_is_none_is_refused(plain: tuple[Plain, str], case: str) -> None:
    url, message = PICTURES[case]
    code, reply = post(plain[1], chat(picture(url), text("?")))
    assert code == 400
    assert message in reply["error"]["message"]
    assert not plain[0].batches


def test_png_jpeg_and_webp_are_taken(plain: tuple[Plain, str]) -> None:
    for kind in ("PNG", "JPEG", "WEBP"):
        assert (
            post(plain[1], chat(picture(f"data:image/{kind.lower()};base64,{png(noise(0), kind)}"), text("?")))[0]
            == 200
        )


WRONG = {
    "more tokens": (chat(text("x"), max_tokens=20), "max_tokens"),
    "sampling": (chat(text("x"), temperature=0.7), "temperature"),
    "several": (chat(text("x"), n=3), "n:"),
    "a stream": (chat(text("x"), stream=True), "stream"),
    "too many alternatives": (chat(text("x"), logprobs=True, top_logprobs=21), "top_logprobs"),
    "a system message": ({"model": "mini", "messages": [{"role": "system", "content": "x"}]}, "role"),
    "two messages": ({"model": "mini", "messages": [{"role": "user", "content": "x"}] * 2}, "messages"),
    "no messages": ({"model": "mini", "messages": []}, "messages"),
    "a part of another kind": (chat({"type": "input_audio", "input_audio": {}}), "input_audio"),
    "no JSON": (b"{", "JSON"),
    "a NUL": (chat(text("a\0b")), "NUL"),
    "a lone NUL": (chat(text("\0")), "NUL"),
    "many pictures": (chat(*[picture(data_url(noise(0)))] * (MAX_PICTURES + 1)), "at most"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_it_does_not_do_is_a_clear_400(plain: tuple[Plain, str], case: str) -> None:
    body, message = WRONG[case]
    code, reply = post(plain[1], body)
    assert code == 400
    assert message in reply["error"]["message"]


def test_another_model_is_404(plain: tuple[Plain, str]) -> None:
    code, reply = post(plain[1], {**chat(text("x")), "model": "gpt-4o"})
    assert code == 404
    assert "only 'mini'" in reply["error"]["message"]


def test_a_body_over_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module.BodyLimit.__init__, "__defaults__", (1000,))
    with served(Plain()) as url:
        assert post(url, chat(text("x" * 100)))[0] == 200
        assert post(url, chat(text("x" * 1000)))[0] == 413
        client = urllib.request.Request(
            url + "/chat/completions", iter([b"x" * 600] * 5), {"content-type": "application/json"}, method="POST"
        )
        client.add_header("transfer-encoding", "chunked")
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(client)
        assert caught.value.code == 413


def test_the_refusal_reaches_a_client_that_is_still_sending() -> None:
    def slowly() -> Iterator[bytes]:
        for _ in range(20):
            yield b"x" * 4_000_000
            time.sleep(0.005)

    with served(Plain()) as url:
        for body in (slowly(), b"x" * 80_000_000):
            client = urllib.request.Request(
                url + "/chat/completions", body, {"content-type": "application/json"}, method="POST"
            )
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(client)
            assert caught.value.code == 413
            assert "a request has at most" in json.load(caught.value)["error"]["message"]


CHUNKED = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


def chunk(length: int) -> bytes:
    return b"%x\r\n%s\r\n" % (length, b"x" * length)


def connect(url: str) -> socket.socket:
    at = httpx.URL(url)
    return socket.create_connection((at.host, at.port), timeout=20)


def test_the_refusal_reaches_a_client_that_takes_long_to_send(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module.BodyLimit.__init__, "__defaults__", (1000,))
    monkeypatch.setattr(lingering_close, "SILENT_SECONDS", 0.2)
    began = time.monotonic()
    with served(Plain()) as url, connect(url) as client:
        client.sendall(CHUNKED + chunk(1001))
        assert client.recv(12) == b"HTTP/1.1 413", "at once"
        for _ in range(8):
            time.sleep(0.3)
            client.sendall(chunk(600))
        assert time.monotonic() - began > lingering_close.SILENT_SECONDS * lingering_close.SILENCES
        client.sendall(chunk(0))
        assert b"at most 1,000 bytes" in b"".join(iter(lambda: client.recv(65536), b""))


def test_a_refused_body_that_is_all_there_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module.BodyLimit.__init__, "__defaults__", (1000,))
    monkeypatch.setattr(lingering_close, "SILENT_SECONDS", 60.0)
    with served(Plain()) as url, connect(url) as client:
        client.sendall(CHUNKED + chunk(600) * 5 + chunk(0))
        assert b"".join(iter(lambda: client.recv(65536), b"")).startswith(b"HTTP/1.1 413")


def test_a_refused_client_that_falls_silent_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module.BodyLimit.__init__, "__defaults__", (1000,))
    monkeypatch.setattr(lingering_close, "SILENT_SECONDS", 0.01)
    with served(Plain()) as url, connect(url) as client:
        client.sendall(CHUNKED + chunk(1001))
        assert b"".join(iter(lambda: client.recv(65536), b"")).startswith(b"HTTP/1.1 413")


def test_another_host_name_is_refused(plain: tuple[Plain, str]) -> None:
    assert post(plain[1], chat(text("x")), host="evil.example")[0] == 400
    assert not plain[0].batches


def test_a_form_of_another_site_is_refused(plain: tuple[Plain, str]) -> None:
    assert post(plain[1], chat(text("x")), content_type="text/plain")[0] == 400
    assert not plain[0].batches


def test_others_are_served_with_a_token_alone() -> None:
    check_address("127.0.0.1", None)
    check_address("0.0.0.0", TOKEN)
    with pytest.raises(HPEditError, match="there is no token"):
        check_address("0.0.0.0", None)
    with pytest.raises(HPEditError, match="there is no token"):
        check_address("gpu1", "")
    with pytest.raises(HPEditError, match="at least 16"):
        check_address("127.0.0.1", "short")


def test_the_token_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(Plain(), TOKEN) as url:
        assert post(url, chat(text("x")))[0] == 401
        assert post(url, chat(text("x")), authorization="Bearer wrong")[0] == 401
        assert post(url, chat(text("x")), authorization=f"Bearer {TOKEN}")[0] == 200
        with pytest.raises(HPEditError, match="401"):
            OpenAIJudge("mini", [url]).ask(edit_questions()[:1])
        monkeypatch.setenv("HPEDIT_JUDGE_API_KEY", TOKEN)
        assert OpenAIJudge("mini", [url]).ask(edit_questions()[:1])[0].probabilities


def test_a_taken_port_is_one_clear_error(plain: tuple[Plain, str]) -> None:
    port = int(plain[1].split(":")[2].split("/")[0])
    with pytest.raises(HPEditError, match=f"127.0.0.1:{port} can't be served on"):
        run_server(Plain(), "mini", "127.0.0.1", port, None, print)


# Judges by name


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("http://127.0.0.1:8000/v1", "names no model"),
        ("http://127.0.0.1:8000/v1#", "names no model"),
        ("http://me:secret@host/v1#m", "no password"),
        ("http://host/v1?api_key=secret#m", "no query"),
        ("http://host/v1,ftp://other/v1#m", "'ftp://other/v1' is not the URL"),
        ("http://#m", "is not the URL"),
    ],
)
def test_a_server_that_is_named_wrongly_is_one_clear_error(spec: str, message: str) -> None:
    with pytest.raises(HPEditError, match=message) as caught:
        load_judge(spec)
    assert "secret" not in caught.value.message + caught.value.hint


def test_load_judge_gives_every_kind(mini_url: str, tmp_path: Any) -> None:
    judge: Judge = load_judge("mini", cache=tmp_path / "cache" / "answers.sqlite")
    asked = scores(3)
    assert judge.ask(asked) == judge.ask(asked)
    assert (judge.hits, judge.misses) == (3, 3)  # type: ignore[attr-defined]
    both = load_judge(f"{mini_url},{mini_url}/#mini")
    assert all(answer.probabilities for answer in both.ask(asked))


# The command


@contextmanager
def command(*options: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`hpedit scorer serve` on a free port; yields the process and what to give as --judge."""
    child = subprocess.Popen(
        [sys.executable, "-m", "hpedit", "scorer", "serve", "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
    )
    try:
        assert child.stdout is not None
        yield child, child.stdout.readline().strip()
    finally:
        child.kill()
        child.communicate()


@pytest.mark.slow
def test_our_server_killed_mid_run_stops_the_run_and_ctrl_c_ends_it(mini: TransformersJudge) -> None:
    with command() as (child, spec):
        judge = load_judge(spec)
        assert isinstance(judge, OpenAIJudge)
        asked = scores(4)
        for near, far in zip(mini.ask(asked), judge.ask(asked), strict=True):
            assert far.probabilities == pytest.approx(near.probabilities, abs=1e-4)
        judge.endpoints = Endpoints([spec.split("#")[0]], failures=3, cooldown=0.3)
        threading.Timer(0.5, child.send_signal, (signal.SIGKILL,)).start()
        started = time.monotonic()
        with pytest.raises(HPEditError, match="no server of the judge answers any more"):
            judge.ask(asked * 1000)
        assert time.monotonic() - started < 60
    with command() as (child, spec):
        # Its address is printed before it listens to signals; where SIGINT is ignored, as in jobs, it would be lost.
        assert httpx.get(spec.split("/v1#")[0] + "/healthz", timeout=60).status_code == 200
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=60) in (0, -signal.SIGINT, 130)


@pytest.mark.slow
def test_the_command_refuses_an_open_address_before_it_loads_anything() -> None:
    with command("--host", "0.0.0.0", PYTHONPROFILEIMPORTTIME="1") as (child, line):
        _, written = child.communicate()
    lines = written.splitlines(keepends=True)
    imports = [line.split("|")[-1].strip() for line in lines if line.startswith("import time:")]
    errors = "".join(line for line in lines if not line.startswith("import time:"))
    assert not line
    assert child.returncode == 2
    assert errors.startswith("error: 0.0.0.0 can be reached by others")
    assert "HPEDIT_SERVE_TOKEN" in errors
    assert "hpedit" in imports
    assert not {"torch", "transformers"} & set(imports)


def test_yes_and_no_go_over_HTTP_too() -> None:
    class YesNo(Plain):
        def top(self, questions: Sequence[Question], count: int) -> list[Tops]:
            return [[("Yes", -0.5), ("No", -1.0), (" no", -4.0)][:count] for _ in questions]

    with served(YesNo()) as url:
        (answer,) = OpenAIJudge("mini", [url]).ask(edit_questions(choices=YES_NO)[:1])
    assert answer.expected == pytest.approx(0.6065 / (0.6065 + 0.3679 + 0.0183), abs=1e-3)
    assert answer.missing == ()
