# SPDX-License-Identifier: Apache-2.0
"""lineshaft tail --trace of work: the run of a workflow with its tasks, what they made, and what followed from that."""
import json
import re

import msgpack
import pytest

from cli import TRACE, Background, ok, run

SPAN, NEXT_SPAN = "00f067aa0ba902b7", "b7ad6b7169203331"
RUN = "0f3c9a5e7d1b4c2f8a6e5d4c3b2a1908"
KEY = f"1/{RUN}/artifacts/model.ngram"


@pytest.fixture
def bus(make_bus):
    return make_bus(more='  work: { topics: ["workflow.>", "task.>", "artifact.>", "model.>", "wandb.>"] }\n')


def publish(bus, topic, at_ms, data, **head):
    head.setdefault("time", f"2026-11-20T10:00:{at_ms / 1000:06.3f}Z")
    head.setdefault("source", "clock")
    bus.dealer().ok("PUB", {"topic": topic, **head}, msgpack.packb(data))


def parent(span=SPAN, trace=TRACE):
    return f"00-{trace}-{span}-01"


class Story:
    """Publishes events of one trace, each a millisecond after the one before."""

    def __init__(self, bus, trace=TRACE, at_ms=0):
        self.bus, self.trace, self.at_ms = bus, trace, at_ms

    def tell(self, topic, subject, data, span=SPAN, **head):
        if span:
            head["traceparent"] = parent(span, self.trace)
        publish(self.bus, topic, self.at_ms, data, subject=subject, **head)
        self.at_ms += 1

    def begin(self, workflow="train", name="r1", span=SPAN, **more):
        about, head = {"workflow": workflow, "workflow_run_id": name}, {"span": span, **more}
        self.tell("workflow.run.created", f"{workflow}/{name}", {**about, "trigger": "manual", "inputs": {"order": 5}}, **head)

    def task(self, topic, task, data=None, workflow="train", name="r1", **head):
        body = {"workflow": workflow, "workflow_run_id": name, "task": task, "attempt": 1, **(data or {})}
        self.tell(f"task.{topic}", f"{workflow}/{name}/{task}", body, **head)


def the_loop(bus):
    s = Story(bus)
    s.begin()
    s.task("scheduled", "fit")
    s.task("queued", "fit", {"try": "t1", "command": ["lineshaft", "train"]}, id="q1")
    s.task("started", "fit", {"try": "t1", "runner": "hands", "pid": 7, "host": "box"}, id="t1.started", causationid="q1")
    for topic, data in [("created", {"run_name": "little", "experiment_name": "ngram"}), ("param", {"key": "order", "value": 5}),
                        ("param", {"key": "text", "value": "book"}), ("metric", {"key": "tokens", "value": 700.0}),
                        *(("metric", {"key": "loss", "value": 1 / step, "step": step}) for step in (1, 2, 3))]:
        s.tell(f"run.{topic}", RUN, {"run_id": RUN, **data}, source="train", causationid="t1.started")
    s.task("progress", "fit", {"try": "t1", "fraction": 0.5, "message": "half"}, causationid="q1", source="hands")
    s.task("progress", "fit", {"try": "t1", "log": "one\nloss 0.3\n"}, causationid="q1", source="hands")
    s.tell("artifact.stored", RUN, {"path": KEY, "size": 2048, "duration_ms": 12, "sha256": "0" * 64, "run_id": RUN, "uri": "file:///x"},
           source="files")
    s.task("ended", "fit", {"try": "t1", "reason": "exit", "exit_code": 0, "duration_ms": 40}, causationid="q1")
    s.task("succeeded", "fit", {"try": "t1", "duration_ms": 40, "outputs": {"loss": 0.25}}, causationid="t1.ended")
    s.task("scheduled", "register")
    s.task("started", "register", {"try": "t2", "runner": "clock"})
    s.tell("model.version.created", RUN, {"name": "m", "version": "1", "run_id": RUN, "source": "x:/y", "status": "READY"}, id="v1",
           causationid="t2", source="tracking")
    s.begin("check", "e1", span=NEXT_SPAN, causationid="v1")
    s.task("scheduled", "measure", workflow="check", name="e1", span=NEXT_SPAN, causationid="v1")
    s.task("started", "measure", {"try": "t3"}, workflow="check", name="e1", span=NEXT_SPAN, id="t3.started")
    s.tell("run.metric", RUN, {"run_id": RUN, "key": "eval", "value": 2}, span=NEXT_SPAN, causationid="t3.started")
    s.tell("model.alias.set", RUN, {"name": "m", "alias": "best", "version": 1, "previous_version": None}, id="a1", causationid="t2")
    s.tell("model.loaded", "m", {"name": "m", "version": "1", "worker": "chat.1", "sha256": "0" * 64, "from": "store", "duration_ms": 3},
           causationid="a1", source="model")
    s.tell("workflow.run.succeeded", "train/r1", {"workflow": "train", "workflow_run_id": "r1", "duration_ms": 60})
    s.tell("wandb.synced", f"run/{RUN}", {"run": RUN, "run_id": RUN, "kind": "run", "rows": 3, "mode": "offline", "file": "w/a.wandb"},
           span=None, source="charts")
    s.tell("wandb.synced", "workflow/train/r1", {"run": "train-r1", "kind": "workflow", "rows": 1, "mode": "online", "url": "https://x",
                                                 "finished": True}, span=None, source="charts")


STORY = f"""\
workflow.run.created                   clock   train/r1, by hand: order=5
├─ task.scheduled                      clock   fit
│  ├─ task.queued                      clock   fit: lineshaft train
│  ├─ task.started                     clock   fit, on hands, process 7 of box
│  │  └─ run.created                   train   little, in the experiment ngram, run {RUN}
│  │     ├─ run.param ×2               train   order=5, text=book
│  │     ├─ run.metric ×4              train   tokens 700, loss 1 → 0.3333 (3 values)
│  │     ├─ artifact.stored            files   2.0 KiB, took 12 ms: {KEY}
│  │     └─ wandb.synced               charts  {RUN}, 3 rows, offline: w/a.wandb
│  ├─ task.progress ×2                 hands   fit, 50 %, half: "loss 0.3"
│  ├─ task.ended                       clock   fit, exit code 0, after 40 ms
│  └─ task.succeeded                   clock   fit, took 40 ms: loss=0.25
├─ task.scheduled                      clock   register
│  └─ task.started                     clock   register, on clock
│     ├─ model.version.created         track   m version 1, from x:/y
│     │  └─ workflow.run.created       clock   check/e1, by hand: order=5
│     │     └─ task.scheduled          clock   measure
│     │        └─ task.started         clock   measure
│     │           └─ run.metric        clock   eval 2
│     └─ model.alias.set               clock   m@best is version 1
│        └─ model.loaded               model   m version 1 on chat.1, from the store, took 3.0 ms
├─ workflow.run.succeeded              clock   train/r1, took 60 ms
└─ wandb.synced                        charts  train-r1, 1 row, online, finished: https://x""".replace("track   ", "tracking  ")


def told(text):
    """The lines without their times, and without the padding between the columns."""
    return [re.sub(r" {2,}(?=\w)", "  ", line[20:]) for line in text.splitlines()[1:-1]]


@pytest.mark.short
@pytest.mark.parametrize("asked", ["r1", "train/r1", "train/r1/fit", RUN, TRACE, "train-r1", "e1", "t1.started"])
def test_the_whole_loop_is_one_story_whatever_is_asked_for(bus, asked):
    Story(bus, "1" * 32).begin("other", "r9")
    the_loop(bus)
    out = ok("tail", "--trace", asked, url=bus.url)
    assert told(out) == [re.sub(r" {2,}(?=\w)", "  ", line) for line in STORY.splitlines()]
    assert out.startswith(f"trace {TRACE}  train/r1  ") and out.splitlines()[-1].startswith("28 events, ")


def test_of_runs_with_one_name_the_newest_is_taken_and_that_is_said(bus):
    Story(bus, "2" * 32, at_ms=50).begin("nightly", "r1")
    Story(bus, "3" * 32, at_ms=10).begin("train", "r1")
    result = run("tail", "--trace", "r1", url=bus.url)
    assert result.out.startswith(f"trace {'2' * 32}  nightly/r1") and "2 events" not in result.out
    assert result.err == 'lineshaft tail: "r1" is a run of several workflows; this is the newest, nightly/r1\n'
    assert not run("tail", "--trace", "train/r1", url=bus.url).err


def test_a_run_that_begins_later_is_followed_by_its_short_name(bus):
    with Background("tail", "--trace", "r7", "-f", url=bus.url) as tail:
        for n in range(1000):
            Story(bus, at_ms=n).begin("train", "r7")
            if not tail.lines.empty():
                break
        assert "train/r7" in tail.wait_for("workflow.run.created")
        Story(bus, at_ms=2000).task("scheduled", "fit", name="r7")
        line = tail.wait_for("task.scheduled")
        assert "s  └─ task.scheduled" in line and line.endswith("  clock  fit")


def test_a_run_that_was_logged_over_http_is_one_tree_though_each_request_is_a_trace(bus):
    for n, topic in enumerate(["created", "metric", "metric", "updated"]):
        publish(bus, f"run.{topic}", n, {"run_id": RUN, "key": "loss", "value": n, "status": "FINISHED"}, subject=RUN,
                traceparent=parent(trace=f"{n + 1}" * 32), causationid=f"request-{n}")
    lines = told(ok("tail", "--trace", RUN, url=bus.url))
    assert [line.split("  ")[0] for line in lines] == ["run.created", "├─ run.metric ×2", "└─ run.updated"]


def test_with_bodies_and_as_json_nothing_is_folded(bus):
    the_loop(bus)
    assert ok("tail", "--trace", "r1", "--body", "full", url=bus.url).count("─ run.metric ") == 5
    found = json.loads(ok("tail", "--trace", "r1", "--json", url=bus.url))
    assert found["asked"] == "train/r1" and found["events"] == 28 and json.dumps(found).count('"run.metric"') == 5


WORK = {"workflow": "w", "workflow_run_id": "r"}


@pytest.mark.parametrize("topic, body, story", [
    ("workflow.run.created", {**WORK, "trigger": "schedule", "logical_date": "2026-11-20T02:00:00Z"},
     "w/r, by its schedule, for 2026-11-20T02:00:00Z"),
    ("workflow.run.created", {**WORK, "trigger": "event", "event_topic": "model.alias.set", "inputs": {"a": {"b": 1}}},
     "w/r, by the event model.alias.set: a={…}"),
    ("workflow.run.failed", {**WORK, "error": "fit failed", "failed_tasks": ["fit", "x"], "duration_ms": 2000},
     "w/r, after 2.0 s: fit failed; failed: fit, x"),
    ("workflow.run.cancelled", {**WORK, "user_id": "ada", "reason": "no more"}, "w/r, by ada: no more"),
    ("workflow.updated", {"workflow": "w", "paused": True, "reason": "3 failed"}, "w, paused: 3 failed"),
    ("task.ended", {**WORK, "task": "t", "try": "t1", "reason": "signal", "signal": 9, "exit_code": None, "memory_bytes_max": 1 << 20},
     "t, signal 9, 1.0 MiB of memory"),
    ("task.ended", {**WORK, "task": "t", "try": "t1", "reason": "lost", "attempt": 2}, "t, try 2, lost"),
    ("task.failed", {**WORK, "task": "t", "try": "t1", "map_index": 3, "error": "exit code 2"}, "t[3]: exit code 2"),
    ("task.retrying", {**WORK, "task": "t", "try": "t1", "next_attempt": 2, "delay_ms": 1500, "error": "exit code 2"},
     "t, try 2 in 1.5 s: exit code 2"),
    ("task.skipped", {**WORK, "task": "t", "try": "t1", "reason": "upstream_failed"}, "t: upstream_failed"),
    ("task.progress", {**WORK, "task": "t", "try": "t1", "log": "why\n::progress 1\n"}, "t"),
    ("run.updated", {"run_id": "r", "status": "KILLED"}, "KILLED"),
    ("run.tag", {"run_id": "r", "key": "a", "deleted": True}, "a removed"),
    ("run.metric", {"run_id": "r", "key": "a", "value": 1234.56, "step": 7}, "a 1234.6 at step 7"),
    ("artifact.stored", {"path": "a/b", "uri": "file:///a/b", "sha256": "0" * 64, "size": 5, "already_there": True, "duration_ms": 1},
     "5 B, was there already: a/b"),
    ("artifact.failed", {"path": "a/b", "error": "no bucket", "code": "CONFLICT", "attempts": 3},
     "CONFLICT: no bucket, after 3 attempts: a/b"),
    ("artifact.deleted", {"path": "a/b", "user_id": "ada"}, "a/b, by ada"),
    ("artifact.pressure", {"state": "high", "spool_bytes": 1024, "limit_bytes": 2048, "free_bytes": 0},
     "high: 1.0 KiB of 2.0 KiB wait for the store, 0 B free"),
    ("model.version.created", {"name": "m", "version": 2, "status": "PENDING_REGISTRATION"}, "m version 2, PENDING_REGISTRATION"),
    ("model.version.updated", {"name": "m", "version": "2", "tags": {"a": "b"}}, "m version 2: a=b"),
    ("model.alias.set", {"name": "m", "alias": "best", "version": "2", "previous_version": 1, "comment": "wins"},
     "m@best is version 2 now, was 1: wins"),
    ("model.alias.deleted", {"name": "m", "alias": "best"}, "m@best"),
    ("model.loaded", {"name": "m", "version": "2", "worker": "c.1", "sha256": "0" * 64, "previous_version": "1", "from": "cache"},
     "m version 2 on c.1, in place of 1, from the cache"),
    ("wandb.stopped", {"run": "x", "url": "https://w"}, "x, stopped there: https://w"),
])
def test_every_event_of_the_loop_has_its_story(bus, topic, body, story):
    publish(bus, topic, 0, body, id="e", source="s", traceparent=parent())
    line = ok("tail", "--trace", "e", url=bus.url).splitlines()[1]
    assert re.split(r"  s(?:  |$)", line, maxsplit=1)[1] == story


EVIL = "\x1b[2J\r\n\x9b31m\u202e"


@pytest.mark.parametrize("topic, body", [
    ("workflow.run.created", {"trigger": "event", "event_topic": "a", "inputs": {EVIL: EVIL}, "note": EVIL}),
    ("workflow.run.failed", {"error": EVIL, "failed_tasks": [EVIL]}),
    ("task.queued", {"task": EVIL, "pool": EVIL, "command": [EVIL, EVIL]}),
    ("task.progress", {"task": EVIL, "message": EVIL, "log": EVIL}),
    ("run.created", {"run_id": EVIL, "run_name": EVIL, "experiment_name": EVIL}),
    ("run.metric", {"run_id": "r", "key": EVIL, "value": 1}),
    ("run.param", {"run_id": "r", "key": EVIL, "value": EVIL}),
    ("artifact.failed", {"path": "a", "error": EVIL, "code": EVIL}),
    ("model.alias.set", {"name": EVIL, "alias": EVIL, "version": EVIL[:11], "comment": EVIL}),
    ("model.loaded", {"name": EVIL, "worker": EVIL, "version": EVIL[:11], "sha256": "0" * 64}),
    ("wandb.synced", {"run": EVIL, "file": EVIL, "url": EVIL}),
])
def test_no_story_lets_the_wire_through_raw(bus, topic, body):
    about = {"workflow": EVIL, "workflow_run_id": EVIL, "task": EVIL, "try": "t1"} if topic.startswith(("task", "workflow")) else {}
    publish(bus, topic, 0, {**about, **body}, id="first", traceparent=parent())
    for n in range(2):
        publish(bus, topic, n + 1, {**about, **body}, causationid="first", traceparent=parent(), subject=f"w/{EVIL}")
    out = ok("tail", "--trace", TRACE, url=bus.url)
    assert not [c for c in out if (ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160 or c == "\u202e"]
    assert 4 <= len(out.splitlines()) <= 5 and "}31m" in out
