"""What an answer is, and what is unreadable."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest

from hpedit.errors import HPEditError
from hpedit.judges.limits import UnscorableLimit
from hpedit.judges.protocol import DIGITS, YES_NO, Answer, answer_from_masses
from hpedit.judges.token_variants import plain_words


def test_the_score_is_the_expectation_over_the_digits() -> None:
    answer = answer_from_masses((0, 0, 0.1, 0.2, 0.3, 0.4), DIGITS)
    assert answer.expected == pytest.approx(2 * 0.1 + 3 * 0.2 + 4 * 0.3 + 5 * 0.4)
    assert answer.spread == pytest.approx(1.0)


def test_mass_outside_the_digits_is_scaled_away() -> None:
    assert answer_from_masses((0, 0, 0, 0.3, 0.3, 0), DIGITS).expected == pytest.approx(3.5)


@pytest.mark.parametrize(
    "masses",
    [(0,) * 6, (0.01, 0.01, 0.02, 0, 0, 0.1), (math.nan,) * 6, (1.0, math.nan, 0, 0, 0, 0), (1.0,) * 6],
    ids=["no digit", "says something else", "nan", "one nan", "more than one"],
)
def test_an_unreadable_answer_is_none_with_a_reason(masses: tuple[float, ...]) -> None:
    answer = answer_from_masses(masses, DIGITS)
    assert answer.probabilities is None
    assert answer.expected is None
    assert answer.spread is None
    assert answer.reason


def test_a_run_stops_when_too_many_answers_are_unscorable() -> None:
    limit = UnscorableLimit(share=0.2, after=50)
    good, bad = answer_from_masses((0.1, 0.9), YES_NO), Answer(None, "the server took longer than 60 s")
    limit.count([bad] * 10)
    limit.count([good] * 39)
    limit.count([good])
    assert limit.unscorable == 10
    other = Answer(None, "the judge did not answer with 0 to 5: they have 0.31 of its probability")
    with pytest.raises(HPEditError, match=r"12 of the judge's 52 .* more than 20%: 10 x the server took longer"):
        limit.count([other, other])


def test_reasons_that_differ_in_numbers_are_counted_together() -> None:
    limit = UnscorableLimit(after=3)
    with pytest.raises(HPEditError, match=r"3 x they have 0\.1 of"):
        limit.count([Answer(None, f"they have 0.{n} of it") for n in (1, 2, 3)])


def test_marks_of_a_chat_format_become_words() -> None:
    assert "<|" not in plain_words("a <|im_end|> <<|| <|")
    assert plain_words(plain_words("<|x|>")) == plain_words("<|x|>")
    assert plain_words("a < b | c") == "a < b | c"


def test_the_http_judge_and_the_cache_need_no_torch() -> None:
    code = (
        "import sys\n"
        "import hpedit.judges, hpedit.judges.openai_judge, hpedit.judges.answer_cache\n"
        "assert not {'torch', 'transformers'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
