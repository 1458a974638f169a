"""Claims of cells."""

from __future__ import annotations

import json
import os
import threading

import pytest

from lipflow_core.ablation.leases import Clock, Lease, Process, is_claimed, remove_claims


@pytest.fixture
def clock(tmp_path):
    return Clock(tmp_path)


def test_of_two_claims_one_succeeds(tmp_path, clock):
    assert Lease.take(tmp_path, clock) is not None
    assert Lease.take(tmp_path, clock) is None and is_claimed(tmp_path, clock)


def test_a_released_claim_leaves_the_cell_to_others(tmp_path, clock):
    Lease.take(tmp_path, clock).release()
    assert not is_claimed(tmp_path, clock)
    assert Lease.take(tmp_path, clock).number == 2


def test_a_claim_of_another_machine_expires_when_it_is_not_renewed(tmp_path, clock):
    lease = claimed_elsewhere(tmp_path, clock)
    assert is_claimed(tmp_path, clock)
    age(lease, 121)
    assert not is_claimed(tmp_path, clock) and Lease.take(tmp_path, clock).number == 2


def test_whoever_was_taken_over_does_not_hold_the_cell(tmp_path, clock):
    lease = claimed_elsewhere(tmp_path, clock)
    assert lease.held
    age(lease, 121)
    other = Lease.take(tmp_path, clock)
    assert other.held and not lease.held


def test_whoever_was_taken_over_is_told(tmp_path, clock):
    lease, told = claimed_elsewhere(tmp_path, clock, seconds=0.05), threading.Event()
    age(lease, 1)
    assert Lease.take(tmp_path, clock) is not None
    lease.keep(told.set)
    assert told.wait(10)


def test_a_claim_is_renewed_while_its_owner_lives(tmp_path, clock):
    lease = Lease.take(tmp_path, clock, 0.05)
    age(lease, 1000)
    before = lease.path.stat().st_mtime
    renewed = threading.Event()
    lease.keep(renewed.set)
    while lease.path.stat().st_mtime == before:
        assert not renewed.wait(0.005)
    lease.release()


def test_a_claim_is_renewed_no_more_when_the_cell_is_done(tmp_path, clock):
    lease, told = Lease.take(tmp_path, clock, 0.05), threading.Event()
    remove_claims(tmp_path)
    lease.keep(told.set)
    assert told.wait(10)


def test_a_claim_of_a_process_that_ended_counts_no_more(tmp_path, clock):
    lease = Lease.take(tmp_path, clock)
    content = json.loads(lease.path.read_text())
    lease.path.write_text(json.dumps({**content, "started": "1"}))
    assert not is_claimed(tmp_path, clock)


def test_a_claim_that_was_not_written_whole_counts_until_it_is_old(tmp_path, clock):
    lease = Lease.take(tmp_path, clock)
    lease.path.write_text("")
    assert is_claimed(tmp_path, clock)
    age(lease, 121)
    assert not is_claimed(tmp_path, clock)


def test_this_process_is_alive():
    assert not Process.own().is_dead


def claimed_elsewhere(folder, clock, seconds=120.0) -> Lease:
    """A claim that a process of another machine holds."""
    lease = Lease.take(folder, clock, seconds)
    lease.path.write_text(json.dumps({**json.loads(lease.path.read_text()), "host": "another"}))
    return lease


def age(lease: Lease, seconds: float) -> None:
    """Make a claim's last renewal some seconds older."""
    modified = lease.path.stat().st_mtime - seconds
    os.utime(lease.path, (modified, modified))
