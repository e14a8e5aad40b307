# SPDX-License-Identifier: Apache-2.0
"""What `lineshaft up` tells of its processes: the request up.status.ID (docs/protocol.md, What runs)."""
import contextlib
import json
import os
import re
import signal
import time

import pytest
import zmq

from bus import Peer
from cli import Background, ok, run, wait_until
from up_test import HEAD, Lab, pids_with

pytestmark = pytest.mark.short

QUICK = "restart: { delay: 10ms, delay_max: 10ms }"


@pytest.fixture
def lab(tmp_path):
    lab = Lab(tmp_path)
    yield lab
    for up in lab.running:
        up.close()


@contextlib.contextmanager
def peer(lab):
    with zmq.Context() as context:
        p = Peer(context, zmq.REQ, lab.url)
        yield p
        p.close()


def topics(lab):
    with peer(lab) as p:
        return [s["topic"] for s in p.ok("ADM", op="services")["services"] if s["topic"].startswith("up.status.")]


def status(lab):
    """The answer, and its processes by name."""
    topic, = topics(lab)
    with peer(lab) as p:
        p.send("REQ", topic=topic)
        answer = json.loads(p.expect("REP").frames[0])
    return answer, {p["name"]: p for p in answer["processes"]}


def until(lab, holds, what):
    """The processes, once `holds` is true of them; what is told may be half a second old."""
    seen = []

    def look():
        if topics(lab):
            seen[:] = [status(lab)[1]]
        return bool(seen) and holds(seen[0])

    wait_until(look, what)
    return seen[0]


def test_up_tells_of_itself_the_broker_and_each_replica(lab):
    began_us = time.time_ns() // 1000
    up = lab.up("  one: { kind: exec, command: 'sleep 1000 & exec sleep 1000', takes: [x.a], gives: [x.b, x.c] }\n"
                "  two: { kind: exec, command: [sleep, infinity], replicas: 2, serves: [ask.it] }\n")
    up.wait_for("are started")
    processes = until(lab, lambda p: p["one"]["processes"] == 2, "a group of two")
    answer, _ = status(lab)
    assert (answer["name"], answer["file"], answer["pid"]) == ("lab", "lab.yaml", up.process.pid)
    assert answer["host"] == os.uname().nodename and began_us <= answer["started_us"] <= answer["now_us"]
    assert list(processes) == ["up", "broker", "one", "two.1", "two.2"]
    assert [(p["kind"], p["node"]) for p in processes.values()] == [
        ("up", None), ("broker", None), ("exec", "one"), ("exec", "two"), ("exec", "two")]
    assert processes["up"]["pid"] == up.process.pid and processes["up"]["processes"] == 2  # with its warden
    for p in processes.values():
        assert (p["state"], p["restarts"], p["last_end"]) == ("running", 0, None)
        assert 0 < p["pss"] <= p["rss"] and p["cpu_ms"] >= 0 and began_us <= p["since_us"] <= answer["now_us"]
    for name in ("broker", "one", "two.1", "two.2"):
        assert f"{name}: starting, pid {processes[name]['pid']}" in up.saw(f"{name}: starting")
    one, two = answer["nodes"]
    assert (one["name"], one["kind"], one["replicas"], one["takes"], one["gives"]) == ("one", "exec", 1, ["x.a"], ["x.b", "x.c"])
    assert (two["replicas"], two["serves"], two["asks"]) == (2, ["ask.it"], [])


def test_a_killed_node_and_one_that_will_be_started_again_are_told(lab):
    lab.up(f"  good: {{ kind: exec, command: [sleep, infinity], {QUICK} }}\n"
           "  bad: { kind: exec, command: exit 3, restart: { delay: 1h, delay_max: 1h } }\n")
    before = until(lab, lambda p: p["bad"]["state"] == "waiting", "waiting")
    bad = before["bad"]
    assert (bad["pid"], bad["last_end"], bad["restarts"]) == (None, "exit 3", 0)
    assert (bad["processes"], bad["cpu_ms"], bad["pss"], bad["rss"]) == (0, 0, 0, 0)
    os.kill(before["good"]["pid"], signal.SIGKILL)
    good = until(lab, lambda p: p["good"]["restarts"] == 1 and p["good"]["processes"], "restarted")["good"]
    assert good["last_end"] == "killed by SIGKILL" and good["state"] == "running"
    assert good["pid"] != before["good"]["pid"] and good["since_us"] > before["good"]["since_us"]


def test_a_broker_that_was_killed_is_told_of_under_the_same_topic(lab):
    lab.up("  a: { kind: exec, command: [sleep, infinity] }\n").wait_for("are started")
    before = topics(lab)
    assert re.fullmatch(r"up\.status\.[0-9a-f]{8}", before[0])
    os.kill(status(lab)[1]["broker"]["pid"], signal.SIGKILL)
    after = until(lab, lambda p: p["broker"]["restarts"] == 1, "told by the new one")
    assert topics(lab) == before and after["broker"]["last_end"] == "killed by SIGKILL" and after["a"]["restarts"] == 0


def test_readers_share_a_measurement(lab):
    lab.up("").wait_for("1 process is up")
    began, stamps = time.monotonic(), []
    with peer(lab) as one, peer(lab) as other:
        topic, = topics(lab)
        for _ in range(50):
            for p in (one, other):
                p.send("REQ", topic=topic)
            stamps += [json.loads(p.expect("REP").frames[0])["now_us"] for p in (one, other)]
    assert len(set(stamps)) <= (time.monotonic() - began) / 0.5 + 1  # twice a second


def test_commands_can_ask_too(lab):
    lab.up("  many: { kind: exec, command: [sleep, infinity], replicas: 60 }\n",).wait_for("are started")
    topic, = topics(lab)
    assert len(json.loads(ok("req", topic, url=lab.url))["processes"]) == 62


def test_what_is_too_long_for_the_bus_is_an_error_that_says_so(lab):
    head = HEAD.replace("data: bus", "data: bus, body_max: 4KiB")
    lab.write("  many: { kind: exec, command: [sleep, infinity], replicas: 60 }\n", head)
    up = Background("up", "lab.yaml", cwd=lab.folder)
    lab.running.append(up)
    up.wait_for("are started")
    topic, = topics(lab)
    assert "too many processes to tell" in run("req", topic, url=lab.url).err


def test_up_goes_quietly(lab):
    up = lab.up("  a: { kind: exec, command: [sleep, infinity] }\n")
    up.wait_for("are started")
    status(lab)
    assert up.end(signal.SIGTERM) == 0
    at = next(i for i, line in enumerate(up.seen) if "stopping: nodes first" in line)
    lines = [line.split("| ")[1] for line in up.seen[at + 1:] if line.startswith("lineshaft |")]
    assert lines == ["a: stopped (killed by SIGTERM)", "broker: stopped (exit 0)", "all stopped"]
    assert not pids_with(f"LINESHAFT_URL={lab.url}")
