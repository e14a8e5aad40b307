# SPDX-License-Identifier: Apache-2.0
"""The clock is set by an hour and by a year, forward and back, while everything runs: nothing is lost, nothing is done a thousand
times, and time that passes is still the time that passes (docs/operations.md). The wall clock is tests/crash/preload/clock.c's;
the monotonic one stays real."""
import json
import os
import pathlib
import struct
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "nodes"))

from bus import ROOT, SANITIZED, pack
from cli import wait_until
from stack import Stack

HOUR, YEAR = 3600, 366 * 86400
STEPS = [HOUR, -HOUR, YEAR, -YEAR]
NODES = """
  chat: {{ kind: ingress, listen: "{http}" }}
  tracking: {{ kind: tracker, database: "sqlite:tracker.db" }}
  clock: {{ kind: scheduler, database: "sqlite:scheduler.db", workflows: [workflows] }}
  hands: {{ kind: runner, dir: runner }}
"""
WORKFLOWS = {
    "often": 'schedule: "* * * * *"\ntasks: [{ id: tick, event: tick.came, data: {} }]\n',
    "news": 'triggers: [{ event: thing.happened }]\ntasks: [{ id: work, command: ["true"] }]\n',
}

pytestmark = pytest.mark.skipif(SANITIZED, reason="a sanitizer's runtime and a preloaded clock do not go together")


class Clock:
    """What the processes that get `env` take for the time: seconds beside the real one."""

    def __init__(self, folder):
        self.file = folder / "clock"
        self.file.write_bytes(bytes(8))
        shim = folder / "clock.so"
        subprocess.run([os.environ.get("CC", "gcc"), "-shared", "-fPIC", "-O2", "-D_GNU_SOURCE", "-o", shim,
                        ROOT / "tests" / "crash" / "preload" / "clock.c", "-ldl"], check=True)
        self.env = {"LD_PRELOAD": str(shim), "CLOCK_FILE": str(self.file)}

    def set(self, seconds):
        with open(self.file, "r+b") as file:
            file.write(struct.pack("=q", seconds))


@pytest.fixture
def clock(tmp_path):
    return Clock(tmp_path)


class Machine(Stack):
    def __init__(self, folder, clock):
        (folder / "workflows").mkdir()
        for name, text in WORKFLOWS.items():
            (folder / "workflows" / f"{name}.yaml").write_text(f"id: {name}\n{text}")
        super().__init__(folder, NODES, **clock.env)
        wait_until(self.heard, "the trigger is heard")

    def heard(self):
        runs = self.runs("news")
        if not runs:
            self.tell()
        return runs and all(run["state"] == "success" for run in runs)

    def tell(self):
        assert self.post("/api/events", {"topic": "thing.happened", "data": {}}).status == 200

    def runs(self, workflow, *states):
        answer = self.get(f"/api/workflows/{workflow}/runs?limit=1000")
        runs = answer.json["runs"] if answer.status == 200 else []
        return [run for run in runs if not states or run["state"] in states]


@pytest.fixture
def machine(tmp_path, clock):
    machine = Machine(tmp_path, clock)
    yield machine
    machine.close()


def test_steps_of_the_clock_lose_nothing_and_flood_nobody(machine, clock):
    def point(number):
        body = {"run_id": "r1", "key": "loss", "value": 1, "step": number}
        assert machine.post("/api/events", {"topic": "run.metric", "data": body}).status == 200

    def points():
        answer = machine.get("/api/2.0/mlflow/metrics/get-history?run_id=r1&metric_key=loss")
        return sorted(m["step"] for m in answer.json.get("metrics", [])) if answer.status == 200 else []

    told = len(machine.runs("news"))
    for number, step in enumerate([0, *STEPS, 0]):
        clock.set(step)
        point(number)
        machine.tell()
        told += 1
        wait_until(lambda: points() == list(range(number + 1)), f"tracked at {step} s: {points()}")
        wait_until(lambda: len(machine.runs("news", "success")) == told, f"a task ran at {step} s: {machine.runs('news')}")
    events = machine.events("")
    seqs = [e["seq"] for e in events]
    assert seqs == sorted(seqs) and len({e["time"][:4] for e in events}) >= 2, "the clock was set indeed"
    ids = [e["id"] for e in events if e["topic"] in ("run.metric", "thing.happened")]
    assert ids == sorted(ids) and len(set(ids)) == len(ids)  # UUIDv7 in the order of the stream, whatever the clock says
    started = [e for e in events if e["topic"] == "task.started" and e["data"]["workflow"] == "news"]
    assert len(started) == told, "nothing was run twice"
    assert len(machine.runs("often")) <= len(STEPS) + 2, "ticks that nobody was there for are not made up for"


def stream(bus):
    return next(s for s in bus.admin("streams")["streams"] if s["name"] == "kept")


def test_a_year_forward_drops_no_log_by_age_until_the_next_start(make_bus, clock):
    bus = make_bus(more='  kept: { topics: ["thing.>"], segment: 1MiB, retain: { age: 1h } }\n', env=clock.env)
    bus.client().pipeline(40, lambda i: ({"topic": "thing.a"}, pack(b"x" * 100000)))
    assert stream(bus)["segments"] > 3
    clock.set(YEAR)
    bus.until("it is said", lambda: "clock-ahead" in bus.log_text())
    bus.client().pipeline(40, lambda i: ({"topic": "thing.a"}, pack(b"x" * 100000)))
    assert stream(bus)["first"] == 1 and stream(bus)["events"] == 80
    clock.set(0)  # mended in time
    bus.restart()
    assert stream(bus)["first"] == 1 and stream(bus)["events"] == 80


def test_with_the_clock_still_wrong_at_the_next_start_age_counts_again(make_bus, clock):
    bus = make_bus(more='  kept: { topics: ["thing.>"], segment: 1MiB, retain: { age: 1h } }\n', env=clock.env)
    bus.client().pipeline(40, lambda i: ({"topic": "thing.a"}, pack(b"x" * 100000)))
    bus.stop()
    clock.set(YEAR)
    bus.start()
    bus.client().pipeline(40, lambda i: ({"topic": "thing.a"}, pack(b"x" * 100000)))
    bus.until("what is older than an hour goes", lambda: stream(bus)["first"] > 1)


@pytest.mark.parametrize("step", STEPS)
def test_deadlines_leases_and_delays_follow_the_time_that_passes(make_bus, clock, step):
    """An ack_wait of a minute is no shorter for a clock that jumps, and a delay of 100 ms no longer."""
    bus = make_bus(env=clock.env)
    bus.publish("job.a", 2)
    peer = bus.client()
    peer.ok("SUB", cid=1, consumer="w", stream="events", takes=["job.>"], ack_wait=60000, window=2)
    first, second = peer.events(2)
    clock.set(step)
    peer.send("NAK", cid=1, seqs=[first.seq], delay=100)
    assert [e.seq for e in peer.events(1)] == [first.seq]
    assert bus.consumer("w")["expired"] == 0 and bus.consumer("w")["in_flight"] == 2
    peer.send("ACK", cid=1, seqs=[first.seq, second.seq], sync=True)
    peer.wait("OK", cid=1)
    assert bus.consumer("w")["late_acks"] == 0


@pytest.mark.parametrize("step", STEPS)
def test_an_event_that_is_sent_again_across_a_small_step_is_known(make_bus, clock, step):
    """The window of deduplication is in time of the log: a clock set back keeps it, one set forward beyond the window ends it."""
    bus = make_bus(env=clock.env)
    peer = bus.client()
    first = peer.ok("PUB", {"topic": "job.a", "id": "same", "source": "s"}, pack(1))
    clock.set(step)
    again = peer.ok("PUB", {"topic": "job.a", "id": "same", "source": "s"}, pack(1))
    assert again.get("dup", False) is (step < 0) and (again["seq"] == first["seq"]) is (step < 0)


def test_a_scheduler_whose_clock_is_behind_begins_a_trigger_at_the_end_all_the_same(tmp_path, clock):
    clock.set(-HOUR)
    (tmp_path / "workflows").mkdir()
    stack = Stack(tmp_path, """
  chat: {{ kind: ingress, listen: "{http}" }}
  clock: {{ kind: scheduler, database: "sqlite:scheduler.db", workflows: [workflows], environment: %s }}
""" % json.dumps(clock.env).replace("{", "{{").replace("}", "}}"))

    def tell(old):
        assert stack.post("/api/events", {"topic": "thing.happened", "data": {"old": old}}).status == 200

    def runs(workflow):
        answer = stack.get(f"/api/workflows/{workflow}/runs")
        return answer.json["runs"] if answer.status == 200 else []

    try:
        for _ in range(3):
            tell(True)
        for name, rest in ("old", ", filter: event.data.old"), ("any", ""):
            (tmp_path / "workflows" / f"{name}.yaml").write_text(
                f"id: {name}\ntriggers: [{{ event: thing.happened{rest} }}]\ntasks: [{{ id: note, event: note.made, data: {{}} }}]\n")
        wait_until(lambda: tell(False) or runs("any"), "a run")
        assert runs("old") == []
    finally:
        stack.close()
