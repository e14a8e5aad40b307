# SPDX-License-Identifier: Apache-2.0
"""Whoever is killed with -9, whenever: no run is lost, a try's command is started at most once, no two tries of a task overlap, every
fact is one row. The edges are the events of a run; each victim dies the moment the event is seen on the live feed.

By default each edge is tried once with each database, and the victims take turns, so that each occurs; EDGES=all tries every pair."""
import contextlib
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
VICTIMS_OF = {"sqlite": VICTIMS,  # a file has no server that could die
              "postgresql": ["track", "all", "database", "clock", "hands", "broker"]}
BROKER_DEATHS_MAX = 3  # more within a minute are a crash loop to `up`: it then waits 10 s
LEASE_RENEWALS = 4  # a third of the lease lies between two: so many take longer than it


class Lab:
    def __init__(self, folder, server):
        (folder / "workflows").mkdir(parents=True)
        (folder / "script").write_text(SCRIPT)
        (folder / "script").chmod(0o755)
        (folder / "workflows" / "edges.yaml").write_text(WORKFLOW.format(folder=folder))
        os.mkfifo(folder / "go")
        self.folder, self.server, self.run_count, self.marks = folder, server, 0, 0
        self.open()

    def open(self):
        """Starts the stack in its folder, anew or with what a former one left."""
        self.broker_deaths = 0
        url = self.server.url if self.server else "sqlite:{}.db"
        nodes = NODES.replace("DATABASE_OF_SCHEDULER", url.format("scheduler")).replace("DATABASE_OF_TRACKER", url.format("tracker"))
        self.stack = Stack(self.folder, nodes.replace("RESTART", RESTART), head=HEAD)
        self.feed = bus.Peer(zmq.Context.instance(), zmq.SUB, f"tcp://127.0.0.1:{self.stack.base + 2}")
        for prefix in (b"workflow.", b"task.", b"edges."):
            self.feed.socket.subscribe(prefix)
        wait_until(lambda: [w["id"] for w in self.ask("list", {}).get("workflows", [])] == ["edges"], "the scheduler knows the workflow")

    def ask(self, what, body):
        answer = self.stack.post(f"/api/requests/scheduler.{what}", body)
        return answer.json if answer.status == 200 else {}

    def start(self):
        """A run; asked for until the answer is there, which starts one run however often it is repeated."""
        if self.broker_deaths >= BROKER_DEATHS_MAX:
            self.close()
            self.open()
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
        self.broker_deaths += victim in ("broker", "all")
        if victim == "database":
            self.server.kill()
            self.server.start()
            return
        for name in ["clock", "hands", "track", "broker"] if victim == "all" else [victim]:
            for pid in [self.stack.broker_pid()] if name == "broker" else self.node_pids(name):
                os.kill(pid, signal.SIGKILL)

    def node_pids(self, name):
        """The node's own process: keepers of the runner have its environment too, and are its children."""
        pids = self.stack.pids(name)
        return [pid for pid in pids if parent_of(pid) not in pids]

    def renewals(self):
        """How often the lease of what the runner has was renewed, as far as the runner has told."""
        lines = self.stack.get("/metrics").body.decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("lineshaft_runner_renewals_total"))

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
        self.stack.up.end()
        seen = self.stack.up.seen
        assert not [line for line in seen if "Sanitizer" in line or "runtime error" in line], "\n".join(seen[-80:])


def parent_of(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return int(file.read().rsplit(")", 1)[1].split()[1])
    except OSError:
        return 0


@pytest.fixture(scope="module")
def lab_of(tmp_path_factory):
    """The lab with a database, made when it is first asked for and kept: what earlier cases left is part of the later ones."""
    labs = {}

    def find(database):
        if database not in labs:
            labs[database] = Lab(tmp_path_factory.mktemp(database) / "lab", Postgres() if database == "postgresql" else None)
        return labs[database]

    yield find
    for lab in labs.values():
        lab.close()
        if lab.server:
            lab.server.close()


def edge_cases():
    for database, victims in VICTIMS_OF.items():
        for i, edge in enumerate(EDGES):
            for victim in victims if os.environ.get("EDGES") == "all" else [victims[i % len(victims)]]:
                yield database, edge, victim


def held_cases():
    """Each victim with one of the databases, or with both."""
    for i, database in enumerate(VICTIMS_OF):
        for victim in VICTIMS if os.environ.get("EDGES") == "all" else VICTIMS[i::2]:
            yield database, victim


@pytest.mark.parametrize("database, edge, victim", edge_cases())
def test_killed_at_an_edge(lab_of, database, edge, victim):
    lab = lab_of(database)
    run = lab.start()
    lab.until_event(edge, run)
    lab.kill(victim)
    lab.judge(run, lab.until_success(run))


@contextlib.contextmanager
def held(lab):
    """Commands that begin now run until let_go is called; that is what the block is given."""
    hold, over, threads = lab.folder / "hold", threading.Event(), []
    hold.touch()

    def let_go():
        hold.unlink()
        threads.append(threading.Thread(target=feed_pipe, args=(lab.folder / "go", over)))
        threads[0].start()

    try:
        yield let_go
    finally:
        hold.unlink(missing_ok=True)
        over.set()
        for thread in threads:
            thread.join(PATIENCE_S)


def feed_pipe(pipe, over):
    """Writes into the pipe for whoever still reads there."""
    writer = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    while not over.wait(0.02):
        try:
            os.write(writer, b"go\n")
        except BlockingIOError:
            pass
    os.close(writer)


def tries_of(found, name):
    return [one["try"] for one in next(task for task in found["tasks"] if task["task"] == name)["tries"]]


@pytest.mark.parametrize("database, victim", held_cases())
def test_killed_while_a_command_runs(lab_of, database, victim):
    """What ran at a runner that died is lost, and is tried again once nothing of it is left; other deaths do not touch it."""
    lab = lab_of(database)
    with held(lab) as let_go:
        run = lab.start()
        first = lab.until_event("task.started", run)["try"]
        lab.kill(victim)
        let_go()
        found = lab.until_success(run)
    lab.judge(run, found)
    if victim in ("clock", "track"):
        assert tries_of(found, "a") == [first]


def test_a_command_outlives_a_database_that_is_away_for_longer_than_the_lease(lab_of):
    """A scheduler without its database cannot give a try away, so it counts as absent, and absence renews. When the database is back each
    try has a whole lease again (tests/unit/scheduler_engine_test.c has that to the millisecond)."""
    lab = lab_of("postgresql")
    with held(lab) as let_go:
        run = lab.start()
        first = lab.until_event("task.started", run)["try"]
        lab.server.stop()
        before = lab.renewals()
        wait_until(lambda: lab.renewals() >= before + LEASE_RENEWALS, "renewals without a database")
        lab.server.start()
        wait_until(lambda: lab.state(run).get("state") == "running", "the scheduler has its database again")
        let_go()
        found = lab.until_success(run)
    lab.judge(run, found)
    assert tries_of(found, "a") == [first]
