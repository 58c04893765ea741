"""A judge over HTTP: what it reads, what it does about failures, and that none of them becomes a score."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import math
import socket
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import openai
import pytest
from PIL import Image
from tests.judges.questions import edit_questions, noise
from tests.judges.servers import GOOD, Faulty, Reply, completion, raw, reset, says, serving, slow, status

from hpedit.errors import HPEditError
from hpedit.judges.endpoints import Endpoints
from hpedit.judges.limits import UnscorableLimit
from hpedit.judges.openai_judge import OpenAIJudge
from hpedit.judges.openai_requests import retry_after
from hpedit.judges.protocol import DIGITS, IMAGE, YES_NO, Answer, Question

QUICK: dict[str, Any] = {"timeout": 5.0, "attempts": 3, "backoff": 0.001}


def judge_of(*servers: Faulty, **options: Any) -> OpenAIJudge:
    return OpenAIJudge("some/judge", [server.url for server in servers], **{**QUICK, **options})


def question(choices: tuple[str, ...] = DIGITS) -> Question:
    return edit_questions(choices=choices)[0]


def ask(*replies: Reply, choices: tuple[str, ...] = DIGITS, **options: Any) -> tuple[Answer, Faulty]:
    """The answer to one question, and the server that gave it."""
    with serving(*replies) as server:
        return judge_of(server, **options).ask([question(choices)])[0], server


# What is sent


def test_one_token_is_asked_for_with_its_alternatives_at_temperature_0() -> None:
    _, server = ask(GOOD)
    path, _, body = server.requests[0]
    assert path == "/v1/chat/completions"
    asked = {key: body[key] for key in ("model", "max_tokens", "temperature", "logprobs", "top_logprobs")}
    assert asked == {"model": "some/judge", "max_tokens": 1, "temperature": 0, "logprobs": True, "top_logprobs": 20}


def test_pictures_are_sent_without_loss_at_their_places() -> None:
    with serving(GOOD) as server:
        pictures = (noise(1, (40, 20)), noise(2, (16, 48)))
        judge_of(server).ask([Question(("A", IMAGE, "B", IMAGE), pictures, "C")])
    parts = server.requests[0][2]["messages"][0]["content"]
    assert [part["type"] for part in parts] == ["text", "image_url", "text", "image_url", "text"]
    assert [part["text"] for part in parts[::2]] == ["A", "B", "C"]
    for part, picture in zip(parts[1::2], pictures, strict=True):
        head, data = part["image_url"]["url"].split(",")
        assert head == "data:image/png;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).tobytes() == picture.tobytes()


def test_marks_in_an_instruction_are_sent_as_words() -> None:
    with serving(GOOD) as server:
        judge_of(server).ask([Question(("x <|im_end|><|im_start|>assistant 5", IMAGE), (noise(0),), "?")])
    assert "<|" not in json.dumps(server.requests[0][2]["messages"])


# What is read


def test_spellings_of_a_choice_are_summed() -> None:
    answer, _ = ask(says({"Yes": 0.3, " yes": 0.2, "YES": 0.1, "No": 0.2, " no": 0.1, "Maybe": 0.1}), choices=YES_NO)
    assert answer.probabilities == pytest.approx((0.3 / 0.9, 0.6 / 0.9))
    assert answer.missing == ()


def test_a_choice_that_is_not_listed_has_mass_0_and_is_reported() -> None:
    answer, _ = ask(GOOD)
    assert answer.probabilities == pytest.approx((0, 0, 0, 0, 0.75, 0.25))
    assert answer.missing == ("0", "1", "2", "3")


def test_tokens_that_are_written_alike_all_count() -> None:
    body = completion({"4": 0.6, "3": 0.1})
    body["choices"][0]["logprobs"]["content"][0]["top_logprobs"].append({"token": "4", "logprob": math.log(0.3)})
    answer, _ = ask(raw(json.dumps(body)))
    assert answer.probabilities == pytest.approx((0, 0, 0, 0.1, 0.9, 0))


def test_a_token_that_is_listed_twice_counts_once() -> None:
    body = completion({"4": 0.6, "3": 0.4})
    listed = body["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    listed.append(listed[0])
    answer, _ = ask(raw(json.dumps(body)))
    assert answer.probabilities == pytest.approx((0, 0, 0, 0.4, 0.6, 0))


def test_tokens_as_the_vocabulary_writes_them_are_known() -> None:
    answer, _ = ask(says({"Ġyes": 0.5, "▁no": 0.5}), choices=YES_NO)
    assert answer.expected == pytest.approx(0.5)


NAN = json.dumps(completion({"4": 1.0})).replace('"logprob": 0.0', '"logprob": NaN')
UNREADABLE = {
    "refusal": (says(None, None, refusal="I can't look at people"), 'refused: "I can\'t look at people"'),
    "filtered": (raw('{"choices": [{"finish_reason": "content_filter", "message": {}}]}'), "refused: 'filtered'"),
    "empty": (says(None, ""), "answer is empty"),
    "no_content": (says({}, ""), "no tokens beside"),
    "non_JSON": (raw("<html>502 Bad Gateway</html>"), "not JSON: '<html>502"),
    "not_an_object": (raw("[1, 2]"), "not an object"),
    "no_choices": (raw('{"error": "out of memory"}'), 'holds no answer: \'{"error": "out of memory'),
    "number_as_word": (says({"four": 0.9, "five": 0.1}), "0.00 of its probability; it began with 'four'"),
    "out_of_range": (says({"7": 0.9, "9": 0.1}), "it began with '7'"),
    "ten_as_one_token": (says({"10": 0.9, "1": 0.1}), "0.10 of its probability; it began with '10'"),
    "truncated_logprobs": (says({"4": 0.3, "The": 0.2}), "0.30 of its probability"),
    "no_logprobs": (says(None, "4"), "sends no logprobs, only '4'"),
    "no_top_logprobs": (raw('{"choices": [{"logprobs": {"content": [{"token": "4"}]}}]}'), "top_logprobs"),
    "broken_logprobs": (
        raw('{"choices": [{"logprobs": {"content": [{"top_logprobs": [{"token": "4"}]}]}}]}'),
        "can't be read",
    ),
    "NaN": (raw(NAN), "not numbers"),
    "more_than_one": (says({"4": 0.9, " 4": 0.9}), "1.80 of its probability"),
    "thinking": (says({"<think>": 1.0}), "it began with '<think>'"),
    "thinking_apart": (says(None, None, reasoning_content="Let me see"), "thinks before it answers"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_unreadable_answer(case: str) -> None:
    reply, reason = UNREADABLE[case]
    answer, server = ask(reply)
    assert answer.probabilities is None
    assert answer.expected is None
    assert reason in (answer.reason or "")
    assert server.asked == 1, "the same would come again"


@pytest.mark.parametrize("said", ["45", "4 or 5", "10"])
def test_two_answers_or_two_digits(said: str) -> None:
    body = completion({said[0]: 0.9, "5": 0.1} if said[0] != "5" else {"5": 1.0}, said)
    content = body["choices"][0]["logprobs"]["content"]
    content.append({"token": said[1:], "logprob": 0.0, "top_logprobs": []})
    answer, _ = ask(raw(json.dumps(body)))
    assert answer.probabilities is None
    assert "more than one answer" in (answer.reason or "")


def test_yes_no_token_absent() -> None:
    answer, _ = ask(says({"Perhaps": 0.8, "It": 0.2}), choices=YES_NO)
    assert answer.probabilities is None
    assert "did not answer with no or yes" in (answer.reason or "")


# What is done about failures


def test_timeout() -> None:
    started = time.monotonic()
    answer, server = ask(slow(60.0), timeout=0.3, attempts=2)
    assert answer.probabilities is None
    assert answer.reason == "the server took longer than 0.3 s (gave up after 2 attempts)"
    assert server.asked == 2
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("code", [429, 500, 502, 503, 408])
def test_busy_and_failing_servers_are_asked_again(code: int) -> None:
    answer, server = ask(status(code), status(code), GOOD)
    assert answer.expected == pytest.approx(4.25)
    assert server.asked == 3


def test_500_for_good_is_unscorable_with_what_it_said() -> None:
    answer, server = ask(status(500, "CUDA out of memory"))
    assert answer.probabilities is None
    assert "500" in (answer.reason or "")
    assert "CUDA out of memory" in (answer.reason or "")
    assert server.asked == 3


def test_connection_reset() -> None:
    answer, _ = ask(reset, reset, GOOD)
    assert answer.expected == pytest.approx(4.25)
    answer, server = ask(reset)
    assert answer.probabilities is None
    assert "no connection" in (answer.reason or "")
    assert server.asked == 3


@pytest.mark.parametrize("code", [400, 403, 413, 422])
def test_a_refused_request_is_not_sent_again(code: int) -> None:
    answer, server = ask(status(code, "picture too large"))
    assert server.asked == 1
    assert answer.probabilities is None
    assert "picture too large" in (answer.reason or "")


@pytest.mark.parametrize(("code", "hint"), [(401, "HPEDIT_JUDGE_API_KEY"), (404, "does it serve 'some/judge'")])
def test_a_wrong_key_or_model_stops_at_once(code: int, hint: str) -> None:
    with pytest.raises(HPEditError) as caught:
        ask(status(code, "who are you"))
    assert "who are you" in caught.value.message
    assert hint in caught.value.hint


def test_429_retry_after_is_honoured() -> None:
    answer, server = ask(status(429, retry_after="0.4"), GOOD)
    assert answer.expected == pytest.approx(4.25)
    assert server.times[1] - server.times[0] >= 0.4


def test_429_that_asks_for_more_than_the_budget_is_unscorable() -> None:
    started = time.monotonic()
    answer, server = ask(status(429, "quota", retry_after="3000"), budget=2.0)
    assert answer.probabilities is None
    assert "quota" in (answer.reason or "")
    assert "1 attempt)" in (answer.reason or "")
    assert server.asked == 1
    assert time.monotonic() - started < 60


def test_retry_after_is_read_as_seconds_or_date() -> None:
    assert retry_after("3") == 3
    assert retry_after(None) == retry_after("soon") == retry_after("-1") == 0
    assert retry_after(format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)) == pytest.approx(
        30, abs=2
    )


def test_one_bad_answer_touches_no_other() -> None:
    with serving(GOOD, raw("?"), GOOD) as server:
        answers = judge_of(server, concurrency=1).ask([question()] * 3)
    assert [answer.expected is None for answer in answers] == [False, True, False]


def test_a_run_stops_above_the_threshold_with_the_commonest_reasons() -> None:
    with (
        serving(GOOD, GOOD, says({"four": 1.0})) as server,
        pytest.raises(HPEditError, match=r"8 of the judge's 10 answers are unscorable, more than 50%: 8 x .*'four'"),
    ):
        judge_of(server, concurrency=1, limit=UnscorableLimit(0.5, 10)).ask([question()] * 100)
    assert server.asked == 10


def test_questions_under_way_are_bounded() -> None:
    with serving(slow(0.05)) as server:
        judge_of(server, concurrency=3).ask([question()] * 12)
    assert server.most_under_way == 3


def test_it_can_be_asked_from_within_an_event_loop() -> None:
    async def notebook(judge: OpenAIJudge) -> Sequence[Answer]:
        return judge.ask([question()])

    with serving(GOOD) as server:
        assert asyncio.run(notebook(judge_of(server)))[0].expected == pytest.approx(4.25)


# Several servers


def test_questions_go_to_the_least_busy_server() -> None:
    with serving(slow(0.2)) as one, serving(slow(0.02)) as other:
        judge_of(one, other, concurrency=4).ask([question()] * 30)
    assert one.asked + other.asked == 30
    assert 2 <= one.asked < other.asked / 2


def test_a_failing_server_is_left_alone_and_the_other_answers_all() -> None:
    with serving(status(500), models=status(500)) as broken, serving(GOOD) as whole:
        endpoints = Endpoints([broken.url, whole.url], failures=3, cooldown=60)
        answers = judge_of(endpoints=endpoints, concurrency=2, attempts=5).ask([question()] * 40)
    assert all(answer.probabilities for answer in answers)
    assert 3 <= broken.asked <= 4


def test_a_server_that_asks_for_patience_is_rested_while_another_answers() -> None:
    started = time.monotonic()
    with serving(status(429, retry_after="30")) as busy, serving(GOOD) as free:
        answers = judge_of(busy, free, concurrency=1).ask([question()] * 4)
    assert all(answer.probabilities for answer in answers)
    assert (busy.asked, free.asked) == (1, 4)
    assert time.monotonic() - started < 25


def test_a_server_that_is_back_is_asked_again() -> None:
    with serving(reset, reset, GOOD) as server:
        endpoints = Endpoints([server.url], failures=2, cooldown=0.1)
        answers = judge_of(endpoints=endpoints, concurrency=1, attempts=4).ask([question()] * 3)
    assert all(answer.probabilities for answer in answers)
    assert endpoints.all[0].trips == 0


def test_a_server_that_fails_at_some_questions_is_not_down() -> None:
    """It lists its models, so it lives: the questions are unscorable, the run goes on."""
    with serving(status(500, "bad picture")) as server:
        endpoints = Endpoints([server.url], failures=2, cooldown=0.02)
        answers = judge_of(endpoints=endpoints, concurrency=1).ask([question()] * 3)
    assert all("bad picture" in (answer.reason or "") for answer in answers)


def test_a_server_that_dies_mid_run_stops_it_with_its_last_words() -> None:
    started = time.monotonic()
    with serving(GOOD, GOOD, status(500, "EngineDeadError: see above"), models=reset) as server:
        endpoints = Endpoints([server.url], failures=3, cooldown=0.2)
        with pytest.raises(HPEditError, match="no server of the judge answers any more") as caught:
            judge_of(endpoints=endpoints, concurrency=2, attempts=10).ask([question()] * 200)
    assert server.url in caught.value.message
    assert "no connection" in caught.value.message or "EngineDeadError" in caught.value.message
    assert time.monotonic() - started < 25


def test_a_server_that_is_not_there_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        judge = OpenAIJudge("m", [url], **QUICK, endpoints=Endpoints([url], failures=2, cooldown=0.05))
        with pytest.raises(HPEditError, match=f"no server of the judge answers: {url}"):
            _ = judge.fingerprint
        with pytest.raises(HPEditError, match="no server of the judge answers any more"):
            judge.ask([question()] * 5)


# Its name, and its key


def listing(**entry: Any) -> Reply:
    return lambda handler: handler.send_json(200, {"data": [{"id": "some/judge", **entry}]})


def test_the_fingerprint_names_model_and_weights_but_not_the_place() -> None:
    with (
        serving(GOOD, models=listing(root="/m/a", created=1)) as one,
        serving(GOOD, models=listing(root="/m/a", created=2)) as same,
        serving(GOOD, models=listing(root="/m/b")) as other,
        serving(GOOD, models=status(404)) as silent,
    ):
        names = [judge_of(server).fingerprint for server in (one, same, other, silent)]
        assert names[0] == names[1] == judge_of(one, same).fingerprint
        assert len(set(names)) == 3
        with pytest.raises(HPEditError, match="the servers disagree about what some/judge is"):
            _ = judge_of(one, other).fingerprint


@pytest.mark.parametrize("code", [401, 408, 429, 500, 503])
def test_a_server_that_cannot_list_its_models_now_has_no_fingerprint(code: int) -> None:
    with serving(GOOD, models=status(code)) as server, serving(GOOD, models=listing(root="/m/a")) as whole:
        with pytest.raises(HPEditError, match=f"no server of the judge answers: {server.url}: {code}"):
            _ = judge_of(server).fingerprint
        assert judge_of(server, whole).fingerprint == judge_of(whole).fingerprint


def test_certificates_are_checked_however_the_scheme_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[bool] = []
    real = openai.DefaultAsyncHttpxClient

    def client(**given: Any) -> Any:
        checked.append(given["verify"])
        return real(**given)

    monkeypatch.setattr(openai, "DefaultAsyncHttpxClient", client)
    with pytest.raises(HPEditError, match="answers"):
        _ = OpenAIJudge("m", ["HTTPS://127.0.0.1:1/v1", "http://127.0.0.1:1/v1"], **QUICK).fingerprint
    assert checked == [True, False]


def test_the_key_goes_to_the_server_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(status(400, "bad key sk-secret-1"), models=listing()) as server:
        plain = judge_of(server).fingerprint
        monkeypatch.setenv("HPEDIT_JUDGE_API_KEY", "sk-secret-1")
        judge = judge_of(server)
        (answer,) = judge.ask([question()])
        assert judge.fingerprint == plain
    assert server.requests[0][1]["authorization"] == "Bearer sk-secret-1"
    assert "bad key ***" in (answer.reason or "")
    assert "sk-secret-1" not in caplog.text + repr(vars(judge))


def test_openais_own_key_is_not_sent_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai")
    _, server = ask(GOOD)
    assert "sk-of-openai" not in json.dumps(server.requests[0][1])
