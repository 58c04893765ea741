"""Judges that write JSON of a schema: in process, through our own server, and through servers that misbehave."""

import json

import openai
import pytest
from tests.judges.models import random_qwen2_5, random_qwen3
from tests.judges.questions import noise
from tests.judges.servers import completion, raw, reset, says, serving, status
from tests.judges.test_server import Plain, post, served

from hpedit.errors import HPEditError
from hpedit.judges.loading import load_writing_judge
from hpedit.judges.openai_judge import OpenAIJudge
from hpedit.judges.picture_encoding import data_url
from hpedit.judges.protocol import IMAGE, Question
from hpedit.judges.transformers_judge import TransformersJudge
from hpedit.judges.writing import CUT_OFF, Reply, WritingPrompt

SCHEMA = {
    "type": "object",
    "properties": {
        "object": {"type": "string", "maxLength": 12},
        "possible": {"type": "boolean"},
        "kind": {"enum": ["red", "blue"]},
        "words": {"type": "array", "items": {"type": "string", "maxLength": 8}, "maxItems": 2},
    },
    "required": ["object", "possible", "kind", "words"],
    "additionalProperties": False,
}


def prompt(seed=0, *, schema=SCHEMA, pictures=1, **options):
    images = tuple(noise(seed + place) for place in range(pictures))
    return WritingPrompt(Question((IMAGE,) * pictures, images, "write"), json.dumps(schema), seed=seed, **options)


def check(reply):
    value = json.loads(reply.text)
    assert list(value) == ["object", "possible", "kind", "words"]
    assert len(value["object"]) <= 12
    assert isinstance(value["possible"], bool)
    assert value["kind"] in ("red", "blue")
    assert len(value["words"]) <= 2
    assert all(len(word) <= 8 for word in value["words"])


@pytest.fixture(scope="module")
def mini():
    return TransformersJudge.load("mini")


@pytest.fixture(scope="module")
def url(mini):
    with served(mini) as address:
        yield address


@pytest.mark.parametrize("build", [random_qwen2_5, random_qwen3])
def test_a_judge_that_can_not_write_keeps_to_the_schema(build):
    judge = build()
    for temperature in (0.0, 1.0):
        for reply in judge.write([prompt(seed, pictures=seed % 3, temperature=temperature) for seed in range(4)]):
            check(reply)


def test_draws_depend_on_the_seed_alone(mini):
    prompts = [prompt(1, temperature=1.0, max_tokens=100 + k) for k in range(2)]
    others = [prompt(seed, temperature=1.0) for seed in (5, 6)]
    alone = [mini.write([one])[0] for one in prompts]
    assert mini.write([*prompts, *others])[:2] == alone
    assert alone[0] == alone[1]
    assert len({reply.text for reply in mini.write([prompt(seed, temperature=1.0) for seed in range(6)])}) > 3


def test_an_answer_longer_than_its_limit_is_none(mini):
    short, whole = mini.write([prompt(max_tokens=5), prompt()])
    assert short == Reply(None, CUT_OFF, again=True)
    check(whole)


def test_letters_of_all_languages_may_be_written(mini):
    reply = mini.write([prompt(schema={"enum": ["把狗移走", 'Tür "auf" \\ 🐶']})])[0]
    assert json.loads(reply.text) in ("把狗移走", 'Tür "auf" \\ 🐶')


@pytest.mark.parametrize("schema", ["{", "3", '{"type": "nonsense"}', '{"$ref": "http://example.com/schema"}'])
def test_a_schema_that_can_not_be_kept_to_is_an_error(mini, schema):
    with pytest.raises(HPEditError, match="the JSON schema can't be"):
        mini.write([WritingPrompt(Question((), (), "x"), schema)])


def test_probabilities_that_are_not_numbers_are_a_reason():
    import torch

    judge = random_qwen2_5()
    judge.model.model.language_model.norm.weight.data.fill_(torch.nan)
    assert judge.write([prompt()]) == [Reply(None, "the judge's probabilities are not numbers")]


def test_no_prompts_no_replies(mini, url):
    assert mini.write([]) == load_writing_judge(f"{url}#mini").write([]) == []


def test_over_http_the_same_is_written_as_in_process(mini, url):
    prompts = [prompt(seed, temperature=seed % 2) for seed in range(6)]
    judge = load_writing_judge(f"{url}#mini")
    assert judge.write(prompts) == mini.write(prompts)
    assert judge.write([prompt(max_tokens=5)]) == [Reply(None, CUT_OFF, again=True)]


def test_writing_and_scoring_are_served_side_by_side(mini, url):
    judge = load_writing_judge(f"{url}#mini")
    question = Question((IMAGE, IMAGE), (noise(1), noise(2)), "\nScore, one digit from 0 to 5:")
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        written = pool.submit(judge.write, [prompt(seed) for seed in range(6)])
        answered = pool.submit(judge.ask, [question] * 6)
        assert [reply.text is not None for reply in written.result()] == [True] * 6
        expected = mini.ask([question])[0].expected
        assert [answer.expected for answer in answered.result()] == [pytest.approx(expected, abs=1e-3)] * 6


def test_the_openai_client_is_answered_as_by_openai(url):
    client = openai.OpenAI(base_url=url, api_key="none")
    content = [{"type": "image_url", "image_url": {"url": data_url(noise(0))}}, {"type": "text", "text": "write"}]
    form = {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": SCHEMA}}
    reply = client.chat.completions.create(
        model="mini", messages=[{"role": "user", "content": content}], response_format=form, max_tokens=200
    )
    check(Reply(reply.choices[0].message.content))
    assert reply.choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"max_tokens": 100_000}, "max_tokens"),
        ({"logprobs": True}, "logprobs go with one token"),
        ({"temperature": 3}, "temperature"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "no"}}}}, "can't be kept to"),
        ({"response_format": None, "max_tokens": 2}, "max_tokens is 1 without"),
    ],
)
def test_requests_that_the_server_refuses(url, change, says):
    body = {
        "model": "mini",
        "messages": [{"role": "user", "content": "x"}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}},
        **change,
    }
    code, reply = post(url, body)
    assert code == 400
    assert says in reply["error"]["message"]


def test_a_judge_of_probabilities_alone_is_served_without_writing():
    with served(Plain()) as address:
        replies = load_writing_judge(f"{address}#mini").write([prompt()])
    assert "this judge does not write" in replies[0].reason


def ended(text):
    body = completion(None, text)
    body["choices"][0]["finish_reason"] = "stop"
    return lambda handler: handler.send_json(200, body)


@pytest.mark.parametrize(
    ("replies", "text", "reason", "asked"),
    [
        ((status(500), reset, ended("{}")), "{}", None, 3),
        ((status(429, retry_after="0"), ended(" {} ")), "{}", None, 2),
        ((says(None, None, refusal="no"),), None, "refused: 'no'", 1),
        ((ended(""),), None, "empty", 1),
        ((raw("<html>"),), None, "not JSON", 1),
        ((status(400, "schema"),), None, "answered 400", 1),
        ((says(None, '{"a'),), None, CUT_OFF, 1),
    ],
)
def test_what_servers_do(replies, text, reason, asked):
    with serving(*replies) as server:
        (reply,) = OpenAIJudge("m", [server.url], backoff=0.0).write([prompt()])
        assert (reply.text, server.asked) == (text, asked)
        assert reply.reason == reason or reason in reply.reason


def test_a_run_of_failures_stops():
    with serving(status(400, "no schemas here")) as server:
        judge = OpenAIJudge("m", [server.url], backoff=0.0)
        with pytest.raises(HPEditError, match=r"unscorable.*no schemas here"):
            judge.write([prompt()] * 60)


def test_openai_is_not_sent_what_it_may_refuse():
    from hpedit.judges.openai_requests import UNKNOWN_TO_OPENAI, _without

    text = json.dumps(_without(SCHEMA, UNKNOWN_TO_OPENAI))
    assert "maxLength" not in text
    assert "maxItems" in text
    with serving(ended("{}")) as server:
        OpenAIJudge("m", [server.url]).write([prompt()])
        sent = server.requests[0][2]
    assert sent["response_format"]["json_schema"] == {"name": "answer", "schema": SCHEMA, "strict": True}
    assert (sent["max_tokens"], sent["seed"]) == (512, 0)
