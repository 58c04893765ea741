"""Children of tests that die at a chosen moment.

They are forked from a server that has imported everything but runs nothing. A fork of the test's own process would now
and then wait forever for a lock that another thread held at that moment: torch, Arrow and progress bars have threads.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from typing import Any

PRELOAD = [
    "hpedit.rl.trainer",
    "hpedit.mini.architecture",
    "hpedit.editors.load",
    "hpedit.cases.build",
    "hpedit.store.checkpoint",
    "tests.rl.redness",
]


def fork_server() -> ForkServerContext:
    """Where processes are forked from one that has imported PRELOAD and has no other thread."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(PRELOAD)
    return found


def run_in_child(function: Callable[..., object], *args: Any, timeout: float = 300.0) -> int:
    """Call a module's function in a child; its exit code, negative where a signal ended it."""
    child = fork_server().Process(target=function, args=args)
    child.start()
    child.join(timeout)
    if child.is_alive():
        child.kill()
        child.join()
        raise AssertionError(f"{function.__name__} did not end within {timeout:.0f} s")
    assert child.exitcode is not None
    return child.exitcode
