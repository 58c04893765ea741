"""What `hpedit bench run` and `score` do: load the model, cases and judges, check for leakage, run the benchmark.

torch is imported only when an editor or a judge is loaded.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpedit.bench.bench_folder import BenchFolder, Instrument
from hpedit.bench.benchmark_run import run_bench, run_external
from hpedit.bench.external_edits import ExternalEdits, first_names, match_edits
from hpedit.bench.figure_text import counted
from hpedit.bench.leakage import refuse_leaked_cases, run_of_lora, training_cases
from hpedit.cases.folder import load_cases
from hpedit.config.editor import EditorSection
from hpedit.errors import HPEditError
from hpedit.progress import note
from hpedit.records import Case
from hpedit.scorer.protocol import Scorer
from hpedit.store.atomic import read_json, write_json

ASKED = "asked.json"
"""Records the cases' path and the command of a folder: nothing that its figures depend on."""


@dataclass(frozen=True, slots=True)
class BenchJudges:
    """Who scores a benchmark: a fitted scorer, and a second judge that took no part in training."""

    scorer: Path | None = None
    """Folder of a fitted scorer."""
    second: str | None = None
    """A judge, or the folder of another scorer, that took no part in training."""
    same_judge: bool = False
    """Take a second judge that is the scorer's own."""

    def load(self, out: Path) -> list[tuple[Instrument, Scorer]]:
        """Load them; HPEditError if the second judge is one of the scorer's and `same_judge` is not set."""
        found: list[tuple[Instrument, Scorer]] = []
        own = _known_judges(out)
        if self.scorer is not None:
            scorer, judges, doubt = _fitted(self.scorer)
            own |= set(judges)
            instrument = Instrument(scorer.fingerprint, "scorer", self.scorer.name, judges=judges, doubt=doubt)
            found.append((instrument, scorer))
        if self.second is not None:
            found.append(second_instrument(self.second, own, same_judge=self.same_judge))
        return found


def second_instrument(spec: str, own: Collection[str], *, same_judge: bool = False) -> tuple[Instrument, Scorer]:
    """Load a second judge.

    Args:
        spec: A judge, or the folder of another scorer.
        own: Fingerprints of the scorer's judges.
        same_judge: Take one of them all the same.

    Raises:
        HPEditError: it is one of the scorer's and `same_judge` is not set, or it can't be loaded.
    """
    scorer, judges, doubt = _second(spec)
    same = bool(set(own) & set(judges))
    if same and not same_judge:
        raise HPEditError(
            f"{spec} is the scorer's own judge: it can't tell a real gain from reward hacking",
            hint="name another judge, or add --same-judge to see the judge without calibration",
        )
    name = Path(spec).name if Path(spec).is_dir() else spec
    return Instrument(scorer.fingerprint, "second", name, same, judges, doubt), scorer


def _known_judges(out: Path) -> set[str]:
    """Judges of the scorers that have scored in this folder before."""
    if not (out / "result.json").exists():
        return set()
    return {judge for one in BenchFolder.open(out).instruments() if one.role == "scorer" for judge in one.judges}


def _fitted(folder: Path) -> tuple[Scorer, tuple[str, ...], str]:
    """A scorer, the fingerprints of its judges, and why it has no signal, if so."""
    from hpedit.scorer.hp_scorer import HPScorer

    scorer = HPScorer.load(folder)
    doubt = "" if scorer.calibration.verdict == "ok" else scorer.calibration.reason or "its fit found none"
    return scorer, tuple(sorted({judge.fingerprint for judge in scorer.judges.values()})), doubt


def _second(spec: str) -> tuple[Scorer, tuple[str, ...], str]:
    """A fitted scorer where `spec` is the folder of one, else a judge at its word."""
    from hpedit.judges.loading import load_judge
    from hpedit.scorer.hp_scorer import CALIBRATION
    from hpedit.scorer.uncalibrated import UncalibratedScorer

    if (Path(spec) / CALIBRATION).is_file():
        return _fitted(Path(spec))
    judge = load_judge(spec)
    return UncalibratedScorer(judge), (judge.fingerprint,), ""


def bench_editor(
    section: EditorSection, cases: Path, out: Path, judging: BenchJudges, *, lora: Path | None = None,
    label: str | None = None, steps: int | None = None, cfg: float | None = None, seed: int = 0, batch: int = 16,
    trained_on: Sequence[Path] = (), command: str = "",
) -> BenchFolder:  # fmt: skip
    """Edit and score all cases with one model, or continue.

    Args:
        section: The model that is measured.
        cases: Held-out cases.
        out: Its folder.
        judging: Who scores.
        lora: Its LoRA; None measures the base.
        label: The model's name; None takes the folder's.
        steps: Sampling steps; None = the model's own.
        cfg: Scale of classifier-free guidance; 1 is off, None = the model's own.
        trained_on: What the model was trained on; the run that a LoRA lies in is found automatically.

    Raises:
        HPEditError: a case was trained on, or anything that `run_bench` refuses.
    """
    from hpedit.editors.load import open_editor

    held_out = load_cases(cases)
    _check_leakage(held_out, lora, trained_on)
    instruments = judging.load(out)
    editor = open_editor(section, cfg=cfg, lora=lora)
    folder = run_bench(
        editor, held_out, None, out, seed=seed, steps=steps or editor.usual.steps, label=label or out.resolve().name,
        batch=batch, instruments=instruments,
    )  # fmt: skip
    _keep_request(out, cases, command)
    return folder


def bench_external(
    edits: Path, cases: Path, out: Path, judging: BenchJudges, *, label: str | None = None,
    edit_ids: str = "{label}:{case}", allow_missing: bool = False, batch: int = 16, trained_on: Sequence[Path] = (),
    command: str = "",
) -> BenchFolder:  # fmt: skip
    """Score a folder of images named by case id, edited elsewhere; see `bench_editor` for the other arguments.

    Args:
        edits: The folder.
        edit_ids: Ids of the edits, for ratings: {label} and {case} are filled in.
        allow_missing: Continue although images are missing or damaged: a comparison leaves these cases out for every
            model.

    Raises:
        HPEditError: images are missing or damaged and that is not allowed, a case was trained on, `edit_ids` gives all
            edits one name, or anything that `run_external` refuses.
    """
    if "{case}" not in edit_ids:
        raise HPEditError(f"--edit-ids {edit_ids!r} would give all edits the same id", hint="it needs {case} in it")
    held_out = load_cases(cases)
    _check_leakage(held_out, None, trained_on)
    found = match_edits(edits, held_out)
    _report_oddities(edits, found, allow_missing)
    name = label or out.resolve().name
    sizes = {case: {"source": source, "edit": edit} for case, (source, edit) in found.sizes.items()}
    folder = run_external(
        found.edits(name, edit_ids), held_out, out, label=name, fingerprint=f"given/{found.fingerprint}",
        missing=found.absent, edit_ids=edit_ids, notes={"extra": list(found.extra), "sizes": sizes}, batch=batch,
        instruments=judging.load(out),
    )  # fmt: skip
    _keep_request(out, cases, command)
    return folder


def _report_oddities(folder: Path, found: ExternalEdits, allow_missing: bool) -> None:
    """Report oddities of the edits on stderr; HPEditError for missing or damaged images that are not allowed."""
    if found.extra:
        note(f"{len(found.extra)} files of {folder} match no case and are ignored: {first_names(found.extra)}")
    if found.sizes:
        case, (source, edit) = next(iter(found.sizes.items()))
        note(
            f"{len(found.sizes)} edits differ in size from their source, such as {case}: "
            f"{edit[0]} x {edit[1]} for {source[0]} x {source[1]}"
        )
    parts = []
    if found.missing:
        have = "has" if len(found.missing) == 1 else "have"
        parts.append(f"{counted(len(found.missing), 'case')} {have} no image: {first_names(found.missing)}")
    if found.damaged:
        first = next(iter(found.damaged.values()))
        are = "is" if len(found.damaged) == 1 else "are"
        parts.append(
            f"{counted(len(found.damaged), 'image')} {are} damaged: {first_names(list(found.damaged))} ({first})"
        )
    if parts and not allow_missing:
        raise HPEditError(
            f"{folder}: {'; '.join(parts)}",
            hint="--allow-missing continues without them: a comparison then leaves them out for every model",
        )
    for part in parts:
        note(part)


def _check_leakage(cases: Sequence[Case], lora: Path | None, trained_on: Sequence[Path]) -> None:
    paths = [training_cases(path) for path in trained_on]
    run = run_of_lora(lora) if lora is not None else None
    if run is not None:
        try:
            paths.append(training_cases(run))
        except HPEditError as error:
            if not trained_on:
                note(f"not checked against the training data: {error.message} (--trained-on names it)")
    refuse_leaked_cases(cases, paths)


def _keep_request(out: Path, cases: Path, command: str) -> None:
    """Record where the cases are; the command of the first run stays."""
    known = read_json(out / ASKED) if (out / ASKED).exists() else {}
    asked = {"cases": str(cases.resolve()), "command": known.get("command") or command}
    write_json(out / ASKED, asked)
