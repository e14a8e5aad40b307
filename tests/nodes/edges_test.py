# SPDX-License-Identifier: Apache-2.0
"""Whoever is killed with -9, whenever: no run is lost, a try's command is started at most once, no two tries of a task overlap, every
fact is one row. The edges are the events of a run; each victim dies the moment the event is seen on the live feed."""
import json
import os
import signal
import threading

import pytest
import zmq

import bus
from bus import PATIENCE_S
from cli import wait_until
from postgres import Postgres
from stack import HEAD, Stack

NODES = """
  door:  {{ kind: ingress, listen: "{http}", asks: [], RESTART }}
  clock: {{ kind: scheduler, database: "DATABASE_OF_SCHEDULER", workflows: [workflows], lease: 3s, RESTART }}
  hands: {{ kind: runner, slots: 2, dir: runner, RESTART }}
  track: {{ kind: tracker, database: "DATABASE_OF_TRACKER", RESTART }}
"""
RESTART = "restart: {{ delay: 20ms, delay_max: 100ms, limit: 1000 }}"

# Each try tells that it began, holds its task's lock for as long as it runs (a second try at the same time would say so), waits until it
# may go on (`go` is a pipe with an open writer: a read ends when a line comes), reports a metric, and tells that it ended.
SCRIPT = """#!/bin/sh
exec 9>>"lock-$LINESHAFT_WORKFLOW_RUN_ID-$LINESHAFT_TASK"
flock -n 9 || echo "$LINESHAFT_TRY" >> overlaps
echo "$LINESHAFT_WORKFLOW_RUN_ID $LINESHAFT_TASK $LINESHAFT_TRY" >> starts
if [ -e hold ]; then read -r _ < go; fi
echo "value=$LINESHAFT_TASK" >> "$LINESHAFT_OUTPUTS"
"""
WORKFLOW = """
id: edges
max_active_runs: 100
defaults: {{ directory: "{folder}", retry: {{ limit: 2, delay: 10ms, lost_limit: 20 }} }}
tasks:
  - {{ id: a, command: ["{folder}/script"] }}
  - {{ id: b, command: ["{folder}/script"], depends_on: [a] }}
  - {{ id: c, command: ["{folder}/script"], depends_on: [a] }}
  - {{ id: d, depends_on: [b, c], event: edges.done, data: {{ b: "{{{{ outputs.b.value }}}}" }} }}
"""
EDGES = ["workflow.run.created", "workflow.run.started", "task.scheduled", "task.queued", "task.started", "task.ended", "task.succeeded",
         "workflow.run.succeeded"]
VICTIMS = ["clock", "hands", "broker", "track", "all"]


class Lab:
    def __init__(self, folder, server):
        (folder / "workflows").mkdir(parents=True)
        (folder / "script").write_text(SCRIPT)
        (folder / "script").chmod(0o755)
        (folder / "workflows" / "edges.yaml").write_text(WORKFLOW.format(folder=folder))
        os.mkfifo(folder / "go")
        self.folder, self.server, self.run_count, self.marks = folder, server, 0, 0
        url = server.url if server else "sqlite:{}.db"
        nodes = NODES.replace("DATABASE_OF_SCHEDULER", url.format("scheduler")).replace("DATABASE_OF_TRACKER", url.format("tracker"))
        self.stack = Stack(folder, nodes.replace("RESTART", RESTART), head=HEAD)
        self.feed = bus.Peer(zmq.Context.instance(), zmq.SUB, f"tcp://127.0.0.1:{self.stack.base + 2}")
        for prefix in (b"workflow.", b"task.", b"edges."):
            self.feed.socket.subscribe(prefix)
        wait_until(lambda: [w["id"] for w in self.ask("list", {}).get("workflows", [])] == ["edges"], "the scheduler knows the workflow")

    def ask(self, what, body):
        answer = self.stack.post(f"/api/requests/scheduler.{what}", body)
        return answer.json if answer.status == 200 else {}

    def start(self):
        """A run; asked for until the answer is there, which starts one run however often it is repeated."""
        wait_until(self.feed_stands, "the live feed stands")
        self.run_count += 1
        run = f"run-{self.run_count}"
        wait_until(lambda: self.try_start(run), f"{run} is taken")
        return run

    def feed_stands(self):
        """Whether a mark comes through: after a death of the broker the feed may not have connected again."""
        self.marks += 1
        try:
            self.stack.post("/api/events", {"topic": "edges.mark", "data": {"n": self.marks}})
        except OSError:
            return False
        while self.feed.socket.poll(100):
            topic, _, _, body = self.feed.socket.recv_multipart()
            if topic == b"edges.mark" and json.loads(body)["n"] == self.marks:
                return True
        return False

    def try_start(self, run):
        try:
            return self.ask("run", {"workflow": "edges", "workflow_run_id": run}).get("workflow_run_id") == run
        except (OSError, ValueError):
            return False

    def until_event(self, topic, run):
        while True:
            told, _, _, body = self.feed.recv_frames(PATIENCE_S)
            fields = json.loads(body) if body[:1] == b"{" else bus.unpack(body)
            if told.decode() == topic and fields.get("workflow_run_id") == run:
                return fields

    def kill(self, victim):
        for name in ["clock", "hands", "track", "broker"] if victim == "all" else [victim]:
            for pid in [self.stack.broker_pid()] if name == "broker" else self.node_pids(name):
                os.kill(pid, signal.SIGKILL)

    def node_pids(self, name):
        """The node's own process: keepers of the runner have its environment too, and are its children."""
        pids = self.stack.pids(name)
        return [pid for pid in pids if parent_of(pid) not in pids]

    def state(self, run):
        try:
            return self.ask("show", {"workflow": "edges", "workflow_run_id": run})
        except (OSError, ValueError):
            return {}

    def until_success(self, run):
        found = {}

        def over():
            found.update(self.state(run))
            assert found.get("state") != "failed", json.dumps(found, indent=1)
            return found.get("state") == "success"

        wait_until(over, f"{run} a success")
        return found

    def lines(self, name):
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def judge(self, run, found):
        """What must hold of a run that has ended."""
        assert self.lines("overlaps") == []
        starts = [line.split()[1:] for line in self.lines("starts") if line.split()[0] == run]
        tries = [try_id for _, try_id in starts]
        assert len(tries) == len(set(tries)), f"a try was started twice: {starts}"
        tasks = {task["task"]: task for task in found["tasks"]}
        assert {name: task["state"] for name, task in tasks.items()} == dict.fromkeys("abcd", "success")
        for name in "abc":
            assert tasks[name]["try"] in tries and tasks[name]["outputs"] == {"value": name}
        self.judge_events(run, tasks)

    def judge_events(self, run, tasks):
        """Every transition is one event, and the events alone tell the same."""
        own = [event for event in self.stack.events("") if event["topic"].split(".")[0] in ("task", "workflow")
               and event["data"].get("workflow_run_id") == run]
        ids = [event["id"] for event in own]
        assert len(ids) == len(set(ids))
        topics = [event["topic"] for event in own]
        for topic in ("workflow.run.created", "workflow.run.started", "workflow.run.succeeded"):
            assert topics.count(topic) == 1, (topic, topics)
        for name, task in tasks.items():
            told = [event for event in own if event["data"].get("task") == name]
            good = [event["data"].get("try") for event in told if event["topic"] == "task.succeeded"]
            assert good == [task["try"]], (name, good, task)
            queued = [event["data"]["try"] for event in told if event["topic"] == "task.queued"]
            assert len(queued) == len(set(queued))
            if name != "d":
                assert len(queued) == len(task["tries"])

    def close(self):
        self.feed.close()
        self.stack.close()


def parent_of(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return int(file.read().rsplit(")", 1)[1].split()[1])
    except OSError:
        return 0


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def lab(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    server = Postgres() if request.param == "postgresql" else None
    lab = Lab(folder / "lab", server)
    yield lab
    lab.close()
    if server:
        server.close()


@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("edge", EDGES)
def test_killed_at_an_edge(lab, edge, victim):
    run = lab.start()
    lab.until_event(edge, run)
    lab.kill(victim)
    lab.judge(run, lab.until_success(run))


@pytest.mark.parametrize("victim", VICTIMS)
def test_killed_while_a_command_runs(lab, victim):
    """What ran at a runner that died is lost, and is tried again once nothing of it is left; other deaths do not touch it."""
    (lab.folder / "hold").touch()
    try:
        run = lab.start()
        first = lab.until_event("task.started", run)["try"]
        lab.kill(victim)
        (lab.folder / "hold").unlink()
        release = threading.Event()
        letting = threading.Thread(target=let_go, args=(lab.folder / "go", release))
        letting.start()
        try:
            found = lab.until_success(run)
        finally:
            release.set()
            letting.join(PATIENCE_S)
    finally:
        (lab.folder / "hold").unlink(missing_ok=True)
    lab.judge(run, found)
    tries = next(task for task in found["tasks"] if task["task"] == "a")["tries"]
    if victim in ("clock", "track"):
        assert [one["try"] for one in tries] == [first]


def let_go(pipe, over):
    """Writes into the pipe for whoever still reads there."""
    writer = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    while not over.wait(0.02):
        try:
            os.write(writer, b"go\n")
        except BlockingIOError:
            pass
    os.close(writer)


def test_killed_database_at_edges(lab):
    if not lab.server:
        pytest.skip("a file has no server that could die")
    for edge in EDGES:
        run = lab.start()
        lab.until_event(edge, run)
        lab.server.kill()
        lab.server.start()
        lab.judge(run, lab.until_success(run))
