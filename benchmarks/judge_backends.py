"""Scores per second of the judge's backends, all in one run so that their ratios hold on a busy machine.

    python benchmarks/judge_backends.py --write      # and keep the figures in benchmarks/baselines/

Each figure is the best of several rounds, in which all ways of asking take turns. Processor time counts the client's
process and the server's; it hardly depends on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import torch
from PIL import Image

from hpedit.judges.answer_cache import CachedJudge
from hpedit.judges.openai_judge import OpenAIJudge
from hpedit.judges.protocol import DIGITS, Question
from hpedit.judges.shared_prefix import encode_group
from hpedit.judges.transformers_judge import TransformersJudge
from hpedit.mini.drawing import SIZE
from hpedit.records import Case
from hpedit.scorer.prompts import LIBRARY, stem
from hpedit.tasks import TASK_IDS

BASELINE = Path(__file__).parent / "baselines" / "judge_backends.json"
EDITS = 24
EACH = (1, 4, 8)
"""Questions an edit."""
Ways = dict[str, tuple[Callable[[Sequence[Question]], object], list[Question]]]


def picture(rng: np.random.Generator) -> Image.Image:
    """Smooth colour noise."""
    small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    return small.resize((SIZE, SIZE), Image.Resampling.BICUBIC)


def questions(each: int) -> list[Question]:
    """`each` questions about each of EDITS edits, all answered with a digit: any judge can read them."""
    rng = np.random.default_rng(0)
    asked = []
    for edit in range(EDITS):
        task = TASK_IDS[edit % len(TASK_IDS)]
        case = Case(str(edit), task, "make the red ball blue", (picture(rng),), str(edit))
        shown = (case.source, picture(rng))
        texts = [question.text for question in LIBRARY[task]] * 2
        head = stem(task, case.instruction)
        asked += [Question(head, shown, f"\n{text} One digit from 0 to 5:", DIGITS) for text in texts[:each]]
    return asked


def in_process(judge: TransformersJudge, share: bool, batch: int) -> Callable[[Sequence[Question]], object]:
    """Ask the judge in this process in a given way."""
    can = judge.share

    def ask(asked: Sequence[Question]) -> object:
        judge.share, judge.batch = share and can, batch
        if batch == 1:
            return [judge.ask([question]) for question in asked]
        return judge.ask(asked)

    return ask


@contextmanager
def server(judge: str) -> Iterator[tuple[str, psutil.Process]]:
    """`hpedit scorer serve` in a process of its own; yields what it prints, and the process."""
    command = [sys.executable, "-m", "hpedit", "scorer", "serve", "--judge", judge, "--port", "0"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    assert child.stdout is not None
    try:
        yield child.stdout.readline().strip(), psutil.Process(child.pid)
    finally:
        child.terminate()
        child.wait()


def measure(ways: Ways, rounds: int, others: psutil.Process) -> dict[str, tuple[float, float]]:
    """Questions a second of each way, by the clock and by processor time, the best of `rounds`."""

    def processor() -> float:
        used = others.cpu_times()
        return time.process_time() + float(used.user) + float(used.system)

    best = dict.fromkeys(ways, (0.0, 0.0))
    for ask, asked in ways.values():
        ask(asked[:8])
    for _ in range(rounds):
        for way, (ask, asked) in ways.items():
            clock, work = time.perf_counter(), processor()
            ask(asked)
            rates = len(asked) / (time.perf_counter() - clock), len(asked) / max(processor() - work, 1e-3)
            best[way] = (max(best[way][0], rates[0]), max(best[way][1], rates[1]))
    return best


def lengths(judge: TransformersJudge) -> dict[str, float]:
    """Mean tokens of a shared prefix, and of a question's tail."""
    asked = questions(max(EACH))
    groups = []
    for start in range(0, len(asked), max(EACH)):
        edit = asked[start : start + max(EACH)]
        groups.append(encode_group(judge.processor, [judge._prompt(one) for one in edit], edit[0].images))
    found = [group for group in groups if group]
    tails = [len(tail) for group in found for tail in group.tails]
    return {
        "prefix": round(sum(len(group.prefix) for group in found) / len(found), 1),
        "tail": round(sum(tails) / len(tails), 1),
    }


def all_ways(judge: TransformersJudge, url: str, model: str, cache: Path) -> Ways:
    """Every way of asking, with its questions."""
    batch = judge.batch
    ways: Ways = {
        "in process, one by one": (in_process(judge, False, 1), questions(1)),
        "in process, batched": (in_process(judge, False, batch), questions(1)),
    }
    for each in EACH:
        ways[f"{each} an edit, unshared"] = (in_process(judge, False, batch), questions(each))
        ways[f"{each} an edit, shared prefix"] = (in_process(judge, True, batch), questions(each))
    for concurrency in (1, 16):
        remote = OpenAIJudge(model, [url], concurrency=concurrency)
        ways[f"HTTP, {concurrency} under way"] = (remote.ask, questions(1))
    cached = CachedJudge(judge, cache)
    cached.ask(questions(max(EACH)))
    ways["from the cache"] = (cached.ask, questions(max(EACH)))
    return ways


def ratios(rates: dict[str, tuple[float, float]]) -> dict[str, float]:
    """How much faster one way is than another: by processor time in process, by the clock over HTTP."""

    def faster(one: str, other: str, by: int) -> float:
        return round(rates[one][by] / rates[other][by], 2)

    alone, batched, http_1, http_16 = (
        "in process, one by one",
        "in process, batched",
        "HTTP, 1 under way",
        "HTTP, 16 under way",
    )
    shared = {
        f"shared / unshared, {n} an edit": faster(f"{n} an edit, shared prefix", f"{n} an edit, unshared", 1)
        for n in EACH
    }
    return {
        "batched / one by one": faster(batched, alone, 1),
        **shared,
        "HTTP 16 / HTTP 1": faster(http_16, http_1, 0),
        "HTTP 16 / batched in process": faster(http_16, batched, 0),
        "cached / batched": faster("from the cache", batched, 1),
    }


def main() -> None:
    """Measure, print, and keep the figures when asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judge", default="mini", help="mini, a folder, or a hub id")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help=f"keep the figures in {BASELINE.name}")
    given = parser.parse_args()
    judge = TransformersJudge.load(given.judge)
    tokens = lengths(judge)
    with server(given.judge) as (spec, process), tempfile.TemporaryDirectory() as folder:
        url, _, model = spec.partition("#")
        rates = measure(all_ways(judge, url, model, Path(folder) / "answers.sqlite"), given.rounds, process)
    found = ratios(rates)
    print(f"{'scores per second':32}{'by the clock':>14}{'of one core':>14}")
    for name, (clock, work) in rates.items():
        print(f"{name:32}{clock:14.0f}{work:14.0f}")
    print(f"\n{tokens['prefix']:.0f} tokens are shared, {tokens['tail']:.0f} are a question's own")
    for name, ratio in found.items():
        print(f"{name:32}{ratio:13.2f}x")
    if given.write:
        result = {
            "judge": given.judge,
            "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, torch {torch.__version__}, "
            f"{torch.get_num_threads()} threads",
            "tokens": tokens,
            "scores_per_second": {name: round(rate[0], 1) for name, rate in rates.items()},
            "scores_per_processor_second": {name: round(rate[1], 1) for name, rate in rates.items()},
            "ratios": found,
        }
        BASELINE.parent.mkdir(exist_ok=True)
        BASELINE.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
