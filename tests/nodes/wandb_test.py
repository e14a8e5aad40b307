# SPDX-License-Identifier: Apache-2.0
"""The kind `wandb` as an exporter, against tests/mock/wandb.py: W&B's rows are the events, each once, whatever is killed, refused, lost or
away; and offline, the file's rows are."""
import contextlib
import itertools
import math
import os
import pathlib
import random
import signal
import sqlite3
import sys

import pytest

import wandb_file
from bus import pack
from cli import wait_until
from stack import Stack

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "mock"))
import wandb

SEED = int(os.environ.get("WANDB_SEED", random.SystemRandom().randrange(1 << 32)))
AXIS = "lineshaft/step"
OWN = ("_step", "_timestamp", "_runtime", AXIS)
NODES = """
  door: {{{{ kind: ingress, listen: "{{http}}", asks: [] }}}}
  wb: {{{{ kind: wandb, {options}, dir: wandb, restart: {{{{ delay: 10ms, delay_max: 50ms, limit: 1000 }}}} }}}}
"""
KILLED = 255
STARTED = 1790000000000


@pytest.fixture
def fake():
    with wandb.Server() as server:
        yield server
        server.clear()
        assert server.failures == []


@pytest.fixture
def start(tmp_path, fake):
    """start(options): a stack with one exporter, online at the fake unless `options` say otherwise. Again: the same folder."""
    made = []

    def begin(options="", mode="online", flush="30ms", project="demo", **env):
        folder = tmp_path / "stack"
        folder.mkdir(exist_ok=True)
        for stack in made:
            stack.close()
        online = f'base_url: "{fake.url}", api_key: {fake.key}, ' if mode == "online" else ""
        named = f"project: {project}, " if project else ""
        text = NODES.format(options=f"mode: {mode}, {online}{named}flush: {flush}{options}")
        made.append(Stack(folder, text, HOME=str(tmp_path), **env))
        return made[-1]

    yield begin
    for stack in made:
        stack.close()
        print("\n".join(stack_log(stack)[-40:]))
    print(f"WANDB_SEED={SEED}")
    for stack in made:
        assert not [line for line in stack.up.seen if line.startswith("wb ") and (" error " in line or "Sanitizer" in line)]


class Teller:
    """Publishes events as clients do, and knows what it said."""

    def __init__(self, stack):
        self.points, self.ids = [], itertools.count(1)
        self.connect(stack)

    def connect(self, stack):
        self.peer, self.count = stack.dealer("teller"), itertools.count(1)

    def tell(self, *events):
        """(topic, body) pairs, each stored when this returns."""
        for i in range(0, len(events), 500):
            for topic, body in events[i:i + 500]:
                n = next(self.count)
                self.peer.send("PUB", {"topic": topic, "id": f"e{next(self.ids)}", "source": "teller", "n": n}, pack(body))
            while self.peer.expect("OK").head["upto"] < n:
                pass

    def metrics(self, run, points):
        """(key, step, value)"""
        self.points += [(run, *point) for point in points]
        self.tell(*(("run.metric", {"run_id": run, "key": key, "step": step, "value": value, "timestamp": STARTED + step})
                    for key, step, value in points))

    def begin(self, run, **more):
        self.tell(("run.created", {"run_id": run, "experiment_name": "tiny", "run_name": f"name-{run}", "start_time": STARTED, **more}))

    def end(self, run, status="FINISHED"):
        self.tell(("run.updated", {"run_id": run, "status": status, "end_time": 1790000060000}))

    def said(self, run):
        return sorted((key, step, repr(float(value))) for name, key, step, value in self.points if name == run)


def points_of(rows):
    return sorted((key, row.get(AXIS, row["_step"]), repr(float(value))) for row in rows for key, value in row.items() if key not in OWN)


def until_complete(fake, *runs):
    def there():
        try:
            return all(fake.run(run).complete for run in runs)
        except KeyError:
            return False
    wait_until(there, f"complete: {fake.state()['runs']}" if len(fake.runs) < 4 else "complete")


def until_acknowledged(stack):
    """The consumer of the exporter has nothing left."""
    peer = stack.dealer("watcher")
    wait_until(lambda: peer.ok("ADM", op="consumers", consumer="wb")["consumers"][0]["pending"] == 0, "all acknowledged")
    peer.close()


def kill(stack):
    """kill -9 of the exporter, of one that was not killed yet; `up` starts another."""
    killed = stack.__dict__.setdefault("killed", set())
    pids = set()
    wait_until(lambda: pids.update(set(stack.pids("wb")) - killed) or pids, "an exporter to kill")
    killed |= pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def events(stack, topic, count=1):
    """What the exporter said, at least so often."""
    wait_until(lambda: len(stack.events(topic)) >= count, f"{count} {topic}")
    return [event["data"] for event in stack.events(topic)]


def test_a_run_with_names_config_and_rows_that_gather_the_metrics_of_a_step(start, fake):
    stack = start(flush="300ms")
    teller = Teller(stack)
    teller.begin("r1", tags={"mlflow.parentRunId": "sweep-1", "mlflow.user": "ada"})
    teller.tell(*(("run.param", {"run_id": "r1", "key": key, "value": value})
                  for key, value in [("lr", "0.001"), ("optimizer", "adam"), ("code", "007")]),
                *(("run.tag", {"run_id": "r1", "key": key, **more})
                  for key, more in [("stage", {"value": "final"}), ("bus", {}), ("gone", {}), ("gone", {"deleted": True}),
                                    ("mlflow.note.content", {"value": "a note"})]))
    teller.metrics("r1", [("loss", 0, 1.5), ("acc", 0, 0.25), ("loss", 1, 0.75), ("acc", 1, 0.5), ("loss", 7, 0.1)])
    teller.end("r1")
    until_complete(fake, "r1")
    run = fake.run("r1", "demo", "acme")
    assert run.history() == [{"loss": 1.5, "acc": 0.25, "_step": 0}, {"loss": 0.75, "acc": 0.5, "_step": 1}, {"loss": 0.1, "_step": 7}]
    assert [(row["_timestamp"], row["_runtime"]) for row in run.rows()] == [(STARTED / 1000 + t, t) for t in (0.0, 0.001, 0.007)]
    assert wandb.plain(run.summary()) == {"loss": 0.1, "acc": 0.5, "_step": 7} and run.exitcode == 0
    assert (run.display_name, run.group, run.notes, sorted(run.tags)) == ("name-r1", "sweep-1", "a note", ["bus", "stage=final"])
    assert run.settings() == {"lr": 0.001, "optimizer": "adam", "code": "007"} and "t" in run.config["_wandb"]["value"]
    until_acknowledged(stack)
    told = [event for event in events(stack, "wandb.synced") if event["finished"]]
    assert told == [{"run": "r1", "run_id": "r1", "entity": "acme", "project": "demo", "kind": "run", "rows": 3, "mode": "online",
                     "url": f"{fake.url}/acme/demo/runs/r1", "file": None, "finished": True}]


def test_the_project_is_the_experiment(start, fake):
    stack = start(project=None)
    teller = Teller(stack)
    teller.tell(("experiment.created", {"experiment_id": "4", "name": "a/b: c"}), ("run.created", {"run_id": "r1", "experiment_id": 4}),
                ("run.created", {"run_id": "r2", "experiment_id": "5"}), ("run.created", {"run_id": "r3", "experiment_name": "tiny"}))
    teller.end("r1"), teller.end("r2"), teller.end("r3")
    until_complete(fake, "r1", "r2", "r3")
    assert [fake.run(name).project for name in ("r1", "r2", "r3")] == ["a-b- c", "experiment-5", "tiny"]


def test_late_and_doubled_points_have_rows_and_an_axis_of_their_own(start, fake):
    stack = start(flush="200ms")
    teller = Teller(stack)
    teller.begin("r1")
    teller.metrics("r1", [("loss", 5, 1.0), ("loss", 6, 2.0), ("loss", 2, 3.0), ("loss", 6, 4.0), ("gpu", -3, 5.0), ("loss", 7, 6.0),
                          ("loss", 50, 7.0)])
    teller.end("r1")
    until_complete(fake, "r1")
    run = fake.run("r1")
    assert points_of(run.rows()) == teller.said("r1")
    assert wandb.plain(run.summary()) == {"loss": 7.0, "gpu": 5.0, "_step": 50}
    axes = run.config["_wandb"]["value"]["m"]
    assert axes[0]["1"] == AXIS and {axis["1"]: axis["5"] for axis in axes[1:]} == {"loss": 1, "gpu": 1}


def test_nan_and_infinities_are_values(start, fake):
    stack = start()
    teller = Teller(stack)
    teller.begin("r1")
    teller.metrics("r1", [("a", 0, math.nan), ("b", 0, math.inf), ("c", 0, -math.inf), ("a", 1, 1e300), ("b", 1, 3)])
    teller.end("r1")
    until_complete(fake, "r1")
    assert points_of(fake.run("r1").rows()) == teller.said("r1")
    assert fake.run("r1").files["wandb-history.jsonl"][0].startswith('{"a":NaN,"b":Infinity,"c":-Infinity,')


def test_a_thousand_metrics_in_two_runs_at_once(start, fake):
    stack = start(flush="100ms")
    teller = Teller(stack)
    for run in ("r1", "r2"):
        teller.begin(run)
    for step in range(3):
        for run in ("r1", "r2"):
            teller.metrics(run, [(f"layer.{i}/norm", step, i + step / 8) for i in range(1000)])
    for run in ("r1", "r2"):
        teller.end(run)
    until_complete(fake, "r1", "r2")
    for run in ("r1", "r2"):
        assert points_of(fake.run(run).rows()) == teller.said(run)
    until_acknowledged(stack)


def test_what_comes_after_the_end_is_there_too(start, fake):
    stack = start()
    teller = Teller(stack)
    teller.begin("r1")
    teller.metrics("r1", [("loss", 0, 1.0)])
    teller.end("r1", "FAILED")
    until_complete(fake, "r1")
    assert fake.run("r1").exitcode == 1
    teller.metrics("r1", [("loss", 1, 2.0)])
    wait_until(lambda: points_of(fake.run("r1").rows()) == teller.said("r1") and fake.run("r1").complete, "complete again")
    teller.tell(("run.updated", {"run_id": "r1", "status": "RUNNING"}))
    wait_until(lambda: fake.run("r1").state == "running", "running again")
    teller.end("r1", "KILLED")
    wait_until(lambda: fake.run("r1").exitcode == KILLED, "killed")
    until_acknowledged(stack)


def test_a_workflow_is_a_run_with_a_row_for_each_try(start, fake):
    stack = start(project=None)
    of = {"workflow": "nightly", "workflow_run_id": "scheduled__2026-11-23T02:00:00Z"}
    teller = Teller(stack)
    teller.tell(("workflow.run.created", {**of, "trigger": "schedule", "inputs": {"epochs": 3}}), ("workflow.run.started", of),
                ("task.queued", {**of, "task": "train", "try": "t1"}), ("task.started", {**of, "task": "train", "try": "t1"}),
                ("task.failed", {**of, "task": "train", "try": "t1", "attempt": 1, "exit_code": 2, "final": False}),
                ("task.succeeded", {**of, "task": "train", "try": "t2", "attempt": 2, "exit_code": 0, "duration_ms": 5200}),
                ("task.skipped", {**of, "task": "report", "reason": "when"}), ("workflow.run.succeeded", of))
    wait_until(lambda: any(run.complete for run in fake.runs.values()), "complete")
    run, = fake.runs.values()
    assert run.project == run.group == "nightly" and run.job_type == "workflow" and run.display_name == of["workflow_run_id"]
    assert run.name.startswith("nightly-scheduled__2026-11-23T02-00-00Z-") and run.settings()["inputs"] == {"epochs": 3}
    assert run.history() == [{"task": "train", "state": "failed", "attempt": 1, "exit_code": 2, "_step": 0},
                             {"task": "train", "state": "succeeded", "attempt": 2, "duration_ms": 5200, "exit_code": 0, "_step": 1},
                             {"task": "report", "state": "skipped", "_step": 2}]
    until_acknowledged(stack)


def test_stop_in_the_browser_comes_onto_the_bus_once(start, fake):
    stack = start(", heartbeat: 100ms")
    teller = Teller(stack)
    teller.begin("r1")
    wait_until(lambda: "r1" in {run.name for run in fake.runs.values()} and fake.run("r1").heartbeats, "a sign of life")
    fake.stop("r1")
    event, = events(stack, "wandb.stopped")
    assert event == {"run": "r1", "run_id": "r1", "entity": "acme", "project": "demo", "url": f"{fake.url}/acme/demo/runs/r1"}
    beats = fake.run("r1").heartbeats
    wait_until(lambda: fake.run("r1").heartbeats > beats + 2, "further signs of life")
    assert len(events(stack, "wandb.stopped")) == 1


def test_the_server_is_down_at_the_start_and_events_wait_in_the_stream(start, fake):
    port = fake.port
    fake.close()
    stack = start(", in_flight: 5")
    teller = Teller(stack)
    teller.begin("r1")
    teller.metrics("r1", [("loss", step, step / 4) for step in range(40)])
    teller.end("r1")
    wait_until(lambda: any("wandb-away" in line for line in stack_log(stack)), "it says so")
    with wandb.Server(port=port) as server:
        until_complete(server, "r1")
        assert points_of(server.run("r1").rows()) == teller.said("r1") and server.failures == []
        until_acknowledged(stack)


def stack_log(stack):
    while not stack.up.lines.empty():
        line = stack.up.lines.get()
        if line is not None:
            stack.up.seen.append(line)
    return stack.up.seen


@pytest.mark.parametrize("at, kind, more", [
    ("graphql", "status", {"status": 429, "headers": {"Retry-After": "1"}}),
    ("file_stream", "status", {"status": 429, "headers": {"Retry-After": "1"}}),
    ("file_stream", "status", {"status": 429, "headers": {"Retry-After": "0.1", "RateLimit-Remaining": "0", "RateLimit-Reset": "2"}}),
    ("graphql", "errors", {"message": "internal error"}), ("graphql", "status", {"status": 409, "message": "try again"}),
    ("graphql", "reset-after", {}), ("file_stream", "reset-after", {}), ("file_stream", "status", {"status": 500, "count": 2})])
def test_what_fails_for_now_is_tried_again_with_the_same_bytes(start, fake, at, kind, more):
    fake.fault(kind, at=at, **more)
    stack = start()
    teller = Teller(stack)
    teller.begin("r1")
    teller.metrics("r1", [("loss", step, step / 4) for step in range(10)])
    teller.end("r1")
    until_complete(fake, "r1")
    assert points_of(fake.run("r1").rows()) == teller.said("r1")
    assert not fake.faults and not any("run-parked" in line for line in stack_log(stack))
    assert more.get("status") != 429 or not any("wandb-away" in line for line in stack_log(stack))


def the_file(folder):
    files = list(folder.glob("stack/wandb/offline-run-*/run-*.wandb"))
    assert len(files) == 1, files
    return files[0]


def the_rows(folder):
    return sum(len(wandb_file.rows(path)) for path in folder.glob("stack/wandb/offline-run-*/run-*.wandb"))


@pytest.mark.parametrize("at, status", [("graphql", 403), ("file_stream", 404)])
def test_a_refused_run_is_written_offline_whole_and_tried_again_after_a_restart(start, fake, tmp_path, at, status):
    stack = start()
    teller = Teller(stack)
    teller.begin("r1")
    teller.metrics("r1", [("loss", step, 1.0 * step) for step in range(5)])
    if at == "file_stream":
        wait_until(lambda: fake.runs and len(fake.run("r1").rows()) == 5, "rows at W&B")
    fake.fault("status", at=at, status=status, message="no", count=None)
    if at == "graphql":
        teller.tell(("run.param", {"run_id": "r1", "key": "lr", "value": 1}))
    teller.metrics("r1", [("loss", step, 1.0 * step) for step in range(5, 10)])
    until_acknowledged(stack)
    said = stack.up.saw("run-parked")
    assert f"status={status}" in said and "offline" in said
    assert points_of(wandb_file.rows(the_file(tmp_path))) == teller.said("r1")
    fake.clear()
    stack.up.close()
    stack = start()
    teller.connect(stack)
    teller.end("r1")
    until_complete(fake, "r1")
    assert points_of(fake.run("r1").rows()) == teller.said("r1")


def test_events_that_a_killed_broker_delivers_again_are_not_rows_again(start, fake):
    stack = start()
    teller = Teller(stack)
    teller.begin("r1")
    teller.metrics("r1", [("loss", 0, 0.5)])
    wait_until(lambda: fake.runs and fake.run("r1").rows(), "a row")
    fake.fault("hold", at="file_stream", count=None)
    teller.metrics("r1", [("loss", step, step / 4) for step in range(1, 30)])
    teller.end("r1")
    asked = len(fake.requests)
    os.kill(stack.broker_pid(), signal.SIGKILL)
    wait_until(lambda: sum("connected" in line and line.startswith("wb ") for line in stack_log(stack)) > 1, "a new session")
    fake.clear()
    until_complete(fake, "r1")
    assert points_of(fake.run("r1").rows()) == teller.said("r1") and len(fake.requests) > asked
    until_acknowledged(stack)


def test_a_run_that_was_deleted_at_wandb_goes_on_under_another_id(start, fake):
    stack = start()
    teller = Teller(stack)
    teller.begin("r1")
    teller.metrics("r1", [("loss", 0, 1.0)])
    wait_until(lambda: fake.runs and len(fake.run("r1").rows()) == 1, "a row")
    fake.delete("r1")
    teller.tell(("run.param", {"run_id": "r1", "key": "lr", "value": 1}))
    teller.metrics("r1", [("loss", 1, 2.0)])
    teller.end("r1")
    until_complete(fake, "r1-2")
    assert points_of(fake.run("r1-2").rows()) == teller.said("r1")


def test_a_run_that_another_began_is_taken_on_behind_its_rows(start, fake):
    fake.log("r1", [{"loss": 9.0}, {"loss": 8.0}])
    stack = start(flush="7s")  # longer than it waits before it asks what the run has
    teller = Teller(stack)
    teller.begin("r1")
    teller.metrics("r1", [("loss", 0, 1.0), ("loss", 1, 2.0)])
    wait_until(lambda: any("run-adopted" in line for line in stack_log(stack)), "taken on")
    teller.end("r1")
    until_complete(fake, "r1")
    rows = fake.run("r1").rows()
    assert [row["loss"] for row in rows] == [9.0, 8.0, 1.0, 2.0] and [row["_step"] for row in rows] == [0, 1, 2, 3]
    assert points_of(rows[2:]) == teller.said("r1") and not any("killed by" in line for line in stack_log(stack))


def test_an_answer_that_does_not_say_where_the_run_is_parks_it(start, fake, tmp_path):
    tell_all = fake.upsert
    fake.upsert = lambda arguments: {**tell_all(arguments), "bucket": {"id": "x", "name": "r1", "project": None}}
    stack = start()
    teller = Teller(stack)
    teller.begin("r1")
    teller.metrics("r1", [("loss", 0, 1.0)])
    until_acknowledged(stack)
    assert "does not name the run, its project and its entity" in stack.up.saw("run-parked")
    assert points_of(wandb_file.rows(the_file(tmp_path))) == teller.said("r1")


def test_two_workflows_whose_runs_are_called_alike_have_runs_of_their_own(start, fake):
    stack = start()
    teller = Teller(stack)
    alike = [{"workflow": "a-b", "workflow_run_id": "c"}, {"workflow": "a", "workflow_run_id": "b-c"}]
    for of in alike:
        teller.tell(("workflow.run.created", of), ("task.succeeded", {**of, "task": of["workflow"], "try": of["workflow"]}))
    for of in alike:
        teller.tell(("workflow.run.succeeded", of))
    until_complete(fake, "a-b-c", "a-b-c-2")
    assert [[row["task"] for row in fake.run(name).rows()] for name in ("a-b-c", "a-b-c-2")] == [["a-b"], ["a"]]


def test_a_metric_called_as_wandb_calls_its_own_columns_has_another_name_everywhere(start, fake):
    stack = start()
    teller = Teller(stack)
    teller.begin("r1")
    teller.metrics("r1", [("loss", 5, 1.0), ("_step", 2, 9.0)])
    teller.end("r1")
    until_complete(fake, "r1")
    run = fake.run("r1")
    assert wandb.plain(run.summary()) == {"loss": 1.0, "metric/_step": 9.0, "_step": 6}
    assert run.history()[1] == {"metric/_step": 9.0, "_step": 6, AXIS: 2}
    assert [axis["1"] for axis in run.config["_wandb"]["value"]["m"]] == [AXIS, "metric/_step"]


def test_offline_rows_are_the_events_across_kill_9(start, tmp_path):
    dice = random.Random(SEED)
    stack = start(mode="offline", flush="20ms")
    teller = Teller(stack)
    teller.begin("r1", tags={"stage": "x"})
    rows = 0
    for step in range(0, 600, 30):
        teller.metrics("r1", [(key, i, dice.random()) for i in range(step, step + 30) for key in ("loss", "acc")])
        wait_until(lambda: dice.random() < 0.5 or the_rows(tmp_path) > rows, "it is at work")
        rows = the_rows(tmp_path)
        kill(stack)
    teller.end("r1")
    until_acknowledged(stack)
    path = the_file(tmp_path)
    assert points_of(wandb_file.rows(path)) == teller.said("r1") and wandb_file.is_ended(path)
    told = [event for event in events(stack, "wandb.synced") if event["finished"]]
    assert told and told[-1]["mode"] == "offline" and told[-1]["file"].endswith(path.name)


def test_a_file_that_wandb_db_does_not_know_is_left_alone(start, tmp_path):
    for turn in range(2):
        stack = start(mode="offline", flush="20ms")
        teller = Teller(stack)
        teller.ids = itertools.count(100 * turn)
        teller.begin("r1")
        teller.metrics("r1", [("loss", step, step + 100.0 * turn) for step in range(5)])
        until_acknowledged(stack)
        stack.close()
        for path in (tmp_path / "stack/wandb").glob("wandb.db*"):
            path.unlink()
    files = sorted((tmp_path / "stack/wandb").glob("offline-run-*/run-r1.wandb"))
    assert [[row["loss"] for row in wandb_file.rows(path)] for path in files] == [[0, 1, 2, 3, 4], [100, 101, 102, 103, 104]]


def test_a_run_that_ended_offline_goes_on_online_behind_what_wandb_has(start, fake):
    stack = start(mode="offline")
    teller = Teller(stack)
    teller.begin("r1")
    teller.metrics("r1", [("loss", step, 1.0 * step) for step in range(5)])
    teller.end("r1")
    until_acknowledged(stack)
    stack.close()
    stack = start()
    teller.connect(stack)
    teller.tell(("run.updated", {"run_id": "r1", "status": "RUNNING"}))
    for step in range(5, 8):
        teller.metrics("r1", [("loss", step, 1.0 * step)])
        wait_until(lambda: fake.runs and len(fake.run("r1").rows()) == step - 4, "a row")
    teller.end("r1", "FAILED")
    until_complete(fake, "r1")
    assert points_of(fake.run("r1").rows()) == teller.said("r1")[5:]
    until_acknowledged(stack)


def test_an_end_that_was_taken_back_before_it_was_told_is_acknowledged(start, fake):
    stack = start(flush="500ms")
    teller = Teller(stack)
    teller.begin("r1")
    teller.end("r1")
    teller.tell(("run.updated", {"run_id": "r1", "status": "RUNNING"}))
    until_acknowledged(stack)
    assert not fake.run("r1").complete


def test_a_damaged_state_is_no_reason_to_begin_anew(start, fake, tmp_path):
    stack = start()
    teller = Teller(stack)
    teller.begin("r1")
    teller.metrics("r1", [("loss", 0, 1.0)])
    until_acknowledged(stack)
    stack.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "stack/wandb/wandb.db")) as db, db:
        db.execute("UPDATE lineshaft_wandb_run SET state = '{'")
    posts = len(fake.requests)
    stack = start()
    teller.connect(stack)
    teller.metrics("r1", [("loss", 1, 2.0)])
    assert "run/r1 is damaged" in stack.up.saw("database-down")
    assert len(fake.requests) == posts


def test_disabled_takes_and_drops(start, tmp_path):
    stack = start(mode="disabled")
    teller = Teller(stack)
    teller.begin("r1")
    teller.metrics("r1", [("loss", 0, 1.0)])
    until_acknowledged(stack)
    assert not (tmp_path / "stack/wandb").exists()


def test_the_key_comes_from_netrc(start, fake, tmp_path):
    (tmp_path / ".netrc").write_text(f"# my key\nmachine 127.0.0.1\n  login user\n  password {fake.key}\n")
    stack = start(mode="auto", options=f', base_url: "{fake.url}"')
    teller = Teller(stack)
    teller.begin("r1")
    teller.end("r1")
    until_complete(fake, "r1")


def storm(fake, dice):
    """Faults that pass, in any order."""
    kind = dice.choice(["status", "status", "reset-before", "reset-after", "reset-after", "cut", "slow"])
    fake.fault(kind, at=dice.choice(["graphql", "file_stream"]), skip=dice.randrange(2), status=dice.choice([429, 500, 502]),
               headers={"Retry-After": "0.05"}, seconds=0.05)


@pytest.mark.parametrize("turn", range(2))
def test_rows_equal_events_whatever_is_killed_and_whenever(start, fake, turn):
    dice = random.Random(SEED + turn)
    stack = start(flush="20ms")
    teller = Teller(stack)
    for run in ("r1", "r2"):
        teller.begin(run)
    step = 0
    for _ in range(20):
        storm(fake, dice)
        for run in ("r1", "r2"):
            teller.metrics(run, [(key, step + i - (dice.randrange(40) if dice.random() < 0.05 else 0), dice.random())
                                 for i in range(20) for key in ("loss", "acc", "lr")])
        step += 20
        asked = len(fake.requests) + dice.randrange(4)
        wait_until(lambda: len(fake.requests) >= asked, "it is at work")
        kill(stack)
    fake.clear()
    for run in ("r1", "r2"):
        teller.end(run)
    until_complete(fake, "r1", "r2")
    for run in ("r1", "r2"):
        assert points_of(fake.run(run).rows()) == teller.said(run), f"WANDB_SEED={SEED}"
    until_acknowledged(stack)
