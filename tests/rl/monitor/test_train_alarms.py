"""An alarm when the reward rises while judges or pixels go the other way, and none when all is well."""

import numpy as np
import pytest

from hpedit.rl.monitor.evaluations import (
    Evaluation,
    HeldOutTable,
    best_evaluation,
    deciding,
    evaluation_metrics,
    stop_reason,
)
from hpedit.rl.monitor.train_alarms import find_alarms

N = 24


def look(step, *, scorer=2.0, oracle=2.0, saturation=0.3, seed=0, **others):
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 0.05, N)
    scores = {"scorer": list(scorer + noise), "oracle": list(oracle + noise)}
    scores |= {name: list(value + noise) for name, value in others.items()}
    pixels = {"sharpness": [0.1] * N, "saturation": list(saturation + 0.1 * noise), "grid_energy": [0.2] * N}
    return Evaluation(step, scores, pixels | {"closeness": [0.9] * N})


def table(*evaluations, **base):
    cases = [{"id": f"c{i}", "task": "color", "source_id": f"p{i // 2}"} for i in range(N)]
    sources = {"sharpness": [0.1] * N, "saturation": [0.3] * N, "grid_energy": [0.2] * N, "closeness": [1.0] * N}
    return HeldOutTable(cases, sources, look(0, **base), list(evaluations))


def kinds(found):
    return [alarm.kind for alarm in found]


def test_the_oracle_falls_while_the_scorer_rises():
    [alarm] = find_alarms(table(look(10, scorer=2.5, oracle=1.6)), [])
    assert (alarm.step, alarm.kind) == (10, "oracle")
    assert alarm.text == (
        "the held-out scorer rose by 0.50 (0.50 to 0.50) while the oracle fell by 0.40 (0.40 to 0.40) against the base"
    )


def test_the_oracle_falls_while_the_scorer_does_not():
    now = look(10, oracle=1.6)
    scorer = [value + 0.5 * (-1) ** (i // 2) + 0.02 for i, value in enumerate(now.scores["scorer"])]
    unclear = Evaluation(10, now.scores | {"scorer": scorer}, now.pixels)
    [alarm] = find_alarms(table(unclear), [])
    assert alarm.text.startswith("the held-out scorer stands at +0.02 while the oracle fell by 0.40")


def test_a_judge_that_fell_from_its_own_best_while_the_scorer_rose_on():
    evaluations = (look(10, scorer=2.5, oracle=2.6), look(20, scorer=2.9, oracle=2.3))
    [alarm] = find_alarms(table(*evaluations), [])
    assert "the oracle fell by 0.30 (0.30 to 0.30) since iteration 10" in alarm.text
    assert not find_alarms(table(evaluations[0], look(20, scorer=2.4, oracle=2.3)), []), "the scorer fell with it"


def test_a_second_judge_and_pixels_that_drift_are_named_each():
    found = find_alarms(table(look(5, scorer=2.4, saturation=0.36, second=1.5), second=2.0), [])
    assert kinds(found) == ["oracle", "second", "saturation"]
    found = [alarm for alarm in found if alarm.kind != "oracle"]
    assert "the second judge fell" in found[0].text
    assert "saturation rose by 20%, away from the sources" in found[1].text


@pytest.mark.parametrize("judge", ["oracle", "second"])
def test_a_judge_that_does_not_follow_the_scorer(judge):
    base = {} if judge == "oracle" else {"second": 2.0}
    others = {"oracle": 2.5, "second": 2.5} if base else {"oracle": 2.5}
    [alarm] = find_alarms(table(look(10, scorer=2.5, **others | {judge: 2.0}), **base), [], planned=20)
    assert (alarm.step, alarm.kind) == (10, judge)
    named = "second judge" if base else "oracle"
    assert (
        alarm.text
        == f"the held-out scorer rose by 0.50 (0.50 to 0.50) while the {named} did not follow: 0.00 (0.00 to 0.00)"
    )


def test_a_judge_that_follows_half_way_or_a_further_reward_that_stays_is_no_alarm():
    assert not find_alarms(table(look(10, scorer=2.5, oracle=2.25)), [])
    assert not find_alarms(table(look(10, scorer=2.5, oracle=2.5, aesthetics=2.0), aesthetics=2.0), [])


def noisy(step, rng, rise=0.0):
    scores = {name: (2.0 + rise + rng.normal(0, 0.5, N)).tolist() for name in ("scorer", "oracle")}
    return Evaluation(step, scores, look(step).pixels)


def test_a_longer_run_needs_a_clearer_fall():
    rng = np.random.default_rng(7)
    fallen = noisy(5, rng)
    fallen = Evaluation(
        5, fallen.scores | {"oracle": [value - 0.4 for value in fallen.scores["oracle"]]}, fallen.pixels
    )
    held = table(fallen)
    scorer = [value - 0.05 for value in fallen.scores["scorer"]]
    held.base.scores.update(noisy(0, rng).scores | {"scorer": scorer})
    assert kinds(find_alarms(held, [], planned=1)) == ["oracle"]
    assert not find_alarms(held, [], planned=2000)


def test_a_shift_of_what_should_stay_is_named_in_pixels():
    moved, still = look(10, scorer=2.5, oracle=2.5), table()
    still.base.pixels.update(displacement=[0.1] * N)
    still.sources.update(displacement=[0.0] * N)
    still.evaluations.append(Evaluation(10, moved.scores, moved.pixels | {"displacement": [None, *[2.1] * (N - 1)]}))
    [alarm] = find_alarms(still, [])
    assert alarm.text.endswith("while what should stay moves by 2.0 px more")
    still.evaluations[-1] = Evaluation(10, moved.scores, moved.pixels | {"displacement": [0.3] * N})
    assert not find_alarms(still, []), "a fifth of a pixel"


def test_too_few_photos_raise_no_alarm():
    cases = [{"id": f"c{i}", "task": "color", "source_id": f"p{i // 4}"} for i in range(N)]
    held = table(look(10, scorer=2.5, oracle=1.0))
    assert not find_alarms(HeldOutTable(cases, held.sources, held.base, held.evaluations), [])


def test_the_held_out_scorer_falls_while_the_reward_rises():
    rewards = list(np.linspace(0.3, 0.8, 20))
    assert kinds(find_alarms(table(look(20, scorer=1.7)), rewards)) == ["scorer"]
    assert not find_alarms(table(look(20, scorer=1.7)), rewards[:6]), "too few iterations to speak of a course"
    assert not find_alarms(table(look(20, scorer=1.7)), [0.5, 0.4] * 10)


@pytest.mark.parametrize(
    "good",
    [
        {"scorer": 2.6, "oracle": 2.5},
        {"scorer": 2.08, "oracle": 1.95},
        {"scorer": 1.5, "oracle": 1.0},
        {"scorer": 2.6, "oracle": 2.4, "saturation": 0.32},
    ],
)
def test_no_alarm_when_all_rise_or_all_fall_or_little_changes(good):
    assert not find_alarms(table(look(10, **good)), [])


def test_a_move_toward_the_sources_is_no_alarm():
    assert not find_alarms(table(look(10, scorer=2.5, oracle=2.5, saturation=0.31), saturation=0.2), [])


def test_the_second_judge_decides_where_there_is_one():
    evaluations = [look(s, scorer=2 + s / 10, second=v) for s, v in ((1, 2.2), (2, 2.6), (3, 2.6), (4, 2.1))]
    with_second = table(*evaluations, second=2.0)
    assert deciding(with_second, "scorer") == "second"
    assert best_evaluation(with_second, "second").step == 2, "the first of equals"
    assert best_evaluation(with_second, "scorer").step == 4
    assert deciding(table(look(1)), "scorer") == "scorer"


def test_patience_counts_looks_since_the_best():
    evaluations = [look(s, second=v) for s, v in ((5, 2.2), (10, 2.6), (15, 2.5), (20, 2.4))]
    found = table(*evaluations, second=2.0)
    assert stop_reason(found, "second", 2) == "no better held-out second since iteration 10, for 2 evaluations"
    assert stop_reason(found, "second", 3) is None
    assert stop_reason(found, "second", 0) is None


def test_an_instrument_that_could_score_nothing_has_no_gain_and_stops_nothing():
    silent = Evaluation(5, {"scorer": [None] * N, "oracle": [None] * N}, look(5).pixels)
    found = table(silent)
    assert evaluation_metrics(found, silent)["held_out_scorer_gain"] is None
    assert best_evaluation(found, "scorer") is None
    assert stop_reason(found, "scorer", 1) is None
    assert not find_alarms(found, [])
