"""The verdict on a model in one sentence, from scorer, second judge, oracle and people together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hpedit.stats.intervals import FEWEST_PHOTOS, Interval

RATERS = ("People", "Simulated raters")


@dataclass(frozen=True, slots=True)
class Verdict:
    """One sentence with its tone: "good", "bad", "warn" or "plain"."""

    text: str
    tone: str = "plain"

    def as_dict(self) -> dict[str, str]:
        """As JSON has it."""
        return asdict(self)


def gain_sign(block: Mapping[str, Any] | None, label: str) -> int | None:
    """+1 or -1 if a model's gain is clearly on one side of 0, else 0; None without a gain, or of too few photos."""
    gain = Interval.read(block, "models", label, "gain")
    return None if gain is None or gain.too_few else gain.sign


def model_verdict(instruments: Sequence[Mapping[str, Any]], label: str) -> Verdict:
    """The verdict of all instruments on model `label` against the reference.

    An instrument is independent if it can't have been the reward: the oracle, people, a second judge. A scorer alone is
    never enough for a good verdict, and one without signal on people's ratings is ignored.
    """
    silent = [str(one["title"]) for one in instruments if one.get("doubt")]
    instruments = [one for one in instruments if not one.get("doubt")]
    signs = {str(one["title"]): gain_sign(one["overall"], label) for one in instruments}
    own = [str(one["title"]) for one in instruments if not one["independent"]]
    others = [str(one["title"]) for one in instruments if one["independent"] and signs[str(one["title"])] is not None]
    up, down = ([name for name in others if signs[name] == sign] for sign in (1, -1))
    scorer = next((signs[name] for name in own if signs[name] is not None), None)
    if not others and scorer is None and silent:
        return Verdict(f"{silent[0]} has no signal on people's ratings, so nothing can be said.", "warn")
    if not others:
        return _by_scorer_alone(scorer) if scorer is not None else _too_few(instruments, label)
    if up and down:
        return Verdict(f"The judges disagree: {_all(up)} {_see(up)} better edits, {_all(down)} worse ones.", "warn")
    if up:
        return _better(up, [name for name in others if signs[name] == 0], scorer)
    if scorer == 1:
        return Verdict(
            f"HP-Scorer rose but {_all(others)} did not follow: perhaps the editor learned to please the scorer.",
            "bad",
        )
    if down:
        return Verdict(
            f"Worse edits: {_all(down)} {_see(down)} it{', and HP-Scorer agrees' if scorer == -1 else ''}.", "bad"
        )
    return Verdict(f"No clear change by {_all(others)}.", "warn")


def _better(up: Sequence[str], flat: Sequence[str], scorer: int | None) -> Verdict:
    """A gain seen by an independent instrument; those that do not see it are named."""
    tails = {1: ", and HP-Scorer agrees", 0: ", though HP-Scorer sees no clear change", -1: "; HP-Scorer disagrees"}
    text = f"Better edits: {_all(up)} {_see(up)} it{'' if scorer is None else tails[scorer]}"
    if flat:
        text += f"; {_all(flat)} {_see(flat)} no clear change"
    # A gain that people do not see is not reliable, whatever the other instruments say.
    doubtful = scorer == -1 or bool(set(flat) & set(RATERS))
    return Verdict(f"{text}.", "warn" if doubtful else "good")


def _too_few(instruments: Sequence[Mapping[str, Any]], label: str) -> Verdict:
    """No instrument measured enough photos."""
    gains = [Interval.read(one["overall"], "models", label, "gain") for one in instruments]
    photos = max((gain.photos or 0 for gain in gains if gain), default=0)
    return Verdict(f"Not enough photos ({photos}; a verdict needs {FEWEST_PHOTOS}), so nothing can be said.", "warn")


def _by_scorer_alone(scorer: int) -> Verdict:
    """The words for a scorer that nothing independent stands beside."""
    words = {1: "scores the edits higher", 0: "sees no clear change", -1: "scores the edits lower"}[scorer]
    return Verdict(f"HP-Scorer {words}; no judge independent of it was measured.", "bad" if scorer == -1 else "warn")


def _all(names: Sequence[str]) -> str:
    """The names as part of a sentence."""
    words = [
        {"Oracle": "the oracle", "People": "people", "Simulated raters": "simulated raters"}.get(name, name)
        for name in names
    ]
    words = [f"the {word[0].lower()}{word[1:]}" if word.startswith("Second judge") else word for word in words]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _see(names: Sequence[str]) -> str:
    plural = len(names) > 1 or names[0] in RATERS
    return "see" if plural else "sees"
