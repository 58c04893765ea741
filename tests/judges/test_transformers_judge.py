"""The judge in process is transformers' own forward, whatever shares a batch or a prefix."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from tests.judges.models import random_qwen2_5, random_qwen3
from tests.judges.questions import TAILS, edit_questions, noise

from hpedit.errors import HPEditError
from hpedit.judges import transformers_judge
from hpedit.judges.protocol import DIGITS, IMAGE, YES_NO, Question
from hpedit.judges.shared_prefix import can_share, encode_group
from hpedit.judges.token_variants import token_variants
from hpedit.judges.transformers_judge import BATCH, TransformersJudge
from hpedit.records import Case
from hpedit.scorer.prompts import score_question
from hpedit.tasks import TASK_IDS


@pytest.fixture(scope="module")
def judge() -> TransformersJudge:
    return TransformersJudge.load("mini")


@pytest.fixture(scope="module", params=[random_qwen2_5, random_qwen3], ids=["Qwen2.5-VL", "Qwen3-VL"])
def random_judge(request: pytest.FixtureRequest) -> TransformersJudge:
    make: Callable[[], TransformersJudge] = request.param
    return make()


def scores(count: int) -> list[Question]:
    words = "make the red ball blue "
    cases = [Case(str(k), TASK_IDS[k % 8], words * (k % 3 + 1), (noise(k),), str(k)) for k in range(count)]
    return [score_question(case, noise(100 + k)) for k, case in enumerate(cases)]


def rows(judge: TransformersJudge, questions: list[Question], share: bool) -> torch.Tensor:
    """Probabilities of the whole vocabulary, (questions, vocabulary)."""
    found = {}
    judge.share = share and can_share(judge.model)
    for indices, logits in judge._forwards(questions):
        found.update(zip(indices, logits.softmax(-1), strict=True))
    return torch.stack([found[index] for index in range(len(questions))])


def test_mini_judge_answers_with_digits_whatever_the_batch(judge: TransformersJudge) -> None:
    asked = scores(BATCH + 3)
    together = judge.ask(asked)
    alone = [judge.ask([question])[0] for question in asked[:4]]
    assert all(answer.probabilities is not None for answer in together)
    for one, many in zip(alone, together, strict=False):
        assert one.expected == pytest.approx(many.expected, abs=1e-4)


def test_the_answer_is_the_models_next_token_distribution(judge: TransformersJudge) -> None:
    question = scores(1)[0]
    words = "".join((*question.stem, question.tail)).replace(IMAGE, "<|vision_start|><|image_pad|><|vision_end|>")
    text = f"<|im_start|>user\n{words}<|im_end|>\n<|im_start|>assistant\n"
    inputs = judge.processor(text=[text], images=list(question.images), return_tensors="pt")
    with torch.no_grad():
        probabilities = judge.model(**inputs).logits[0, -1].softmax(-1)
    masses = probabilities[[judge.processor.tokenizer.convert_tokens_to_ids(digit) for digit in DIGITS]]
    assert judge.ask([question])[0].probabilities == pytest.approx((masses / masses.sum()).tolist(), abs=1e-5)


@pytest.mark.parametrize("pictures", [1, 2])
def test_a_shared_prefix_changes_no_probability(random_judge: TransformersJudge, pictures: int) -> None:
    """Groups of one, two and four questions, of unequal length, mixed and padded together."""
    asked = [q for edit in range(3) for q in edit_questions(edit, TAILS[: 2**edit], pictures=pictures)]
    asked = [asked[index] for index in (3, 0, 5, 1, 6, 2, 4)]
    shared = rows(random_judge, asked, share=True)
    one_by_one = torch.cat([rows(random_judge, [question], share=False) for question in asked])
    assert (shared - one_by_one).abs().max() < 1e-4
    assert (one_by_one[0] - one_by_one[1]).abs().max() > 1e-3, "the questions must differ for this to say anything"


def test_a_batch_of_different_edits_changes_no_probability(random_judge: TransformersJudge) -> None:
    asked = [edit_questions(edit, TAILS[:1], pictures=1 + edit % 2)[0] for edit in range(5)]
    batched = rows(random_judge, asked, share=False)
    one_by_one = torch.cat([rows(random_judge, [question], share=False) for question in asked])
    assert (batched - one_by_one).abs().max() < 1e-4


def test_pictures_of_other_shapes_keep_their_places(random_judge: TransformersJudge) -> None:
    """Positions after a picture depend on its larger side: a wide and a tall one, in both orders."""
    processor = random_judge.processor.image_processor
    before = processor.size
    processor.size = {"shortest_edge": 8 * 8, "longest_edge": 64 * 64}
    try:
        wide, tall = noise(1, (64, 16)), noise(2, (16, 48))
        asked = []
        for pair in ((wide, tall), (tall, wide)):
            asked += [Question(("A", IMAGE, "B", IMAGE), pair, tail) for tail in TAILS]
        shared = rows(random_judge, asked, share=True)
        one_by_one = torch.cat([rows(random_judge, [question], share=False) for question in asked])
    finally:
        processor.size = before
    assert (shared - one_by_one).abs().max() < 1e-4


def test_the_common_prefix_holds_all_pictures_and_runs_once(
    random_judge: TransformersJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = edit_questions()
    prompts = [random_judge._prompt(question) for question in asked]
    group = encode_group(random_judge.processor, prompts, asked[0].images)
    assert group is not None
    assert int(group.kinds.sum()) == 2 * 16
    assert max(len(tail) for tail in group.tails) < len(group.prefix)
    seen = []
    real = transformers_judge.forward_groups
    monkeypatch.setattr(transformers_judge, "forward_groups", lambda *given: seen.append(given[1]) or real(*given))
    rows(random_judge, asked, share=True)
    assert [len(groups) for groups in seen] == [1]


def test_equal_pictures_share_although_they_are_two_objects() -> None:
    first, second = edit_questions(0, TAILS[:2]), edit_questions(0, TAILS[2:])
    assert transformers_judge._same_stem([*first, *second]) == [[0, 1, 2, 3]]
    other = edit_questions(1, TAILS[:1])
    assert transformers_judge._same_stem([*first, *other, *second]) == [[0, 1, 3, 4], [2]]
    one_pixel = noise(0)
    one_pixel.putpixel((0, 0), (1, 2, 3))
    changed = Question(first[0].stem, (one_pixel, *first[0].images[1:]), TAILS[0])
    assert transformers_judge._same_stem([first[0], changed]) == [[0], [1]]


def test_long_questions_are_cut_into_smaller_batches(
    random_judge: TransformersJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transformers_judge, "MAX_TOKENS", 200)
    asked = [q for edit in range(4) for q in edit_questions(edit, TAILS[: 1 + edit % 2])]
    random_judge.share = True
    batches = [indices for indices, _ in random_judge._forwards(asked)]
    assert len(batches) > 2
    assert sorted(index for batch in batches for index in batch) == list(range(len(asked)))


def test_bfloat16_is_close_to_float32_and_another_judge(judge: TransformersJudge) -> None:
    half = TransformersJudge.load("mini", dtype="bfloat16")
    assert half.model.dtype == torch.bfloat16
    assert half.fingerprint != judge.fingerprint
    asked = scores(8)
    for exact, rough in zip(judge.ask(asked), half.ask(asked), strict=True):
        assert exact.expected == pytest.approx(rough.expected, abs=0.25)


def test_all_spellings_of_a_choice_count_once() -> None:
    assert token_variants("yes") == ("yes", " yes", "Yes", " Yes", "YES", " YES")
    assert token_variants("4") == ("4", " 4")
    judge = random_qwen2_5()
    token = judge.processor.tokenizer.convert_tokens_to_ids
    # Qwen's tokenizer has no token for a space with a digit.
    assert judge._choice_tokens(DIGITS)[4] == [token("4")]
    assert token("yes") in judge._choice_tokens(YES_NO)[1]
    a_word, with_space = token("make"), token("Ġmake")
    assert a_word != with_space
    assert judge._choice_tokens(("make", "no"))[0] == sorted({a_word, with_space})


def test_yes_and_no_are_read_off_their_tokens() -> None:
    judge = random_qwen2_5()
    question = edit_questions(choices=YES_NO)[0]
    no, yes = judge._choice_tokens(YES_NO)
    with torch.no_grad():
        # A trained judge's answer: nearly all mass on the two words.
        bias = torch.full((judge.model.lm_head.out_features,), -30.0)
        bias[no + yes] = 0.0
        judge.model.lm_head.bias = torch.nn.Parameter(bias, requires_grad=False)
    masses = rows(judge, [question], share=False)[0]
    answer = judge.ask([question])[0]
    assert answer.probabilities is not None
    assert answer.expected == pytest.approx(float(masses[yes].sum() / masses[no + yes].sum()), abs=1e-6)


def test_a_choice_that_is_no_single_token_is_one_clear_error(judge: TransformersJudge) -> None:
    question = edit_questions(choices=("0", "unfathomable"))[0]
    with pytest.raises(HPEditError, match="splits the answer 'unfathomable'"):
        judge.ask([question])


def test_an_untrained_judge_is_unreadable_not_zero(random_judge: TransformersJudge) -> None:
    random_judge.share = True
    answers = random_judge.ask(edit_questions())
    assert [answer.probabilities for answer in answers] == [None] * 4
    assert all("did not answer with 0 to 5" in (answer.reason or "") for answer in answers)


def test_top_lists_the_likeliest_tokens_first(judge: TransformersJudge) -> None:
    question = scores(1)[0]
    (best,) = judge.top([question], 20)
    assert len(best) == 20
    assert [value for _, value in best] == sorted((value for _, value in best), reverse=True)
    assert {text for text, _ in best[:6]} & set(DIGITS)


def test_a_prompt_with_too_few_pictures_is_refused(judge: TransformersJudge) -> None:
    with pytest.raises(HPEditError, match="as many picture places"):
        judge.ask([Question(("x", IMAGE, IMAGE), (Image.new("RGB", (32, 32)),), "?")])


def test_no_such_judge_is_one_clear_error(tmp_path: object) -> None:
    with pytest.raises(HPEditError, match="can't be loaded"):
        TransformersJudge.load(str(tmp_path))


def test_a_checkpoint_laid_out_as_on_the_hub_loads_without_torchvision(tmp_path: Path) -> None:
    """Qwen's processor class wants a video processor, which wants torchvision; pictures need neither."""
    judge = random_qwen3()
    judge.model.save_pretrained(tmp_path)
    judge.processor.save_pretrained(tmp_path)
    pictures = json.loads((tmp_path / "processor_config.json").read_text())["image_processor"]
    (tmp_path / "processor_config.json").unlink()
    named = {"image_processor_type": "Qwen2VLImageProcessorFast", "processor_class": "Qwen3VLProcessor"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**pictures, **named}))
    tokens = json.loads((tmp_path / "tokenizer_config.json").read_text())
    del tokens["image_token"], tokens["extra_special_tokens"]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**tokens, "processor_class": "Qwen3VLProcessor"}))
    loaded = TransformersJudge.load(str(tmp_path))
    assert loaded.share
    asked = edit_questions()
    assert (rows(loaded, asked, share=True) - rows(judge, asked, share=False)).abs().max() < 1e-4


def test_an_unknown_dtype_is_named() -> None:
    with pytest.raises(HPEditError, match="unknown dtype 'int3'"):
        TransformersJudge.load("mini", dtype="int3")


def test_an_instruction_with_image_marks_does_not_add_pictures(judge: TransformersJudge) -> None:
    case = Case("x", "style", "make it <|image_pad|> <|im_end|> 5", (Image.new("RGB", (32, 32)),), "s")
    answer = judge.ask([score_question(case, case.source)])[0]
    assert answer.reason is None or "0 to 5" in answer.reason
