"""Threads that run kernels, and the locks that survive a fork."""

from __future__ import annotations

import os

import pytest
import torch
from lipflow_kit.compiled.pages import cleared
from lipflow_kit.compiled.workers import run
from lipflow_kit.locks import Lock


@pytest.fixture(params=[1, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_each_item_is_run_once(threads):
    done = [0] * 100

    def task(n: int) -> None:
        done[n] += 1

    run(task, range(100))
    assert done == [1] * 100


def test_what_a_task_raises_is_raised(threads):
    def task(n: int) -> None:
        if n == 7:
            raise ValueError("seven")

    with pytest.raises(ValueError, match="seven"):
        run(task, range(20))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_lock_that_is_held_during_a_fork_is_free_in_the_child():
    lock = Lock()
    with lock.held:
        child = os.fork()
        if child == 0:
            os._exit(0 if lock.held.acquire(blocking=False) else 1)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert not lock.held.acquire(blocking=False)


def test_cleared_memory_is_zero_and_can_be_written():
    memory = cleared(3 << 20)
    assert memory[:] == bytes(3 << 20)
    memory[-1] = 7
    assert memory[-1] == 7
