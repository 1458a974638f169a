"""Threads that run kernels: a pool of ours, made anew in a forked process and as wide as torch is told to be.

numba's own parallel layers are not used: workqueue is not thread-safe and the OpenMP one hangs after a fork.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}
_lock = threading.Lock()


def _forget() -> None:
    """In a forked child: the parent's threads do not exist here, and its lock may be held by one of them."""
    global _lock
    _lock = threading.Lock()
    _pools.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def run(task: Callable[[Any], None], items: Sequence[Any]) -> None:
    """Call `task` with each item, on up to `torch.get_num_threads()` threads, this one included.

    Which thread runs an item must not matter: items write to different places.
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
    with _lock:
        key = (os.getpid(), threads)
        if key not in _pools:
            _pools[key] = ThreadPoolExecutor(threads, thread_name_prefix="lipflow-render")
        return _pools[key]
