# SPDX-License-Identifier: Apache-2.0
"""The disk below each node's folder is full for a while: what was acknowledged stays, what cannot be kept is refused in words or
waits in the stream, and when there is room again all goes on by itself (docs/operations.md). The disk is a small tmpfs that
really is full. The store of `artifacts` and the broker alone: tests/nodes/artifacts_test.py, faults_test.py."""
import os
import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "nodes"))

import wandb_file
from cli import ok, wait_until
from stack import Stack

NODES = """
  chat: {{ kind: ingress, listen: "{http}" }}
  tracking: {{ kind: tracker, database: "sqlite:tracking/tracker.db", artifact_root: "mlflow-artifacts:/" }}
  files: {{ kind: artifacts, store: "file:store", dir: files, free_floor: 0B }}
  clock: {{ kind: scheduler, database: "sqlite:clock/scheduler.db", workflows: [workflows] }}
  hands: {{ kind: runner, dir: hands, slots: 1 }}
  charts: {{ kind: wandb, mode: offline, dir: charts, flush: 50ms }}
  model: {{ kind: inference, backend: ngram, model: "models:/m@champion", cache: cache }}
"""
WORK = """
id: work
tasks: [{ id: talk, command: ["echo", "done"], retry: { limit: 200, delay: 100ms } }]
"""
MIB = 1 << 20


class Disk:
    """A tmpfs of so many MiB."""

    def __init__(self, place, mib):
        place.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", place]
        if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("a small disk can only be mounted by root")
        self.place, self.filler = place, place / "filler"

    def fill(self):
        """To the last byte; what runs may take some back, so it is called again."""
        with open(self.filler, "ab", buffering=0) as file:
            for size in (MIB, 4096, 1):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    pass

    def clear(self):
        self.filler.unlink()

    def close(self):
        subprocess.run(["umount", "-l", self.place], check=True)


class Machine(Stack):
    """A whole stack whose folder `full` is on the disk."""

    def __init__(self, folder, disk, full):
        (folder / "workflows").mkdir()
        (folder / "workflows/work.yaml").write_text(WORK)
        for name in ("tracking", "clock"):
            if name != full:
                (folder / name).mkdir()
        (folder / full).symlink_to(disk.place)
        super().__init__(folder, NODES)
        self.text = folder / "text.txt"
        self.text.write_text("".join(f"The shaft turns lathe {n % 7}, and the belt runs on pulley {n % 5}.\n%\n" for n in range(300)))
        wait_until(lambda: self.get("/api/workflows").status == 200 and self.experiments().status == 200, "all nodes answer")
        wait_until(lambda: self.put("a").status in (200, 201), "files are taken")
        self.nodes = {"chat", "tracking", "files", "clock", "hands", "charts", "model"}

    def experiments(self):
        return self.post("/api/2.0/mlflow/experiments/search", {"max_results": 10})

    def put(self, key, content=b"text"):
        return self.call("PUT", f"/api/artifacts/{key}", content)

    def point(self, step):
        return self.post("/api/events", {"topic": "run.metric", "data": {"run_id": "r1", "key": "loss", "value": 1, "step": step}})

    def points(self):
        answer = self.get("/api/2.0/mlflow/metrics/get-history?run_id=r1&metric_key=loss")
        return sorted(m["step"] for m in answer.json.get("metrics", [])) if answer.status == 200 else []

    def charted(self):
        files = self.folder.glob("charts/offline-run-*/run-r1.wandb")
        return [row["_step"] for file in files for row in wandb_file.rows(file) if "loss" in row]

    def work(self, name):
        return self.post("/api/workflows/work/runs", {"workflow_run_id": name})

    def state(self, name):
        return self.get(f"/api/workflows/work/runs/{name}").json.get("state")

    def promote(self, order):
        """A version of the model m, and its alias on it."""
        ok("train", "--name", "m", "--order", order, "--held-out", 0, "-o", self.folder / "m.ngram", self.text)
        key = f"models/{order}.ngram"
        assert self.put(key, (self.folder / "m.ngram").read_bytes()).status == 201
        self.post("/api/2.0/mlflow/registered-models/create", {"name": "m"})
        made = self.post("/api/2.0/mlflow/model-versions/create", {"name": "m", "source": f"mlflow-artifacts:/{key}"})
        version = made.json["model_version"]["version"]
        assert self.post("/api/2.0/mlflow/registered-models/alias", {"name": "m", "alias": "champion", "version": version}).status == 200
        return version

    def serving(self):
        answer = self.chat("m", "The shaft")
        return answer.headers["x-lineshaft-version"] if answer.status == 200 else None

    def said(self, node, text):
        while not self.up.lines.empty():
            self.up.seen.append(self.up.lines.get() or "")
        return [line for line in self.up.seen if node in line and text in line]

    def check_nobody_was_restarted(self):
        assert [node for node in self.nodes if len(self.said("lineshaft |", f"| {node}: starting, pid")) != 1] == []


@pytest.fixture
def make(tmp_path):
    made = []

    def start(full, mib=8):
        disk = Disk(tmp_path / "disk", mib)
        made.append(disk)
        machine = Machine(tmp_path, disk, full)
        made.insert(0, machine)
        return machine, disk

    yield start
    for one in made:
        one.close()


def test_the_trackers_database(make):
    machine, disk = make("tracking")
    machine.point(1)
    wait_until(lambda: machine.points() == [1], "tracked")
    disk.fill()
    for step in range(2, 300):
        assert machine.point(step).status == 200  # the stream has it
    wait_until(lambda: machine.said("tracking", "database or disk is full"), "it is said")
    refused = machine.post("/api/2.0/mlflow/experiments/create", {"name": "now"})
    assert refused.status == 503 and refused.json["code"] == "no_responder"
    disk.clear()
    wait_until(lambda: machine.points() == list(range(1, 300)), "all is tracked")
    assert machine.post("/api/2.0/mlflow/experiments/create", {"name": "now"}).status == 200
    machine.check_nobody_was_restarted()


def test_the_schedulers_database(make):
    machine, disk = make("clock")
    machine.work("before")
    wait_until(lambda: machine.state("before") == "success", "a run")
    disk.fill()
    accepted = []
    while (answer := machine.work(f"run{len(accepted)}")).status == 200:
        accepted.append(answer.json["workflow_run_id"])
        disk.fill()
    assert answer.status == 503, answer.body
    wait_until(lambda: machine.said("clock", "database or disk is full"), "it is said")
    disk.clear()
    wait_until(lambda: machine.work("after").status == 200, "runs are taken again")
    for name in ["before", *accepted, "after"]:
        wait_until(lambda: machine.state(name) == "success", f"{name} ends")
    machine.check_nobody_was_restarted()


def test_the_exporters_folder(make):
    """The one that ends itself: `up` starts it again until there is room; the stream keeps what it has yet to write."""
    machine, disk = make("charts")
    machine.point(1)
    wait_until(lambda: machine.charted() == [1], "charted")
    disk.fill()
    for step in range(2, 300):
        machine.point(step)
    wait_until(lambda: machine.said("charts", "database or disk is full"), "it is said")
    disk.clear()
    wait_until(lambda: machine.charted() == list(range(1, 300)), f"each point once: {len(machine.charted())}")
    machine.nodes.remove("charts")
    machine.check_nobody_was_restarted()


def test_the_runners_folder(make):
    """A log that has no room ends, and says so; the work goes on."""
    machine, disk = make("hands")
    machine.work("before")
    wait_until(lambda: machine.state("before") == "success", "a run")
    disk.fill()
    machine.work("full")
    wait_until(lambda: machine.state("full") == "success", "a run without a log")
    assert machine.said("hands", "log-ends") and machine.said("hands", "No space left on device")
    disk.clear()
    machine.work("after")
    wait_until(lambda: machine.state("after") == "success", "a run")
    assert (disk.place / "logs/work/after/talk/attempt=1.log").read_text() == "done\n"
    machine.check_nobody_was_restarted()


def test_the_spool_of_artifacts(make):
    machine, disk = make("files")
    disk.fill()
    refused = machine.put("b", os.urandom(MIB))
    assert refused.status == 507 and "no room" in refused.json["error"]["message"]
    assert machine.get("/api/artifacts/a").body == b"text"
    disk.clear()
    assert machine.put("b", os.urandom(MIB)).status == 201
    machine.check_nobody_was_restarted()


def test_the_cache_of_models(make):
    """The model that serves goes on serving; the promoted one comes when it can be fetched."""
    machine, disk = make("cache")
    first = machine.promote(2)
    wait_until(lambda: machine.serving() == first, "the first serves")
    disk.fill()
    second = machine.promote(3)
    wait_until(lambda: machine.said("model", "No space left on device"), "it is said")
    assert machine.serving() == first
    disk.clear()
    wait_until(lambda: machine.serving() == second, "the second serves")
    machine.check_nobody_was_restarted()


def test_the_brokers_directory_below_a_whole_stack(make):
    """Who publishes is told; tracker and scheduler take work, whose events wait in their outboxes."""
    machine, disk = make("bus", 24)
    machine.point(1)
    wait_until(lambda: machine.points() == [1], "tracked")
    disk.fill()
    peer, acknowledged = machine.dealer("filler"), 0
    while (peer.send("PUB", {"topic": "test.fill"}, b"x" * 100000) or (told := peer.recv())).verb == "OK":
        acknowledged += 1
    assert told.head["name"] == "DISK_FULL" and told.head["again"] is True
    wait_until(lambda: machine.said("broker", "No space left on device"), "it is said")
    assert machine.work("meanwhile").status == 200
    assert machine.post("/api/2.0/mlflow/experiments/create", {"name": "meanwhile"}).status == 200
    disk.clear()
    wait_until(lambda: machine.state("meanwhile") == "success", "the run ends")
    assert machine.point(2).status == 200
    wait_until(lambda: machine.points() == [1, 2], "tracked")
    wait_until(lambda: machine.events("experiment.created"), "the fact came from the outbox")
    assert len(machine.events("test.fill")) == acknowledged
    machine.check_nobody_was_restarted()
