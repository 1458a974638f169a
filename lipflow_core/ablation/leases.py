"""Claims of cells: one process at a time works on a cell, on any number of machines that share a folder.

A claim is a file `claim-N` in the cell's folder. It is created exclusively, which is atomic on network file systems
too, and its time of modification is renewed while its owner works. The claim of the highest number counts. Whoever
finds it expired creates the next number, so that of several only one succeeds and no file is ever taken away from a
live owner. A process that slept through its lease finds a higher number and must not write its result.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lipflow_core.storage import storage_error

SECONDS = 120.0
"""Seconds without a renewal after which a claim expires. Network file systems show changes up to 60 s late."""
RENEWALS = 5
"""Renewals within the life of a claim."""
_CLAIM = re.compile(r"claim-(\d{6})")


@dataclass(frozen=True)
class Process:
    """A process, told apart from later ones of the same number.

    Args:
        host: Machine, with its boot and its namespace of process numbers.
        pid: Number of the process.
        started: When it was started, in the machine's own count; empty if it can't be told.
    """

    host: str
    pid: int
    started: str

    @classmethod
    def own(cls) -> Process:
        """Describe this process."""
        return cls(_host(), os.getpid(), _started(os.getpid()))

    @property
    def is_dead(self) -> bool:
        """Whether the process has certainly ended; False for those of other machines."""
        return self.host == _host() and bool(self.started) and _started(self.pid) != self.started


class Clock:
    """The clock of a folder's file system, which all its users share.

    Args:
        folder: A folder that can be written to.
    """

    def __init__(self, folder: Path):
        self._probe = folder / f".clock.{secrets.token_hex(4)}.tmp"

    def now(self) -> float:
        """Tell the time in seconds."""
        try:
            self._probe.touch()
            return self._probe.stat().st_mtime
        except OSError as error:
            raise storage_error(self._probe, error) from error
        finally:
            with contextlib.suppress(OSError):
                self._probe.unlink()


class Lease:
    """A claim that this process holds on a cell.

    Args:
        path: File of the claim.
        number: Number of the claim.
        seconds: Life of the claim without renewal.
    """

    def __init__(self, path: Path, number: int, seconds: float):
        self.path = path
        self.number = number
        self.seconds = seconds
        self._renewed = time.monotonic()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    @classmethod
    def take(cls, folder: Path, clock: Clock, seconds: float = SECONDS) -> Lease | None:
        """Claim a cell; None if another process works on it.

        Args:
            folder: Folder of the cell.
            clock: Clock of its file system.
            seconds: Life of the claim without renewal.

        Raises:
            lipflow_core.errors.StorageError: If the claim can't be written.
        """
        number, latest = _latest(folder)
        if latest is not None and not _has_expired(latest, clock):
            return None
        path = folder / f"claim-{number + 1:06d}"
        own = Process.own()
        content = {"host": own.host, "pid": own.pid, "started": own.started, "seconds": seconds}
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            return None
        except OSError as error:
            raise storage_error(path, error) from error
        try:
            os.write(descriptor, json.dumps(content).encode())
        except OSError as error:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise storage_error(path, error) from error
        os.close(descriptor)
        return cls(path, number + 1, seconds)

    @property
    def held(self) -> bool:
        """Whether the claim still counts: no other process has taken the cell over."""
        return _latest(self.path.parent)[0] == self.number

    def keep(self, lost: Callable[[], None]) -> None:
        """Renew the claim in a thread of its own until `release`.

        Args:
            lost: Function called once if the cell was taken over, or the claim could not be renewed in time.
        """
        self._thread = threading.Thread(target=self._renew, args=(lost,), daemon=True, name="lease")
        self._thread.start()

    def release(self) -> None:
        """Let other processes have the cell at once."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        with contextlib.suppress(OSError):
            os.utime(self.path, (0, 0))

    def _renew(self, lost: Callable[[], None]) -> None:
        while not self._ended.wait(self.seconds / RENEWALS):
            try:
                if not self.held:
                    return lost()
                os.utime(self.path)
                self._renewed = time.monotonic()
            except OSError:
                # A network file system may be away for a while.
                if time.monotonic() - self._renewed > self.seconds:
                    return lost()


def is_claimed(folder: Path, clock: Clock) -> bool:
    """Tell whether a live process works on a cell."""
    latest = _latest(folder)[1]
    return latest is not None and not _has_expired(latest, clock)


def remove_claims(folder: Path) -> None:
    """Remove all claims of a cell that is done."""
    for path in folder.glob("claim-*"):
        with contextlib.suppress(OSError):
            path.unlink()


def _latest(folder: Path) -> tuple[int, Path | None]:
    """Number and file of the claim that counts; 0 and None if there is none."""
    try:
        numbers = [int(found[1]) for name in os.listdir(folder) if (found := _CLAIM.fullmatch(name))]
    except FileNotFoundError:
        numbers = []
    return (max(numbers), folder / f"claim-{max(numbers):06d}") if numbers else (0, None)


def _has_expired(path: Path, clock: Clock) -> bool:
    try:
        # Opening a file asks a network file system for its present times.
        with open(path, "rb") as file:
            content, modified = file.read(), os.fstat(file.fileno()).st_mtime
    except FileNotFoundError:  # its cell was done meanwhile
        return False
    except OSError:
        return False
    if modified == 0:
        return True
    try:
        claim = json.loads(content)
        owner = Process(claim["host"], claim["pid"], claim["started"])
        seconds = float(claim["seconds"])
    except (ValueError, KeyError, TypeError):  # its owner was killed while it wrote, or is writing now
        return clock.now() - modified > SECONDS
    return owner.is_dead or clock.now() - modified > seconds


@cache
def _host() -> str:
    """Name the machine, its boot and its namespace of process numbers."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with contextlib.suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _started(pid: int) -> str:
    """When a process was started, in ticks since boot; empty if there is no such process, or it can't be told."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
