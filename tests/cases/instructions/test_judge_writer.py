"""A VLM's instructions: a real server that speaks as told, and the mini judge, which can't write but keeps the form."""

import json

import pytest
from PIL import Image
from tests.judges.servers import completion, serving, status
from tests.judges.test_server import served

from hpedit.cases.coco import COCO
from hpedit.cases.instructions.given_writer import load_writer
from hpedit.cases.instructions.instruction_prompt import (
    MAX_INSTRUCTION,
    answer_schema,
    category_of,
    check_questions,
    image_for_judge,
    read_instruction_answer,
)
from hpedit.cases.instructions.judge_writer import ATTEMPTS, feasibility_reasons
from hpedit.cases.instructions.languages import LANGUAGES, wrong_script
from hpedit.cases.labels.judge_labeller import NOTHING, JudgeLabeller
from hpedit.cases.labels.labeller import load_labeller
from hpedit.cases.recipe import InstructionsSection, LabelsSection
from hpedit.cases.source_items import Photo
from hpedit.errors import HPEditError
from hpedit.judges.endpoints import Endpoints
from hpedit.judges.limits import UnscorableLimit
from hpedit.judges.openai_judge import OpenAIJudge
from hpedit.store.text_checks import nonsense

PIXEL = Image.new("RGB", (8, 8), "green")
PHOTO = Photo("0/a.jpg", PIXEL, "", "")


def answer(*instructions, thing="small dog", possible=True):
    return json.dumps({"object": thing, "possible": possible, "instructions": instructions})


def vlm(*texts, yes=0.9, finish="stop"):
    """A server that writes these texts in turn, the last for ever, and says yes (a probability, or one a question)."""
    written = iter(texts)
    last = [texts[-1]]

    def reply(handler):
        body = handler.state.requests[-1][2]
        if "response_format" in body:
            last[0] = next(written, last[0])
            reply = completion(None, last[0])
            reply["choices"][0]["finish_reason"] = finish
        else:
            said = yes(body["messages"][0]["content"][-1]["text"]) if callable(yes) else yes
            reply = completion({"yes": said, "no": 1 - said} if said is not None else {"perhaps": 1.0})
        handler.send_json(200, reply)

    return serving(reply)


def judge_of(server, **options):
    return OpenAIJudge("vlm", [server.url], concurrency=1, backoff=0.0, limit=UnscorableLimit(1.0), **options)


def write(server, photo=PHOTO, category="", seed=0, **settings):
    settings = {"tasks": ("removal",), "per_photo": 1, **settings}
    writer = load_writer(InstructionsSection(by="judge", model="x", **settings), seed, judge=judge_of(server))
    (written,) = writer.write([photo], [category])
    return written


def writing_requests(server):
    return [body for _, _, body in server.requests if "response_format" in body]


def test_an_instruction_is_written_and_checked():
    with vlm(answer("Remove the small dog on the left.")) as server:
        written = write(server, category="cat")
        (candidate,) = written.candidates
        assert candidate.instruction == "Remove the small dog on the left."
        assert (candidate.task, candidate.category) == ("removal", "dog")
        assert candidate.by.startswith("judge:")
        assert not written.rejected
        (asked,) = writing_requests(server)
        text = asked["messages"][0]["content"][-1]["text"]
        assert "Object removal" in text
        assert "probably shows a cat" in text
        assert asked["response_format"]["json_schema"]["schema"] == json.loads(answer_schema(1))
        assert asked["temperature"] == 0
        # Is it there, and can it be done.
        questions = [body["messages"][0]["content"][-1]["text"] for _, _, body in server.requests[1:]]
        assert ["a small dog clearly visible" in questions[0], "can it be done" in questions[1]] == [True, True]


def test_wordings_are_instruction_candidates_of_their_own_and_repeats_are_dropped():
    with vlm(answer("Remove the dog.", "remove the dog.", "Take the dog away.")) as server:
        written = write(server, wordings=3, feasibility=False)
        assert [(candidate.instruction, candidate.wording) for candidate in written.candidates] == [
            ("Remove the dog.", 0),
            ("Take the dog away.", 1),
        ]
        assert written.rejected == (("remove the dog.", "it repeats another wording"),)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("not JSON", "does not match the schema"),
        ('{"object": "dog", "possible": "perhaps", "instructions": []}', "possible"),
        ('{"object": "dog", "possible": true}', "instructions: Field required"),
        (answer(), "wrote no instruction"),
        (answer(""), "empty"),
        (answer("Remove the dog " + "and so on " * 40), "instructions.0: String should have at most 240"),
        (answer("Убери собаку с дорожки."), "belong to the script of English"),
        (answer("dog dog dog dog"), "over and over"),
        (answer("nonononononononono"), "over and over"),
        (answer("ok"), "fewer than 3 letters"),
        (answer("Remove it.", thing=" "), "is not a usable object name"),
    ],
)
def test_nonsense_is_asked_for_again_with_other_seeds_and_then_rejected_with_the_reason(text, reason):
    with vlm(text) as server:
        written = write(server)
        assert not written.candidates
        assert len(written.rejected) == ATTEMPTS
        assert reason in written.rejected[0][1]
        asked = writing_requests(server)
        assert [body["temperature"] for body in asked] == [0.0, 0.7, 0.7]
        assert len({body["seed"] for body in asked}) == ATTEMPTS


def test_a_second_attempt_may_do_better():
    with vlm("nonsense", answer("Remove the dog.")) as server:
        written = write(server)
        assert [candidate.instruction for candidate in written.candidates] == ["Remove the dog."]
        assert len(written.rejected) == 1
        assert len(writing_requests(server)) == 2


def test_a_judge_that_says_no_is_not_asked_again():
    with vlm(answer("Remove the dog.", possible=False)) as server:
        written = write(server)
        assert (written.candidates, len(server.requests)) == ((), 1)
        assert "does not suit the task removal" in written.rejected[0][1]


def test_a_refusal_is_a_reason_and_is_not_asked_again():
    refused = lambda handler: handler.send_json(200, completion(None, None, refusal="I can't look at people"))  # noqa: E731
    for reply, says in ((refused, "refused: \"I can't look"), (status(400, "too big"), "too big")):
        with serving(reply) as server:
            written = write(server)
            assert (written.candidates, server.asked) == ((), 1)
            assert says in written.rejected[0][1]


def test_an_answer_that_was_cut_off_is_no_answer():
    with vlm('{"object": "do', finish="length") as server:
        written = write(server)
        assert written.rejected == (("", "the answer is longer than its limit of tokens"),) * ATTEMPTS


@pytest.mark.parametrize(
    ("task", "no", "reason"),
    [
        ("removal", "clearly visible", "there is no small dog in the picture"),
        ("color", "clearly visible", "there is no small dog in the picture"),
        ("background", "stands out", "no small dog stands out"),
        ("style", "can it be done", "unclear"),
    ],
)
def test_what_can_not_be_done_is_rejected(task, no, reason):
    with vlm(answer("Do something to the dog."), yes=lambda text: 0.1 if no in text else 0.9) as server:
        written = write(server, tasks=(task,))
        assert not written.candidates
        assert written.rejected[0][0] == "Do something to the dog."
        assert reason in written.rejected[0][1]


def test_what_is_there_already_is_not_added():
    with vlm(answer("Add a dog."), yes=0.9) as server:
        assert "is in the picture already" in write(server, tasks=("addition",)).rejected[0][1]
    with vlm(answer("Add a dog."), yes=lambda text: 0.1 if "visible" in text else 0.9) as server:
        assert write(server, tasks=("addition",)).candidates


def test_a_check_that_can_not_be_read_is_no_yes():
    with vlm(answer("Remove the dog."), yes=None) as server:
        written = write(server)
        assert not written.candidates
        assert "it can't be checked: the judge did not answer with no or yes" in written.rejected[0][1]


def test_languages_are_drawn_evenly_and_checked_by_their_script():
    texts = {"German": "Entferne den Hund.", "Chinese": "把狗移走", "Russian": "Убери собаку."}

    def reply(handler):
        asked = handler.state.requests[-1][2]["messages"][0]["content"][-1]["text"]
        body = completion(None, answer(next(text for name, text in texts.items() if f"in {name}" in asked)))
        body["choices"][0]["finish_reason"] = "stop"
        handler.send_json(200, body)

    with serving(reply) as server:
        section = InstructionsSection(
            by="judge", model="x", per_photo=1, languages=("de", "zh", "ru"), feasibility=False
        )
        writer = load_writer(section, 0, judge=judge_of(server))
        photos = [Photo(f"0/{k}", PIXEL, "", "") for k in range(30)]
        found = [candidate for one in writer.write(photos, [""] * 30) for candidate in one.candidates]
    assert len(found) == 30
    assert {candidate.language for candidate in found} == {"de", "zh", "ru"}
    assert all(wrong_script(candidate.instruction, candidate.language) is None for candidate in found)


@pytest.mark.parametrize(
    ("text", "code", "fits"),
    [
        ("Entferne die Tür", "de", True),
        ("Add a sign with 咖啡 to the café", "en", True),
        ("把背景换成 New York", "zh", False),
        ("把背景换成繁忙的城市街道，New York", "zh", True),
        ("犬を消してください", "ja", True),
        ("개를 지워 주세요", "ko", True),
        ("कुत्ते को हटाओ", "hi", True),
        ("Remove the dog", "hi", False),
        ("把狗移走", "en", False),
        ("123 !", "en", False),
    ],
)
def test_scripts(text, code, fits):
    assert (wrong_script(text, code) is None) == fits


def test_a_language_without_a_script_here_is_refused():
    assert len(LANGUAGES) > 30
    section = InstructionsSection(by="judge", model="x", languages=("en", "xx"))
    with pytest.raises(HPEditError, match="unsupported language 'xx'"):
        load_writer(section, 0)


def test_a_server_that_is_down_stops_the_build():
    with vlm("x") as server:
        url = server.url
    judge = OpenAIJudge("vlm", [url], backoff=0.0, endpoints=Endpoints([url], cooldown=0.02))
    section = InstructionsSection(by="judge", model="x", per_photo=8)
    with pytest.raises(HPEditError, match="no server of the judge answers any more"):
        load_writer(section, 0, judge=judge).write([PHOTO], [""])


def test_large_photographs_are_shown_smaller():
    assert image_for_judge(Image.new("RGB", (4000, 1000))).size == (1280, 320)
    assert image_for_judge(PIXEL) is PIXEL


def test_categories_of_objects():
    assert category_of("left hot dog", COCO) == "hot dog"
    assert category_of("computer mouse", COCO) == "mouse"
    assert category_of("catalog", COCO) == ""


@pytest.fixture(scope="module")
def mini():
    from hpedit.judges.transformers_judge import TransformersJudge

    return TransformersJudge.load("mini", limit=UnscorableLimit(1.0))


def test_the_mini_judge_keeps_the_form_though_it_can_not_write(mini):
    section = InstructionsSection(by="judge", model="mini", tasks=("style",), per_photo=1)
    photos = [Photo(f"0/{k}", PIXEL, "", "") for k in range(2)]
    written = load_writer(section, 0, judge=mini).write(photos, ["dog", ""])
    assert written == load_writer(section, 0, judge=mini).write(photos, ["dog", ""])
    for one in written:
        assert one.candidates or one.rejected
        assert not any("match the schema" in reason for _, reason in one.rejected)
        assert all(nonsense(candidate.instruction, MAX_INSTRUCTION) is None for candidate in one.candidates)


def test_the_writer_through_a_served_judge_is_the_one_in_process(mini):
    section = InstructionsSection(by="judge", model="mini", tasks=("style",), per_photo=1)
    photos = [Photo(f"0/{k}", PIXEL, "", "") for k in range(2)]
    here = load_writer(section, 0, judge=mini).write(photos, ["dog", ""])
    with served(mini) as url:
        writer = load_writer(InstructionsSection(**{**section.model_dump(), "model": f"{url}#mini"}), 0)
        there = writer.write(photos, ["dog", ""])
    assert [one.rejected for one in here] == [one.rejected for one in there]
    assert [[candidate.instruction for candidate in one.candidates] for one in here] == [
        [candidate.instruction for candidate in one.candidates] for one in there
    ]


def test_feasibility_by_the_mini_judge_gives_a_verdict_or_a_reason(mini):
    asked = [check_questions(PIXEL, task, "ball", "Remove the ball.") for task in ("removal", "style")]
    found = feasibility_reasons(mini, asked)
    assert len(found) == 2
    assert all(reason is None or reason for reason in found)


def test_answers_are_read_strictly():
    assert read_instruction_answer(answer("a"), 1) == {"object": "small dog", "possible": True, "instructions": ["a"]}
    assert "instructions" in str(read_instruction_answer(answer("a", "b"), 1))
    assert isinstance(read_instruction_answer('{"object":1,"possible":true,"instructions":[]}', 1), str)


def test_a_judge_names_the_category_and_is_asked_whether_it_is_there():
    def label(text, yes=0.8):
        with vlm(text, yes=yes) as server:
            labeller = load_labeller(LabelsSection(by="judge", model="x"), judge=judge_of(server))
            return labeller.label([PIXEL])[0]

    found = label('{"category": "dog"}')
    assert (found.category, found.probability) == ("dog", pytest.approx(0.8))
    found = label('{"category": "dog"}', yes=0.05)
    assert (found.category, found.probability) == ("", pytest.approx(0.05))
    assert label(json.dumps({"category": NOTHING})).probability == 0.0
    for text, yes in (("dog", 0.8), ('{"category": "dragon"}', 0.8), ('{"category": "dog"}', None)):
        found = label(text, yes)
        assert found.category == ""
        assert found.probability != found.probability


def test_the_mini_judge_labels_within_the_list(mini):
    labels = JudgeLabeller(mini, ("red ball", "cube"), 0.0).label([PIXEL, PIXEL])
    assert labels[0] == labels[1]
    assert labels[0].category in ("red ball", "cube", "")
