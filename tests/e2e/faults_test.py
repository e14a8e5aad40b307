# SPDX-License-Identifier: Apache-2.0
"""Disks that are full or fail: publishers are told, nothing acknowledged is lost, and service resumes by itself.
Faults come from tests/crash/fault.c, preloaded into the broker, and from a small tmpfs that really is full."""
import os
import subprocess

import pytest

from bus import ROOT, SANITIZED, numbers_of, pack, unpack

pytestmark = pytest.mark.short



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
            for n in numbers_of(msg.head):
                self.open.pop(n)

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
    c.send("ACK", cid=1, seqs=seqs, sync=True)  # reading and working off go on
    c.wait("OK", cid=1)
    stream = next(s for s in bus.admin("streams")["streams"] if s["name"] == "events")
    assert stream["health"] == "full" and stream["problem"]
    check_log(bus, p)
    full_disk.grow()
    p.until_accepted()
    bus.restart()
    check_log(bus, p)
    c = bus.client()
    c.ok("SUB", cid=1, consumer="w")
    assert c.events(1)[0].seq > seqs[-1]
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


class Faults:
    """The preloaded shim: set("fdatasync EIO") makes calls fail from now on, set("") ends it."""

    def __init__(self, folder):
        self.control = folder / "fault"
        self.control.write_text("")
        self.shim = folder / "fault.so"
        subprocess.run([os.environ.get("CC", "gcc"), "-shared", "-fPIC", "-O2", "-D_GNU_SOURCE", "-o", self.shim,
                        ROOT / "tests" / "crash" / "preload" / "fault.c", "-ldl"], check=True)

    def set(self, line):
        self.control.write_text(line)

    def env(self, folder):
        sanitizer = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
        return {"LD_PRELOAD": str(self.shim), "FAULT_DIR": str(folder), "FAULT_CONTROL": str(self.control),
                "ASAN_OPTIONS": sanitizer.lstrip(":")}


@pytest.fixture
def faults(tmp_path):
    return Faults(tmp_path)


@pytest.fixture
def shimmed(make_bus, tmp_path, faults):
    return make_bus(env=faults.env(tmp_path / "bus0" / "data"))


REFUSALS = {"DISK_FULL": 507, "STORAGE": 503, "BUSY": 429}


@pytest.mark.parametrize("fault, expected", [
    ("pwrite,fallocate,ftruncate,open ENOSPC", {"DISK_FULL"}),
    ("fallocate,ftruncate,open ENOSPC", {"DISK_FULL", "BUSY"}),
    ("fdatasync EIO", {"STORAGE"}),
    ("pwrite EIO", {"STORAGE"}),
    ("pwrite,fdatasync,fsync,open,rename EIO", {"STORAGE"}),
    ("open EMFILE", {"DISK_FULL", "STORAGE", "BUSY"}),
])
def test_a_failing_disk_is_told_and_service_resumes(shimmed, faults, fault, expected):
    bus, p = shimmed, Publisher(shimmed)
    p.send(100)
    p.settle()
    good = len(p.acknowledged)
    assert good > 0
    p.refused.clear()
    faults.set(fault)
    p.until_refused()
    told = {head["name"] for head in p.refused}
    assert told <= expected | {"BUSY"} and all(head["number"] == REFUSALS[head["name"]] for head in p.refused)
    assert all(head["again"] is True and head["retry_ms"] > 0 for head in p.refused)
    assert bus.client("reader").hello["v"] == 1 and len(bus.stream("events", batch=True)) >= good  # reading goes on
    faults.set("")
    p.until_accepted()
    check_log(bus, p)
    bus.restart()
    check_log(bus, p)
    p.connect()
    p.until_accepted()


@pytest.mark.parametrize("fault", ["fdatasync EIO 1", "pwrite EIO 1", "pwrite EIO 3", "fdatasync EIO 4", "pwrite EINTR 2", "rename EIO 1"])
def test_one_failed_call_loses_nothing(shimmed, faults, fault):
    """The batch that the failed call belonged to is written again, elsewhere, before anyone hears OK."""
    bus, p = shimmed, Publisher(shimmed)
    p.send(50)
    p.settle()
    faults.set(fault)
    for _ in range(10):
        p.send(50)
        p.settle()
    assert {head["name"] for head in p.refused} <= {"STORAGE", "BUSY"}
    p.until_accepted()
    check_log(bus, p)
    faults.set("")
    bus.restart()
    check_log(bus, p)


def test_a_broker_killed_while_the_disk_fails_keeps_what_it_acknowledged(shimmed, faults):
    bus, p = shimmed, Publisher(shimmed)
    p.send(100)
    p.settle()
    faults.set("pwrite,fdatasync EIO")
    p.until_refused()
    p.send(20)
    bus.kill()
    faults.set("")
    bus.start()
    check_log(bus, p)


def test_a_slow_disk_makes_acknowledgements_wait_and_nothing_else(shimmed, faults):
    bus = shimmed
    d, other = bus.dealer(), bus.client("other")
    d.ok("PUB", {"topic": "job.a"}, b"x")
    faults.set("fdatasync SLOW 1500")
    d.send("PUB", {"topic": "job.a", "tag": 1}, b"x")
    for _ in range(20):
        other.send("PING")
        other.expect("PONG")
    assert other.ok("PUB", {"topic": "live.a"}, b"x")["level"] == "none"
    assert not d.socket.poll(0)
    assert d.expect("OK").head["tag"] == 1


def test_an_acknowledgement_with_sync_is_not_confirmed_by_a_failing_disk(shimmed, faults):
    bus = shimmed
    bus.publish("job.a", 2)
    c = bus.client()
    c.ok("SUB", cid=1, consumer="w", stream="events", takes=["job.>"])
    first, second = [e.seq for e in c.events(2)]
    faults.set("pwrite,fdatasync,open EIO")
    c.send("ACK", cid=1, seqs=[first], sync=True, tag="no")
    before = c.barrier()
    assert all(m.verb == "ERR" for m in before)
    faults.set("")
    c.send("ACK", cid=1, seqs=[second], sync=True, tag="yes")
    c.wait("OK", tag="yes")
    bus.restart()
    bus.until("the position", lambda: bus.consumer("w") and bus.consumer("w")["positions"][0]["pending"] <= 1)


def test_a_publisher_that_outruns_the_disk_is_told_busy_and_memory_stays_bounded(make_bus, tmp_path, faults):
    bus = make_bus(broker="  memory: 64MiB\n  connection_memory: 16MiB", segment="16MiB", env=faults.env(tmp_path / "bus0" / "data"))
    p, before = Publisher(bus), bus.rss_kib()
    faults.set("fdatasync SLOW 1000")
    for _ in range(8000):
        p.send()
    p.settle()
    assert {head["name"] for head in p.refused} == {"BUSY"} and all(head["retry_ms"] > 0 for head in p.refused)
    assert bus.rss_kib() - before < (150 << 10) * (10 if SANITIZED else 1)
    faults.set("")
    p.until_accepted()
    check_log(bus, p)


@pytest.mark.parametrize("start", ["all", {"time_us": 0}, {"last": 10}])
def test_a_consumer_made_while_the_first_events_are_under_way_gets_them(shimmed, faults, start):
    bus, d, c = shimmed, shimmed.dealer(), shimmed.client()
    faults.set("fdatasync SLOW 500")
    for i in range(3):
        d.send("PUB", {"topic": "job.a", "tag": i}, pack(i))
    d.barrier()  # taken in, and not yet on disk
    c.ok("SUB", {"cid": 1, "consumer": "w", "stream": "events", "takes": ["job.>"], "from": start})
    assert [unpack(e.body) for e in c.events(3)] == [0, 1, 2]
