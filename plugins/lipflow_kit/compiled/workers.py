"""A thread pool for kernels, which release the GIL: fork-safe and as wide as torch is told to be.

numba's own parallel layers are not used: workqueue is not thread-safe, and the OpenMP layer hangs after a fork.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from lipflow_kit.locks import Lock

_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}
"""Process and number of threads → pool; a forked process must not use the pool of its parent."""
_making = Lock()


def run(task: Callable[[Any], None], items: Sequence[Any]) -> None:
    """Call `task` with each item on up to `torch.get_num_threads()` threads, including the calling one.

    Items are taken in order, each by the next free thread, so they must be independent of each other.

    Args:
        task: Function that is called once for each item. The first exception that it raises is raised here.
        items: Items in the order in which to begin them: put the longest first, so that threads end together.
    """
    threads = min(torch.get_num_threads(), len(items))
    if threads <= 1:
        for item in items:
            task(item)
        return
    pending = iter(items)
    taking = threading.Lock()

    def work() -> None:
        while True:
            with taking:
                item = next(pending, taking)
            if item is taking:
                return
            task(item)

    futures = [_pool(threads - 1).submit(work) for _ in range(threads - 1)]
    try:
        work()
    finally:
        for future in futures:
            future.cancel()
    for future in futures:
        if not future.cancelled():
            future.result()


def _pool(threads: int) -> ThreadPoolExecutor:
    key = (os.getpid(), threads)
    with _making.held:
        if key not in _pools:
            _pools[key] = ThreadPoolExecutor(threads, thread_name_prefix="lipflow-kernels")
        return _pools[key]
