# SPDX-License-Identifier: Apache-2.0
"""Disks that are full or fail: publishers are told, nothing acknowledged is lost, and service resumes by itself.
Faults come from tests/crash/fault.c, preloaded into the broker, and from a small tmpfs that really is full."""
import os
import pathlib
import subprocess

import pytest

from bus import ROOT, pack, unpack

BUILD = pathlib.Path(os.environ.get("LINESHAFT_BUILD", ROOT / "build")).resolve()


class Publisher:
    """Pipelines events 0, 1, 2 … of 10 kB and knows which were acknowledged and what was refused."""

    def __init__(self, bus, name="p"):
        self.bus, self.name, self.made, self.acknowledged, self.refused = bus, name, 0, [], []
        self.connect()

    def connect(self):
        self.peer, self.n, self.open = self.bus.dealer(), 0, {}

    def send(self, count=1):
        for _ in range(count):
            self.n += 1
            self.open[self.n] = self.made
            self.peer.send("PUB", {"topic": "job.a", "id": f"{self.name}{self.made}", "source": self.name, "n": self.n},
                           pack([self.made, b"x" * 10000]))
            self.made += 1

    def hear(self):
        msg = self.peer.recv()
        if msg.verb == "OK":
            for n in [n for n in self.open if n <= msg.head["upto"]]:
                self.acknowledged.append(self.open.pop(n))
        else:
            self.refused.append(msg.head)
            self.open.pop(msg.head["n"])

    def settle(self):
        while self.open:
            self.hear()

    def until_refused(self, events=20000):
        while not self.refused:
            assert self.made < events, "the fault was never met"
            self.send(50)
            self.settle()
        return self.refused[0]

    def until_accepted(self):
        """As the protocol says: `again` is true, so try again until it is taken."""
        def taken():
            before = len(self.acknowledged)
            self.send()
            self.settle()
            return len(self.acknowledged) > before
        self.bus.until("publishing works again", taken, patience=60)


def check_log(bus, publisher):
    """Everything acknowledged is there once, with its bytes; nothing that was not sent is."""
    values = [unpack(e.body)[0] for e in bus.stream("events", batch=True) if e.head["source"] == publisher.name]
    assert len(values) == len(set(values)) and set(publisher.acknowledged) <= set(values) <= set(range(publisher.made))
    return values


@pytest.fixture
def full_disk(tmp_path):
    """A real tmpfs of 24 MiB; full_disk.grow() makes it 64."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder], capture_output=True, text=True)
    if mount.returncode != 0:
        pytest.skip(f"a small tmpfs cannot be mounted here: {mount.stderr.strip()}")

    class Disk:
        path = folder

        @staticmethod
        def grow():
            subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)

    yield Disk
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def bus_on(make_bus):
    def make(folder, **options):
        bus = make_bus(start=False, **options)
        bus.data = folder / "data"
        return bus.start()
    return make


def test_a_disk_that_is_really_full(full_disk, bus_on):
    bus = bus_on(full_disk.path)
    c = bus.client()
    c.ok("SUB", cid=1, consumer="w", stream="events", takes=["job.>"], window=10)
    p = Publisher(bus)
    told = p.until_refused()
    assert told["name"] == "DISK_FULL" and told["number"] == 507 and told["again"] is True and told["retry_ms"] > 0
    assert len(p.acknowledged) > 100
    seqs = [e.seq for e in c.events(10)]
    c.ok("ACK", cid=1, seqs=seqs, sync=True)  # reading and working off go on
    stream = next(s for s in bus.admin("streams")["streams"] if s["name"] == "events")
    assert stream["health"] == "full" and stream["problem"]
    check_log(bus, p)
    full_disk.grow()
    p.until_accepted()
    bus.restart()
    check_log(bus, p)
    assert bus.consumer("w")["acked"] >= 0
    p.connect()
    p.until_accepted()


def test_a_full_disk_across_a_restart(full_disk, bus_on):
    bus = bus_on(full_disk.path)
    p = Publisher(bus)
    p.until_refused()
    bus.restart()
    before = check_log(bus, p)
    p.connect()
    p.send()
    p.settle()
    full_disk.grow()
    p.until_accepted()
    assert check_log(bus, p)[:len(before)] == before
