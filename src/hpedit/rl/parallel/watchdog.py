"""Watchdog of each process of a group (a thread): no process waits for one that crashed, died or hangs.

| what happens to a process | who notices | after |
|---|---|---|
| it raises | itself; the others read its traceback | 1-2 s |
| it is killed | others on its machine by its pid, else by missing heartbeats | 1-2 s, `SILENCE` |
| it stalls (a silent judge, a deadlock) | its own watchdog, which writes all stacks | `scale.stall_timeout` |
| it is frozen, or a C call keeps Python's lock | the others, by missing heartbeats | `SILENCE` |
| its launcher dies, or the store's machine | itself | 1-2 s |

torchrun ends a group after a crash or a kill too; the watchdog also does so without it, and names the cause. The
first to notice writes it to the store and to `errors/rank_N.txt` of the run's folder, and all end. A thread ends the
process by `os._exit`, since the main thread may be inside a call that never returns.
"""

from __future__ import annotations

import faulthandler
import json
import os
import select
import socket
import tempfile
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NoReturn

import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.errors import get_error_handler

from hpedit.rl.parallel import stopping
from hpedit.store.atomic import atomic_write
from hpedit.store.run_folder import RECIPE

BEAT: Final = 1.0
"""Seconds between two heartbeats."""
SILENCE: Final = 30.0
"""Seconds without a heartbeat after which a process counts as dead."""
LOADING: Final = 6.0
"""Times `stall_timeout` that loading the models may take before the first sign of progress."""
PARTING: Final = 10.0
"""Seconds for which rank 0 waits at most until the others have ended too."""
LINGER: Final = 3.0
"""Seconds in which the others can read why this process ends; the store may end with it."""


@dataclass(slots=True)
class _Peer:
    """Another process of the group."""

    beat: bytes = b""
    heard: float = 0.0
    pid: int | None = None
    """File descriptor that becomes readable at its end; None if it is on another machine, or not known yet."""
    name: str = "not seen yet"
    ended: bool = False
    """Its process was gone when it was first looked for."""


class Watchdog:
    """Monitors this process and the others within a `with` block."""

    def __init__(self, rank: int, size: int, store: Any, stall_timeout: float, folder: Path) -> None:
        """`store` is a client of its own, since calls block each other; `folder` is the run's."""
        self.rank, self.size, self.folder, self.stall_timeout = rank, size, folder, stall_timeout
        self._store = store
        self._peers = {other: _Peer() for other in range(size) if other != rank}
        self._beats, self._last, self._ending = 0, time.monotonic(), threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        stopping.progress("loading")
        me = {"host": socket.gethostname(), "pid": os.getpid(), "space": _pid_namespace()}
        self._store.set(f"who/{self.rank}", json.dumps(me))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        faulthandler.cancel_dump_traceback_later()

    def part(self) -> None:
        """From here on processes may end silently; rank 0, with which the store may end, goes last."""
        self._ending.set()
        with suppress(dist.DistError), self._lock:  # the store may have gone already
            self._store.set(f"ended/{self.rank}", "")
            keys, end = [f"ended/{other}" for other in self._peers], time.monotonic() + PARTING
            while self.rank == 0 and not self._store.check(keys) and time.monotonic() < end:
                time.sleep(BEAT / 10)

    def report(self, error: BaseException) -> None:
        """Tell all processes that this one failed, unless another failed first and caused it."""
        if isinstance(error, RuntimeError):  # perhaps of a broken connection
            self._find_cause()
        text = "".join(traceback.format_exception(error))
        try:
            with self._lock:
                self._claim_failure(f"rank {self.rank} failed: {error}", text)
        except dist.DistError as gone:
            text += f"The others could not be informed: {gone}\n"
        self._ending.set()
        stopping.print_stderr(f"[rank {self.rank}] {text}")
        _tell_launcher(error)
        time.sleep(LINGER)
        # Nothing may keep the process from ending: a judge that still answers, a group that can't be dissolved.
        timer = threading.Timer(5 * LINGER, os._exit, args=(1,))
        timer.daemon = True
        timer.start()

    def _find_cause(self) -> None:
        """End if another process turns out, within a few seconds, to have failed or died."""
        end = time.monotonic() + LINGER
        try:
            while time.monotonic() < end:
                with self._lock:
                    self._check_peers()
                time.sleep(BEAT / 4)
        except dist.DistError as gone:
            stopping.print_stderr(f"[rank {self.rank}] the store has gone: {gone}")

    def _run(self) -> None:
        try:
            while not self._ending.wait(BEAT):
                with self._lock:
                    self._beat()
        except dist.DistError as error:
            if not self._ending.is_set():
                self._end(f"[rank {self.rank}] the store has gone, and rank 0 or its launcher with it: {error}")
        except BaseException:
            self._end(f"[rank {self.rank}] {traceback.format_exc()}")

    def _beat(self) -> None:
        # faulthandler's C thread writes the stacks if this one gets no turn because somebody keeps Python's lock.
        faulthandler.dump_traceback_later(SILENCE, exit=False)
        self._beats += 1
        self._store.set(f"beat/{self.rank}", str(self._beats))
        self._pass_on_signals()
        self._check_peers()
        self._check_stall()

    def _pass_on_signals(self) -> None:
        signum = stopping.stop_signal()
        if signum is not None:
            self._store.set("stop", str(signum))
        elif self._store.check(["stop"]):
            stopping.request_stop(int(self._store.get("stop")))

    def _check_peers(self) -> None:
        """End if another process has failed, died or fallen silent."""
        now = time.monotonic()
        if now - self._last > 5 * BEAT:  # this process itself got no turn: the others' silence says nothing
            for peer in self._peers.values():
                peer.heard = now
        self._last = now
        if self._store.check(["failed"]):
            self._end_with(json.loads(self._store.get("failed")))
        for other, peer in self._peers.items():
            over = self._check_heartbeat(other, peer, now)
            if (over or now - peer.heard > SILENCE) and not self._store.check([f"ended/{other}"]):
                what = (
                    "exited without an error; probably killed (out of memory?)"
                    if over
                    else f"has sent no heartbeat for {SILENCE:.0f} s: frozen, or its machine or network is down"
                )
                self._claim_failure(f"rank {other} ({peer.name}) {what}", "", of=other)
                self._end_with(json.loads(self._store.get("failed")))

    def _check_heartbeat(self, other: int, peer: _Peer, now: float) -> bool:
        """Record the other's heartbeat; returns whether its process is known to have ended."""
        if peer.name == "not seen yet" and self._store.check([f"who/{other}"]):
            who = json.loads(self._store.get(f"who/{other}"))
            peer.name = f"process {who['pid']} on {who['host']}"
            try:
                peer.pid = _open_pidfd(who)
            except ProcessLookupError:  # it ended before anybody looked
                peer.ended = True
        beat = self._store.get(f"beat/{other}") if self._store.check([f"beat/{other}"]) else b""
        if beat != peer.beat or not peer.heard:
            peer.beat, peer.heard = beat, now
        return _has_ended(peer)

    def _check_stall(self) -> None:
        """End if the main thread stalls."""
        seconds, where = stopping.silence()
        patience = self.stall_timeout * (LOADING if where == "loading" else 1)
        if seconds > patience:
            self._claim_failure(f"rank {self.rank} has stalled for {seconds:.0f} s, last seen at: {where}", _stacks())
            self._end_with(json.loads(self._store.get("failed")))

    def _claim_failure(self, headline: str, text: str, of: int | None = None) -> None:
        """Record why all end, unless another process has already."""
        failure = {"rank": self.rank if of is None else of, "headline": headline, "text": text}
        self._store.compare_set("failed", "", json.dumps(failure))
        self._write_error_file(failure)

    def _write_error_file(self, failure: dict[str, Any]) -> None:
        """Write it into the run's folder, if that exists and can be written."""
        if (self.folder / RECIPE).exists():
            try:
                (self.folder / "errors").mkdir(exist_ok=True)
                text = f"{failure['headline']}\n{failure['text']}"
                atomic_write(self.folder / "errors" / f"rank_{failure['rank']}.txt", text)
            except OSError as error:
                stopping.print_stderr(f"[rank {self.rank}] {self.folder / 'errors'} cannot be written: {error}")

    def _end_with(self, failure: dict[str, Any]) -> NoReturn:
        """Print it (with the traceback where it happened, and in rank 0, whose output people read), and end."""
        self._write_error_file(failure)
        whole = self.rank in (0, failure["rank"])
        text = f"\n{failure['text']}" if whole and failure["text"] else ""
        stopping.print_stderr(f"[rank {self.rank}] all end: {failure['headline']}{text}")
        time.sleep(LINGER)
        os._exit(1)

    def _end(self, line: str) -> NoReturn:
        stopping.print_stderr(line)
        os._exit(1)


def end_with_launcher() -> None:
    """From here on this process ends when its launcher does, even by SIGKILL."""
    parent = os.getppid()

    def follow() -> None:
        while os.getppid() == parent:
            time.sleep(BEAT)
        stopping.print_stderr(f"process {os.getpid()} ends because its launcher has")
        os._exit(1)

    threading.Thread(target=follow, name="follow the launcher", daemon=True).start()


def _tell_launcher(error: BaseException) -> None:
    """Show the error in torchrun's own summary."""
    if "TORCHELASTIC_ERROR_FILE" in os.environ:
        with suppress(OSError):
            get_error_handler().record_exception(error)


def _open_pidfd(who: dict[str, Any]) -> int | None:
    """A pidfd that becomes readable when the process ends; None if it is on another machine.

    Raises:
        ProcessLookupError: it has ended already.
    """
    here = who["host"] == socket.gethostname() and who["space"] == _pid_namespace()
    if not here or not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(who["pid"])
    except ProcessLookupError:
        raise
    except OSError:  # no pidfd to be had: missing heartbeats will tell
        return None


def _has_ended(peer: _Peer) -> bool:
    return peer.ended or (peer.pid is not None and bool(select.select([peer.pid], [], [], 0)[0]))


def _pid_namespace() -> str:
    """Identifies the kernel's pid namespace: containers of one name and machine have different ones."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _stacks() -> str:
    """Stacks of all threads."""
    with tempfile.TemporaryFile() as file:
        faulthandler.dump_traceback(file, all_threads=True)
        file.seek(0)
        return file.read().decode(errors="replace")
