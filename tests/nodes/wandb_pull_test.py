# SPDX-License-Identifier: Apache-2.0
"""The kind `wandb` bringing metrics from W&B onto the bus, against tests/mock/wandb.py: each value once, late and in any number, across
faults and kill -9; and a workflow that one of them starts."""
import os
import pathlib
import signal
import sqlite3
import sys

import pytest

from cli import wait_until
from stack import Stack

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "mock"))
import wandb

NODES = """
  door: {{{{ kind: ingress, listen: "{{http}}", asks: [] }}}}
  wb: {{{{ kind: wandb, mode: online, base_url: "{url}", api_key: {key}, project: demo, dir: wandb, flush: 50ms,
         pull: [eval/loss, note], pull_every: 100ms, restart: {{{{ delay: 10ms, delay_max: 100ms, limit: 1000 }}}} }}}}
{more}
"""
SCHEDULER = '  sched: {{ kind: scheduler, database: "sqlite:scheduler.db", workflows: [workflows] }}'
REPORT = """
id: report
triggers:
  - { event: wandb.metric, filter: event.data.key == "eval/loss" and event.data.value < 0.5,
      inputs: { run: "{{ event.data.run }}", loss: "{{ event.data.value }}" } }
inputs: { run: "", loss: { type: number } }
tasks:
  - { id: tell, event: job.report, data: { run: "{{ inputs.run }}", loss: "{{ inputs.loss }}" } }
"""


@pytest.fixture
def fake():
    with wandb.Server() as server:
        yield server
        assert server.failures == []


@pytest.fixture
def make(tmp_path, fake):
    made = []

    def start(more=""):
        folder = tmp_path / "stack"
        folder.mkdir(exist_ok=True)
        made.append(Stack(folder, NODES.format(url=fake.url, key=fake.key, more=more)))
        return made[-1]

    yield start
    for stack in made:
        stack.close()
        print(*stack.up.seen, *stack.up.lines.queue, sep="\n")


def pulled(stack, key="eval/loss"):
    return [event["data"] for event in stack.events("wandb.metric") if event["data"]["key"] == key]


def values(stack, key="eval/loss"):
    return sorted((data["run"], data["step"], data["value"]) for data in pulled(stack, key))


def until_values(stack, wanted, key="eval/loss"):
    wait_until(lambda: len(values(stack, key)) >= len(wanted), f"{len(wanted)} values: {values(stack, key)[-3:]}")
    assert values(stack, key) == sorted(wanted)


def rounds(fake, more):
    """Lets so many further rounds begin."""
    asked = fake.count("graphql", 200) + more
    wait_until(lambda: fake.count("graphql", 200) >= asked, "further questions")


def test_chosen_values_come_once(make, fake):
    stack = make()
    fake.log("theirs", [{"eval/loss": 0.9, "other": 1}, {"other": 2}, {"eval/loss": float("nan")}, {"eval/loss": 0.7, "_step": 40}])
    fake.log("theirs", [{"note": "better"}, {"note": {"_type": "image-file"}}])
    until_values(stack, [("theirs", 0, 0.9), ("theirs", 2, "NaN"), ("theirs", 40, 0.7)])
    until_values(stack, [("theirs", 41, "better")], "note")
    first = next(data for data in pulled(stack) if data["step"] == 0)
    assert first["entity"] == "acme" and first["project"] == "demo" and "run_id" not in first and first["timestamp"] > 1.7e12
    fake.log("theirs", [{"eval/loss": 0.6}])
    rounds(fake, 6)
    until_values(stack, [("theirs", 0, 0.9), ("theirs", 2, "NaN"), ("theirs", 40, 0.7), ("theirs", 43, 0.6)])
    assert {event["topic"].split(".")[0] for event in stack.events(">")} <= {"wandb", "test"}


def test_rows_that_are_counted_late_come_too(make, fake):
    stack = make()
    fake.log("slow", [{"eval/loss": n} for n in range(6)])
    until_values(stack, [("slow", n, n) for n in range(6)])
    fake.log("slow", [{"eval/loss": n} for n in range(6, 9)])
    fake.hide("slow", [6, 7])
    fake.log("slow", [{"eval/loss": 9}])
    wait_until(lambda: ("slow", 9, 9) in values(stack), "the last one")
    fake.show("slow")
    until_values(stack, [("slow", n, n) for n in range(10)])


def test_long_histories_and_many_runs(make, fake):
    fake.log("long", [{"eval/loss": n} for n in range(2300)])
    fake.log("sparse", [{"eval/loss": n, "_step": n * 9000} for n in range(20)])
    for n in range(120):
        fake.log(f"run{n}", [{"eval/loss": n}])
    stack = make()
    until_values(stack, [("long", n, n) for n in range(2300)] + [("sparse", n * 9000, n) for n in range(20)] +
                 [(f"run{n}", 0, n) for n in range(120)])


def test_faults_and_kills_lose_nothing(make, fake):
    stack = make()
    count = 0
    for fault in ({"kind": "status", "status": 500}, {"kind": "reset-before"}, {"kind": "reset-after"}, None, None,
                  {"kind": "status", "status": 429, "headers": {"Retry-After": "0"}}, {"kind": "errors", "message": "internal error"}):
        if fault:
            fake.fault(at="graphql", **fault)
        else:
            for pid in stack.pids("wb"):
                os.kill(pid, signal.SIGKILL)
        fake.log("run", [{"eval/loss": count}])
        count += 1
        until_values(stack, [("run", n, n) for n in range(count)])
    rounds(fake, 4)
    assert len(values(stack)) == count


def test_a_key_that_is_refused_is_said_and_tried_again(make, fake):
    fake.fault("status", status=403, message="permission denied", at="graphql", operation="PullRuns", count=2)
    fake.log("run", [{"eval/loss": 1}])
    stack = make()
    until_values(stack, [("run", 0, 1)])
    stack.up.saw("pull-failed")


def test_values_of_our_own_runs_name_them(make, fake):
    stack = make()
    for step in range(3):
        stack.post("/api/events", {"topic": "run.metric", "data": {"run_id": "r1", "key": "eval/loss", "value": step, "step": step}})
    stack.post("/api/events", {"topic": "run.updated", "data": {"run_id": "r1", "status": "FINISHED"}})
    wait_until(lambda: len(pulled(stack)) == 3, f"three values: {pulled(stack)}")
    assert {data["run_id"] for data in pulled(stack)} == {"r1"}
    assert sorted(data["value"] for data in pulled(stack)) == [0, 1, 2]


def listens(database):
    try:
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as db:
            return db.execute("SELECT pattern FROM lineshaft_trigger_position").fetchall()
    except sqlite3.OperationalError:
        return False


def test_a_value_starts_a_workflow(make, fake, tmp_path):
    (tmp_path / "stack" / "workflows").mkdir(parents=True)
    (tmp_path / "stack" / "workflows" / "report.yaml").write_text(REPORT)
    stack = make(SCHEDULER)
    wait_until(lambda: listens(tmp_path / "stack" / "scheduler.db"), "a subscription of the trigger")
    fake.log("theirs", [{"eval/loss": 0.9}, {"eval/loss": 0.4}, {"eval/loss": 0.6}])
    wait_until(lambda: stack.events("job.report"), "the workflow's task")
    rounds(fake, 6)
    assert [event["data"] for event in stack.events("job.report")] == [{"run": "theirs", "loss": 0.4}]
