"""Real training runs in processes of their own, for tests: what a child does, and how it is started.

A module of its own, for child processes import it too.
"""

import os
import resource
import signal
import socket
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path


def parts():
    """Editor, cases and scorer of all these runs."""
    import torch
    from tests.conftest import picture
    from tests.rl.redness import RednessScorer

    from hpedit.editors.load import wrap_pipeline
    from hpedit.editors.sizes import ImageAreas
    from hpedit.mini.architecture import build_pipeline
    from hpedit.records import Case

    torch.set_num_threads(1)
    editor = wrap_pipeline(build_pipeline(0), ImageAreas(32, 1024, 1024), fingerprint="tiny")
    cases = [Case(f"case-{i}", "color", "make it red", (picture(seed=10 * i),), f"photo-{i}") for i in range(4)]
    return editor, cases, RednessScorer


def misbehave(how, folder):
    """Do to this process what the test asks for."""
    if how:
        (folder / "fault").write_text(str(time.time()))
    if how == "raise":
        raise ZeroDivisionError("planted by the test")
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "freeze":
        os.kill(os.getpid(), signal.SIGSTOP)
    if how == "full":  # a disk that takes no more than 16 KiB a file
        resource.setrlimit(resource.RLIMIT_FSIZE, (16384, resource.RLIM_INFINITY))
    if how in ("wait", "stall"):  # here a test can send signals
        (folder / f"here-{os.getpid()}").touch()
        end = time.monotonic() + (1000.0 if how == "stall" else 1.5)
        while time.monotonic() < end:
            time.sleep(0.05)
    if how == "deadlock":
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()


def train_here(recipe, faults, folder):
    """Train, and do what `faults` say: {(where, rank, n): how} at the n-th "score", "forward" or "save" of a rank."""
    from hpedit.config.recipe import Recipe
    from hpedit.rl import checkpoints
    from hpedit.rl.trainer import train

    editor, cases, base = parts()
    rank, counts = int(os.environ.get("RANK", "0")), Counter()

    def arrive(where):
        counts[where] += 1
        misbehave(faults.get((where, rank, counts[where])), folder)

    class Scorer(base):
        def score(self, *args):
            found = super().score(*args)
            arrive("score")
            return found

    def save(*args, **kwargs):
        arrive("save")
        return save_checkpoint(*args, **kwargs)

    save_checkpoint, checkpoints.save_checkpoint = checkpoints.save_checkpoint, save
    editor.pipeline.transformer.register_forward_pre_hook(lambda *_: arrive("forward"))
    try:
        return train(Recipe.model_validate(recipe, strict=False), editor=editor, cases=cases, scorer=Scorer())
    finally:
        checkpoints.save_checkpoint = save_checkpoint


def child(rank, size, port, recipe, faults, folder, silence):
    """One of several processes, with stderr in a file; one that is silent for so many seconds counts as gone."""
    from hpedit.errors import HPEditError
    from hpedit.rl.parallel import watchdog
    from hpedit.rl.parallel.stopping import StopAsked

    # A job in the background ignores SIGINT, and so would the processes that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    errors = os.open(folder / f"stderr-{rank}", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
    os.dup2(errors, 2)
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    watchdog.SILENCE = silence
    if size > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    try:
        train_here(recipe, faults, folder)
    except StopAsked as stop:
        os._exit(stop.code)
    except HPEditError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        sys.stderr.write(f"error: {error.message}\nhint: {error.hint}\n")
        sys.exit(2)


@dataclass
class Several:
    """Processes that train together."""

    folder: Path
    processes: list = field(default_factory=list)

    def codes(self, timeout=120.0):
        """Wait for all; their exit codes."""
        end = time.monotonic() + timeout
        for process in self.processes:
            process.join(max(0.0, end - time.monotonic()))
        return [process.exitcode for process in self.processes]

    def seconds_since_fault(self):
        """To be asked when all have ended."""
        return time.time() - float((self.folder / "fault").read_text())

    def stderr(self, rank):
        return (self.folder / f"stderr-{rank}").read_text()

    def wait_here(self, count=1, timeout=60.0):
        """Wait until so many processes are at a fault "wait"; their pids."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            found = [int(path.name.split("-")[1]) for path in self.folder.glob("here-*")]
            if len(found) >= count:
                return found
            time.sleep(0.05)
        raise AssertionError("nobody came")

    def end(self):
        for process in self.processes:
            if process.is_alive():
                process.kill()
                process.join()


def start(processes, folder, recipe, size=2, faults=None, silence=30.0):
    """Start `size` processes with a recipe as plain data."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    several = Several(folder)
    for rank in range(size):
        process = processes.Process(target=child, args=(rank, size, port, recipe, faults or {}, folder, silence))
        process.start()
        several.processes.append(process)
    return several


def write_pairs(folder):
    """A file of rated pairs for offline DPO, of the cases of `parts`; its path."""
    from PIL import Image
    from tests.conftest import picture

    from hpedit.cases.pairs.pair_table import build_pairs
    from hpedit.cases.pairs.preferences import PairRules
    from hpedit.ratings.responses import Response
    from hpedit.records import Case, Edit
    from hpedit.store.tables import write_cases, write_edits

    cases = [Case(f"case-{i}", "color", "make it red", (picture(seed=10 * i),), f"photo-{i}") for i in range(4)]
    reds = [Image.blend(case.sources[0], Image.new("RGB", (32, 32), "red"), 0.5) for case in cases]
    edits = [Edit(f"{case.id}-{k}", case.id, "e", k, image) for case, red in zip(cases, reds, strict=True)
             for k, image in ((1, red), (2, case.sources[0]))]  # fmt: skip
    write_cases(folder / "cases.parquet", cases)
    write_edits(folder / "edits.parquet", edits)
    votes = [Response((f"{case.id}-1", f"{case.id}-2"), "p", "A") for case in cases]
    build_pairs(votes, [folder / "cases.parquet"], [folder / "edits.parquet"], folder / "pairs.parquet", PairRules())
    return folder / "pairs.parquet"


def recipe_file(folder, iterations):
    """A recipe that needs no scorer, in a file; the run's folder is `folder`/run."""
    (folder / "recipe.yaml").write_text(f"""
output: {folder / "run"}
cases: none
scorer: none
editor: {{device: cpu}}
lora: {{rank: 4, alpha: 8}}
rollout: {{groups: 4}}
train: {{algorithm: offline_dpo, iterations: {iterations}, micro_batch: 8}}
dpo: {{pairs: {write_pairs(folder)}}}
log: {{tensorboard: false, grid_every: 0}}
""")
    return folder / "recipe.yaml"


def wait_for(path, timeout=300.0):
    """Wait until a file is there."""
    end = time.monotonic() + timeout
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.1)
    assert path.exists(), path
