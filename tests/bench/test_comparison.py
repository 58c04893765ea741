"""Any number of models: every figure from the same cases, gains against the first, tables that say the same."""

import csv
import dataclasses
import io
import json

import numpy as np
import pytest
from tests.bench.made import SCORER, SECOND, planted, rows

from hpedit.bench.comparison import compare_models, describe_model
from hpedit.bench.comparison_tables import (
    comparison_csv,
    comparison_latex,
    comparison_markdown,
    write_comparison_tables,
)
from hpedit.bench.comparison_text import comparison_text
from hpedit.bench.human import human_scores, read_human_scores
from hpedit.bench.instrument_figures import win_tie_loss
from hpedit.errors import HPEditError
from hpedit.records import Rating
from hpedit.store.tables import write_ratings


@pytest.fixture
def three(tmp_path):
    both = ((SCORER, 0.2), (SECOND, -0.5))
    return [
        planted(tmp_path / "base", "base", rows("base", 96), both),
        planted(tmp_path / "good", "good", rows("good", 96, 0.5), both, unscorable=(3,)),
        planted(tmp_path / "bad", "bad", rows("bad", 96, -0.4), both),
    ]


def by_key(result):
    return {one["key"]: one for one in result["instruments"]}


def test_planted_gains_by_every_instrument(three):
    result = compare_models(three)
    found = by_key(result)
    assert list(found) == ["oracle", "scorer", "second"]
    for one in found.values():
        models = one["overall"]["models"]
        assert models["good"]["gain"]["mean"] == pytest.approx(0.5)
        assert models["bad"]["gain"]["mean"] == pytest.approx(-0.4)
        assert models["good"]["p"] < 0.001
        assert models["bad"]["win_tie_loss"] == {"win": 0, "tie": 0, "loss": one["overall"]["n"]}
        assert "gain" not in models["base"]
        assert one["overall"]["pairs"][0]["gain"]["mean"] == pytest.approx(-0.9)
        assert list(one["tasks"]) == list(result["tasks"])
        for block in one["tasks"].values():
            assert block["models"]["good"]["p_holm"] >= block["models"]["good"]["p"]
    assert found["oracle"]["overall"]["copy"]["mean"] == pytest.approx(0.1)
    assert result["verdicts"]["good"]["tone"] == "good"
    assert result["verdicts"]["bad"]["tone"] == "bad"
    json.dumps(result, allow_nan=False)


def test_what_one_model_lacks_is_left_out_for_all_and_counted(three):
    found = by_key(compare_models(three))
    assert found["scorer"]["overall"]["n"] == 95
    assert found["scorer"]["left_out"] == 1
    assert found["scorer"]["unscorable"] == {"base": 0, "good": 1, "bad": 0}
    assert found["scorer"]["reasons"] == {"good": {"no digit": 1}}
    assert found["oracle"]["overall"]["n"] == 96


def test_a_missing_edit_is_left_out_for_all(tmp_path, three):
    table = rows("part", 96, 0.5, missing=(0, 1))
    part = planted(tmp_path / "part", "part", table, ((SCORER, 0.2),), seed=None, steps=None)
    result = compare_models([three[0], part])
    assert {one["key"]: one["overall"]["n"] for one in result["instruments"]} == {"oracle": 94, "scorer": 94}
    assert by_key(result)["scorer"]["reasons"] == {"part": {"no edit: no image": 2}}
    assert any("not from the same noise" in note for note in result["notes"])
    assert any("other (second judge) has scored only base" in note for note in result["notes"]), (
        "base alone has a second judge"
    )


def test_shares_of_failures_and_of_solved(tmp_path):
    low = [
        dataclasses.replace(row, oracle=value) for row, value in zip(rows("a", 4), (2.0, 2.1, 4.4, 4.5), strict=True)
    ]
    high = [dataclasses.replace(row, oracle=5.0) for row in rows("b", 4)]
    result = compare_models([planted(tmp_path / "a", "a", low, ()), planted(tmp_path / "b", "b", high, ())])
    models = by_key(result)["oracle"]["overall"]["models"]
    assert (models["a"]["low_share"], models["a"]["high_share"]) == (0.25, 0.25)
    assert (models["b"]["low_share"], models["b"]["high_share"]) == (0.0, 1.0)


def test_people_are_an_instrument_of_their_own(tmp_path, three):
    ratings = [
        Rating(f"{label}:case-{index}", rater, score)
        for label, score in (("base", 2.0), ("good", 4.0))
        for index in range(20)
        for rater in ("ann", "bo")
    ]
    write_ratings(tmp_path / "ratings.csv", [*ratings, Rating("elsewhere:1", "cy", 1.0)])
    human = read_human_scores(tmp_path / "ratings.csv", three)
    found = by_key(compare_models(three, human))["human"]
    assert found["title"] == "People"
    assert "2 raters" in found["note"]
    assert found["overall"]["n"] == 20
    assert found["overall"]["models"]["good"]["gain"]["mean"] == pytest.approx(2.0)
    assert "bad" not in found["overall"]["models"], "nobody rated it; that must not empty the others' figures"
    comparison_text(compare_models(three, human))


def test_simulated_raters_are_called_so(three):
    human = human_scores([Rating("base:case-0", "s", 3.0, simulated=True)], ["base:case-0", "good:case-0"])
    assert by_key(compare_models(three, human))["human"]["title"] == "Simulated raters"


def test_ratings_of_nothing_here_are_refused(tmp_path, three):
    write_ratings(tmp_path / "r.csv", [Rating("x", "ann", 1.0)])
    with pytest.raises(HPEditError, match="none of the ratings"):
        read_human_scores(tmp_path / "r.csv", three)
    twin = planted(tmp_path / "twin", "twin", rows("base", 96))
    with pytest.raises(HPEditError, match="share edit ids"):
        read_human_scores(tmp_path / "r.csv", [three[0], twin])


def test_what_can_not_be_compared_is_refused(tmp_path, three):
    with pytest.raises(HPEditError, match="at least two models"):
        compare_models(three[:1])
    same = planted(tmp_path / "other", "base", rows("base", 96))
    with pytest.raises(HPEditError, match="two models are called base"):
        compare_models([three[0], same])
    seeded = planted(tmp_path / "seeded", "seeded", rows("seeded", 96), seed=7)
    with pytest.raises(HPEditError, match="different seeds: 0 and 7"):
        compare_models([three[0], seeded])
    unscored = planted(tmp_path / "unscored", "unscored", rows("unscored", 96), ())
    with pytest.raises(HPEditError, match="no scorer in common"):
        compare_models([three[0], unscored])


def test_a_second_judge_that_is_the_scorers_own_is_no_independent_look(tmp_path):
    own = dataclasses.replace(SECOND, judges=("j",))
    pair = [
        planted(tmp_path / label, label, rows(label, 96, shift, exact=False), ((SCORER, shift), (own, shift)))
        for label, shift in (("base", 0.0), ("post", 0.5))
    ]
    result = compare_models(pair)
    assert [one["independent"] for one in result["instruments"]] == [False, False]
    assert result["verdicts"]["post"]["tone"] == "warn"
    assert "no judge independent" in result["verdicts"]["post"]["text"]


def test_a_scorer_that_rises_alone_is_called_a_bad_sign(tmp_path):
    both = [((SCORER, 0.0), (SECOND, 0.0)), ((SCORER, 0.5), (SECOND, 0.0))]
    pair = [
        planted(tmp_path / label, label, rows(label, 96, exact=False), one)
        for label, one in zip(("base", "post"), both, strict=True)
    ]
    verdict = compare_models(pair)["verdicts"]["post"]
    assert verdict["tone"] == "bad"
    assert "learned to please the scorer" in verdict["text"]


def test_a_gain_that_people_do_not_see_is_no_good_verdict(three):
    ratings = [Rating(f"{label}:case-{i}", "ann", float(i % 6)) for label in ("base", "good") for i in range(96)]
    result = compare_models(three[:2], human_scores(ratings, [rating.edit_id for rating in ratings]))
    assert result["verdicts"]["good"]["tone"] == "warn"
    assert "; people see no clear change" in result["verdicts"]["good"]["text"]


def test_the_terminal_has_80_columns(three, tmp_path):
    more = [planted(tmp_path / f"m{i}", f"a-model-with-a-long-name-{i}", rows(f"m{i}", 96, 0.1 * i)) for i in range(5)]
    for folders in (three, [three[0], *more]):
        text = comparison_text(compare_models(folders))
        assert max(map(len, text.splitlines())) <= 80
    assert "+0.50*" in comparison_text(compare_models(three)), "twelve photos of a task that all gain are beyond chance"
    alone = comparison_text(describe_model(three[0]))
    assert "Oracle" in alone
    assert "gain" not in alone


def test_tables_say_the_same_and_hold_odd_names(tmp_path):
    odd = "=cmd|' _x_ 50% & <b>\\"
    pair = [planted(tmp_path / "a", "base", rows("base", 96)), planted(tmp_path / "b", odd, rows("b", 96, 0.5))]
    result = compare_models(pair)
    table = list(csv.DictReader(io.StringIO(comparison_csv(result))))
    assert len(table) == 2 * 9 * 2
    assert {row["title"] for row in table} == {"Oracle", "HP-Scorer"}
    mine = next(row for row in table if row["task"] == "all" and row["instrument"] == "oracle" and row["gain"])
    assert mine["model"] == "'" + odd, "a spreadsheet must not run it"
    assert float(mine["gain"]) == pytest.approx(0.5)
    assert "=cmd\\|' \\_x\\_ 50% & \\<b\\>\\\\" in comparison_markdown(result)
    shown = r"=cmd\textbar{}' \_x\_ 50\% \& \textless{}b\textgreater{}\textbackslash{} & "
    assert shown in comparison_latex(result)
    assert comparison_latex(result).count(r"\begin{tabular}") == comparison_latex(result).count(r"\end{tabular}") == 2
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        write_comparison_tables(tmp_path / name, result)
    files = sorted(file.name for file in (tmp_path / "first").iterdir())
    assert files == ["compare.csv", "compare.json", "compare.md", "compare.tex"]
    assert all((tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes() for name in files)


def test_a_name_in_brackets_is_no_option_of_the_row_above(tmp_path):
    pair = [planted(tmp_path / name, label, rows(name, 2)) for name, label in (("a", "base"), ("b", "[v2]\n*"))]
    assert "    {[}v2{]} {*} & " in comparison_latex(compare_models(pair))


def test_one_case_is_one_in_words_and_has_no_interval(tmp_path):
    table = rows("Base", 1)
    pair = [planted(tmp_path / name, name, rows(name, 1)) for name in ("Base", "Post")]
    result = compare_models(pair)
    texts = [comparison_text(result), comparison_markdown(result), comparison_latex(result)]
    assert all("1 case of 1 photo" in text for text in texts)
    assert not any("1 cases" in text or "[-]" in text or "[$-$]" in text for text in texts)
    assert f"{table[0].oracle:.2f} (0.00)" in texts[1]
    blind = planted(tmp_path / "c", "Blind LoRA", rows("c", 2), unscorable=(0,))
    text = comparison_markdown(compare_models([planted(tmp_path / "d", "Base", rows("d", 2)), blind]))
    assert "Left out for every model: 1 case (without a score: 1 of Blind LoRA)." in text, "names keep their capitals"


def test_models_rated_on_different_cases_have_no_figures_by_people(three):
    ratings = [Rating("base:case-0", "ann", 2.0), Rating("good:case-1", "ann", 4.0)]
    result = compare_models(three, human_scores(ratings, [rating.edit_id for rating in ratings]))
    assert "human" not in by_key(result)
    assert any("People" in note and "no case has a score of every model" in note for note in result["notes"])
    for text in (comparison_text, comparison_markdown, comparison_latex, comparison_csv):
        assert text(result)


def test_a_scorer_that_scored_nothing_is_said_to(tmp_path):
    pair = [planted(tmp_path / name, name, rows(name, 4), unscorable=range(4)) for name in ("base", "post")]
    result = compare_models(pair)
    assert list(by_key(result)) == ["oracle"]
    assert result["notes"] == ["HP-Scorer (scorer) could score nothing, most often: no digit"]


def test_two_scorers_of_one_name_do_not_hide_one_another(tmp_path):
    twin = dataclasses.replace(SECOND, fingerprint="u", judges=("l",))
    pair = [
        planted(tmp_path / name, name, rows(name, 96, exact=False), ((SECOND, up), (twin, -up)))
        for name, up in (("base", 0.0), ("post", 0.5))
    ]
    result = compare_models(pair)
    assert [one["title"] for one in result["instruments"]] == ["Second judge (other) 1", "Second judge (other) 2"]
    assert result["verdicts"]["post"]["text"].startswith("The judges disagree")


def test_a_difference_of_just_the_margin_is_a_tie_whatever_its_last_bit():
    outcome = win_tie_loss(np.array([4.1 - 4.0, 1.1 - 1.0, 1.0 - 1.1, 0.3 - 0.2, 0.11, -0.11]))
    assert outcome == {"win": 1, "tie": 4, "loss": 1}


def test_edits_that_change_nothing_are_counted_over_the_same_cases(tmp_path):
    first = [dataclasses.replace(row, alarms={**row.alarms, "closeness": 1.0}) for row in rows("a", 2)]
    second = [first[0], rows("b", 2, missing=(1,))[1]]
    pair = [planted(tmp_path / "a", "a", [first[0], rows("a", 2)[1]], ()), planted(tmp_path / "b", "b", second, ())]
    assert compare_models(pair)["untouched"] == {"a": 1.0, "b": 1.0}


def test_few_photos_have_intervals_but_neither_star_nor_verdict(tmp_path):
    pair = [planted(tmp_path / name, name, rows(name, 14, up)) for name, up in (("base", 0.0), ("post", 0.5))]
    result = compare_models(pair)
    gain = by_key(result)["oracle"]["overall"]["models"]["post"]["gain"]
    assert gain["ci95"] == pytest.approx([0.5, 0.5])
    assert (gain["photos"], gain["clear"]) == (7, False)
    text = "Not enough photos (7; a verdict needs 8), so nothing can be said."
    assert result["verdicts"]["post"] == {"text": text, "tone": "warn"}
    assert "*" not in comparison_text(result).replace("* p <", "")


def test_a_verdict_needs_a_p_that_is_corrected_for_the_number_of_models(tmp_path):
    rng = np.random.default_rng(3)
    luck = rng.normal(0, 1, 96)
    luck += 0.25 - luck.mean()

    def noisy(name, change):
        table = zip(rows(name, 96), change.tolist(), strict=True)
        return planted(
            tmp_path / name, name, [dataclasses.replace(row, oracle=row.oracle + one) for row, one in table], ()
        )

    base, lucky = noisy("base", np.zeros(96)), noisy("lucky", luck)
    others = [noisy(f"m{i}", rng.permutation(luck) - 0.25) for i in range(6)]
    alone, among = (compare_models(folders) for folders in ([base, lucky], [base, lucky, *others]))
    found = [by_key(result)["oracle"]["overall"]["models"]["lucky"] for result in (alone, among)]
    assert found[0]["p"] == found[1]["p"] < 0.05 <= found[1]["p_holm"]
    assert [one["gain"]["clear"] for one in found] == [True, False]
    assert all(one["gain"]["ci95"][0] > 0 for one in found)
    assert alone["verdicts"]["lucky"]["tone"] == "good"
    assert among["verdicts"]["lucky"]["text"] == "No clear change by the oracle."


def test_a_displaced_model_raises_an_alarm_and_an_unknown_displacement_is_left_out(tmp_path):
    def moved(name, by):
        table = []
        for i, row in enumerate(rows(name, 40)):
            edit = row.alarms | {"displacement": None if i % 5 == 0 else by + i / 1000}
            source = row.source_alarms | {"displacement": 0.0}
            table.append(dataclasses.replace(row, alarms=edit, source_alarms=source))
        return planted(tmp_path / name, name, table)

    result = compare_models([moved("base", 0.1), moved("post", 2.1), moved("same", 0.2)])
    found = result["alarms"]["displacement"]["models"]
    assert found["post"]["mean"] - found["base"]["mean"] == pytest.approx(2.0)
    assert found["post"]["alarm"]
    assert found["post"]["meaning"] == "what should stay moves by 2.0 px more"
    assert not found["same"]["alarm"]
    assert "ALARM displacement of post: what should stay moves by 2.0 px more" in comparison_text(result)
