# SPDX-License-Identifier: Apache-2.0
"""Everything that a production stack leans on is away: at the start, later, and not away but silent. Work that was acknowledged is done
when it is back, callers are told in words, nobody dies of it (docs/operations.md). Each outage for itself: tests/nodes/."""
import contextlib
import pathlib
import socket
import sys
import threading

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent.parent / name) for name in ("nodes", "mock")]

import wandb
from bus import free_base
from cli import wait_until
from postgres import Postgres
from s3 import S3Fake
from stack import Mock, Stack

NODES = """
  chat: {{ kind: ingress, listen: "{http}" }}
  tracking: {{ kind: tracker, database: "DATABASE" }}
  files: {{ kind: artifacts, store: "s3://bucket/root", dir: files, answer_after: 200ms }}
  clock: {{ kind: scheduler, database: "DATABASE", workflows: [workflows] }}
  hands: {{ kind: runner, dir: hands }}
  charts: {{ kind: wandb, mode: online, dir: charts, entity: acme, base_url: "CHARTS", api_key: "KEY", flush: 50ms }}
  model: {{ kind: inference, backend: openai, model: fixed, url: "BACKEND/v1" }}
"""
WORK = """
id: work
tasks: [{ id: talk, command: ["true"], retry: { limit: 100, delay: 100ms } }]
"""


class Gate:
    """Between lineshaft and a service: `open`, `shut` (nobody listens, connections are cut) or `mute` (they stand, and nothing passes)."""

    def __init__(self, target):
        self.port, self.target, self.listener, self.pairs = free_base(), target, None, []
        self.passing = threading.Event()

    def open(self):
        self.passing.set()
        if self.listener:
            return
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def mute(self):
        self.passing.clear()

    def shut(self):
        listener, self.listener = self.listener, None
        if listener:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for one in self.pairs:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self.pairs.clear()
        self.passing.set()  # who waits to pass finds its connection closed

    def accept(self, listener):
        while True:
            try:
                near = listener.accept()[0]
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            self.pairs += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self.carry, args=(source, sink), daemon=True).start()

    def carry(self, source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self.passing.wait()
                sink.sendall(data)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


class World:
    """The four services, each behind its gate; all gates are shut."""

    def __init__(self, folder, closing):
        self.postgres, self.s3 = closing.enter_context(Postgres()), closing.enter_context(S3Fake(folder / "s3"))
        self.charts, self.mock = closing.enter_context(wandb.Server()), closing.enter_context(contextlib.closing(Mock()))
        ports = {"database": self.postgres.port, "store": int(self.s3.url.rsplit(":", 1)[1]), "charts": self.charts.port,
                 "backend": self.mock.port}
        self.gates = {name: Gate(port) for name, port in ports.items()}
        closing.callback(self.each, "shut")

    def each(self, what):
        for gate in self.gates.values():
            getattr(gate, what)()

    def through(self, name, url):
        gate = self.gates[name]
        return url.replace(f":{gate.target}", f":{gate.port}")


class Machine(Stack):
    def __init__(self, folder, world):
        (folder / "workflows").mkdir()
        (folder / "workflows/work.yaml").write_text(WORK)
        nodes = NODES
        for key, name, url in [("DATABASE", "database", world.postgres.url), ("CHARTS", "charts", world.charts.url),
                               ("BACKEND", "backend", f"http://127.0.0.1:{world.mock.port}")]:
            nodes = nodes.replace(key, world.through(name, url))
        self.world = world
        env = {name: world.through("store", value) for name, value in world.s3.environment().items()}
        super().__init__(folder, nodes.replace('"KEY"', f'"{wandb.KEY}"'), **env)
        self.steps = 0

    def work(self, name):
        """A bit of everything that is taken, whatever is away: points of a run, a file."""
        for _ in range(20):
            self.steps += 1
            body = {"run_id": "r1", "key": "loss", "value": 1, "step": self.steps}
            assert self.post("/api/events", {"topic": "run.metric", "data": body}).status == 200
        wait_until(lambda: self.call("PUT", f"/api/artifacts/{name}", b"text").status in (201, 202), "a file is taken")

    def points(self):
        answer = self.get("/api/2.0/mlflow/metrics/get-history?run_id=r1&metric_key=loss")
        return sorted(m["step"] for m in answer.json.get("metrics", [])) if answer.status == 200 else []

    def charted(self):
        with contextlib.suppress(KeyError):
            return sorted(row["_step"] for row in self.world.charts.run("r1").rows() if "loss" in row)
        return []

    def done(self, *files):
        """All that was taken is where it belongs, once."""
        steps = list(range(1, self.steps + 1))
        wait_until(lambda: self.points() == steps, f"tracked: {len(self.points())} of {self.steps}")
        wait_until(lambda: self.charted() == steps, f"charted: {len(self.charted())} of {self.steps}")
        for name in files:
            wait_until(lambda: self.get(f"/api/artifacts/{name}").body == b"text", f"{name} is stored")
        wait_until(lambda: self.chat("fixed").status == 200, "the model answers")

    def run(self, name):
        wait_until(lambda: self.post("/api/workflows/work/runs", {"workflow_run_id": name}).status == 200, "a run is taken")
        wait_until(lambda: self.get(f"/api/workflows/work/runs/{name}").json.get("state") == "success", "and ends")

    def said(self, node, text):
        while not self.up.lines.empty():
            self.up.seen.append(self.up.lines.get() or "")
        return [line for line in self.up.seen if line.startswith(node) and text in line]


@pytest.fixture
def machine(tmp_path):
    with contextlib.ExitStack() as closing:
        machine = Machine(tmp_path, World(tmp_path, closing))
        closing.callback(machine.close)
        yield machine


def test_all_services_away_at_the_start_and_later_and_silent(machine):
    world = machine.world
    # Away at the start: what can be kept is taken; who must be answered now is told.
    machine.work("early")
    assert machine.get("/readyz").status == 200  # the door and the bus are well
    for node, text in [("tracking", "database-down"), ("clock", "database-down"), ("charts", "wandb-away"), ("files", "s3.again")]:
        wait_until(lambda: machine.said(node, text), f"{node} says {text}")
    told = machine.chat("fixed")
    assert told.status in (502, 503) and told.json["error"]["message"], told.body
    assert machine.post("/api/2.0/mlflow/experiments/search", {"max_results": 1}).status == 503
    world.each("open")
    machine.done("early")
    machine.run("first")
    # Connections cut in the middle of work.
    world.each("shut")
    machine.work("later")
    assert machine.chat("fixed").status in (502, 503)
    world.each("open")
    machine.done("early", "later")
    machine.run("second")
    # They stand, and say nothing.
    world.each("mute")
    machine.work("silent")
    world.each("open")
    machine.done("early", "later", "silent")
    machine.run("third")
    for node in ("chat", "tracking", "files", "clock", "hands", "charts", "model"):
        assert len(machine.said("lineshaft |", f"| {node}: starting, pid")) == 1, f"{node} was started again"
