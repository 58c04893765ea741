"""Nobody waits forever for a job."""

import subprocess
import sys
import threading
import time

import pytest

from hpedit.rl.parallel import stopping
from hpedit.rl.rewards import SingleThreadExecutor, result_of


def test_jobs_are_done_in_order_and_errors_come_back():
    worker, done = SingleThreadExecutor("judge"), []

    def fail():
        raise TimeoutError("of the job itself")

    futures = [worker.submit(done.append, number) for number in range(5)]
    for future in futures:
        result_of(future)
    assert done == [0, 1, 2, 3, 4]
    with pytest.raises(TimeoutError, match="of the job itself"):
        result_of(worker.submit(fail))
    assert result_of(worker.submit(sum, [1, 2])) == 3
    worker.close()


def test_close_drops_what_has_not_begun_and_leaves_what_does_not_end(caplog):
    worker, released = SingleThreadExecutor("judge"), threading.Event()
    stuck, queued = worker.submit(released.wait, 60), worker.submit(sum, [1, 2])
    while not stuck.running():
        time.sleep(0.01)
    began = time.monotonic()
    worker.close(grace=0.2)
    assert time.monotonic() - began < 5
    assert "the judge has not finished" in caplog.text
    released.set()
    assert stuck.result(5)
    while not queued.done():
        time.sleep(0.01)
    assert queued.cancelled()


def test_a_job_that_never_ends_does_not_keep_the_process():
    code = (
        "import time; from hpedit.rl.rewards import SingleThreadExecutor\n"
        "worker = SingleThreadExecutor('judge'); worker.submit(time.sleep, 1000); worker.close(0.1); print('end')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "end\n"


def test_waiting_for_a_job_ends_when_the_run_is_to_stop():
    worker, released = SingleThreadExecutor("judge"), threading.Event()
    with stopping.listening():
        stopping.request_stop(15)
        with pytest.raises(stopping.StopAsked):
            result_of(worker.submit(released.wait, 60))
        released.set()
    with stopping.listening():
        assert stopping.stop_signal() is None, "a new run starts afresh"
    worker.close()
