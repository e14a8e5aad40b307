# SPDX-License-Identifier: Apache-2.0
"""The broker's directory restored from an older copy, while the nodes' databases know more: numbers that they have seen come again, with
other events. What is new is taken by everyone, what was done is not done twice, and they say so (docs/operations.md)."""
import contextlib
import pathlib
import shutil
import sqlite3
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "nodes"))

import wandb_file
from bus import unpack
from cli import Background, ok, run, wait_until
from stack import Stack

NODES = """
  chat: {{ kind: ingress, listen: "{http}" }}
  tracking: {{ kind: tracker, database: "sqlite:tracker.db", artifact_root: "mlflow-artifacts:/" }}
  files: {{ kind: artifacts, store: "file:store", dir: files }}
  clock: {{ kind: scheduler, database: "sqlite:scheduler.db", workflows: [workflows] }}
  charts: {{ kind: wandb, mode: offline, dir: wandb, flush: 50ms }}
"""
NEWS = """
id: news
triggers: [{ event: thing.happened, inputs: { n: "{{ event.data.n }}" } }]
inputs: { n: { type: integer } }
tasks: [{ id: tell, event: news.told, data: { n: "{{ inputs.n }}" } }]
"""


class Machine(Stack):
    def __init__(self, folder):
        (folder / "workflows").mkdir()
        (folder / "workflows/news.yaml").write_text(NEWS)
        super().__init__(folder, NODES)

    def start(self):
        self.up = Background("up", "stack.yaml", cwd=self.folder)
        wait_until(self.ready, "ready again")

    def tell(self, topic, data, **head):
        answer = self.post("/api/events", {"topic": topic, "data": data, **head})
        assert answer.status == 200, answer.body

    def work(self, number):
        """One of each: a point of a run, an event that triggers, a file."""
        self.tell("run.metric", {"run_id": "r1", "key": "loss", "value": number, "step": number})
        self.tell("thing.happened", {"n": number})
        put = lambda: self.call("PUT", f"/api/artifacts/notes/{number}.txt", b"n" * number).status
        wait_until(lambda: put() in (200, 201), "a file is taken")  # 503 while the node starts

    def points(self):
        answer = self.get("/api/2.0/mlflow/metrics/get-history?run_id=r1&metric_key=loss")
        return [int(m["step"]) for m in answer.json.get("metrics", [])] if answer.status == 200 else []

    def charted(self):
        files = self.folder.glob("wandb/offline-run-*/run-r1.wandb")
        return [row["loss"] for file in files for row in wandb_file.rows(file) if "loss" in row]

    def runs(self):
        answer = self.get("/api/workflows/news/runs?limit=100")
        return answer.json["runs"] if answer.status == 200 else []

    def names(self):
        return sorted(run["workflow_run_id"] for run in self.runs())

    def triggered(self):
        return sorted(run["inputs"]["n"] for run in self.runs() if run["state"] == "success" and run["inputs"]["n"])

    def listen(self):
        """Until the trigger is heard: a pattern that nobody knew begins when the scheduler first meets the bus."""
        def heard():
            self.tell("thing.happened", {"n": 0})
            return self.runs()
        wait_until(heard, "the trigger is heard")

    def done(self, numbers):
        wait_until(lambda: self.points() == numbers, f"tracked {numbers}: {self.points()}")
        wait_until(lambda: self.triggered() == numbers, f"triggered {numbers}: {self.triggered()}")
        wait_until(lambda: self.charted() == numbers, f"charted {numbers}: {self.charted()}")

    def last_id(self):
        """Where a reader of the feed is who has seen everything."""
        stream = self.stream("GET", "/api/events?topic=test.mark")
        self.tell("test.mark", {})
        place = stream.record()["id"]
        stream.close()
        return place

    def said(self, node, text):
        while not self.up.lines.empty():
            self.up.seen.append(self.up.lines.get() or "")
        return [line for line in self.up.seen if node in line and text in line]

    def outbox(self):
        with contextlib.closing(sqlite3.connect(f"file:{self.folder}/scheduler.db?mode=ro", uri=True)) as database:
            return database.execute("SELECT COUNT(*) FROM lineshaft_scheduler_outbox").fetchone()[0]

    def stored(self, number):
        return len([e for e in self.events("artifact.stored") if e["data"]["path"] == f"notes/{number}.txt"])


@pytest.fixture
def machine(tmp_path):
    machine = Machine(tmp_path)
    yield machine
    machine.close()


def restored(machine, copy):
    machine.up.close()
    shutil.rmtree(machine.folder / "bus")
    copy.rename(machine.folder / "bus")


def test_nodes_that_are_ahead_of_a_restored_broker_take_what_is_new_and_repeat_nothing(machine):
    machine.listen()
    machine.tell("run.created", {"run_id": "r1", "experiment_name": "e"})
    for number in range(1, 4):
        machine.work(number)
    machine.done([1, 2, 3])
    machine.up.close()
    copy = machine.folder / "copy"
    shutil.copytree(machine.folder / "bus", copy)
    machine.start()
    for number in range(4, 12):
        machine.work(number)
    machine.done(list(range(1, 12)))
    place = machine.last_id()
    restored(machine, copy)
    machine.start()
    machine.work(12)          # under numbers that 4 and 5 had
    machine.done(list(range(1, 13)))
    wait_until(lambda: machine.stored(12) == 1, "the new file is stored")
    assert machine.get("/api/artifacts/notes/9.txt").body == b"n" * 9  # files outlive their events
    for node in ("tracking", "clock"):
        wait_until(lambda: machine.said(node, "the stream is an older copy"), f"{node} says so")
    assert not machine.said("tracking", "database-behind")
    stream = machine.stream("GET", "/api/events?topic=thing.happened", headers={"Last-Event-ID": place})
    machine.tell("thing.happened", {"n": 13})
    assert stream.data()["data"] == {"n": 13}
    stream.close()
    wait_until(lambda: machine.triggered() == list(range(1, 14)), "and triggers")


def test_all_of_it_from_one_moment_goes_on_from_there(machine, tmp_path_factory):
    machine.listen()
    machine.tell("run.created", {"run_id": "r1", "experiment_name": "e"})
    machine.work(1)
    machine.done([1])
    machine.up.close()
    copy = tmp_path_factory.mktemp("copy") / "all"
    shutil.copytree(machine.folder, copy)
    machine.start()
    machine.work(2)
    machine.done([1, 2])
    machine.up.close()
    shutil.rmtree(machine.folder)
    copy.rename(machine.folder)
    machine.start()
    machine.work(3)
    machine.done([1, 3])
    assert not [line for line in machine.up.seen if " warn " in line or " error " in line]


def test_a_broker_whose_directory_was_emptied_counts_anew_and_nodes_take_what_comes(machine):
    machine.tell("run.created", {"run_id": "r1", "experiment_name": "e"})
    for number in (1, 2):
        machine.work(number)
    wait_until(lambda: machine.points() == [1, 2] and machine.charted() == [1, 2], "tracked and charted")
    machine.up.close()
    shutil.rmtree(machine.folder / "bus")
    machine.start()
    machine.work(3)
    wait_until(lambda: machine.points() == [1, 2, 3] and machine.charted() == [1, 2, 3], "what is new, behind what was there")
    assert machine.get("/api/artifacts/notes/1.txt").body == b"n"


def take(bus, count):
    """A reader's next events, acknowledged on disk."""
    client = bus.client()
    client.ok("SUB", cid=1, consumer="w", stream="events", takes=["job.>"])
    events = client.events(count)
    client.send("ACK", cid=1, seqs=[e.seq for e in events], sync=True)
    client.wait("OK", cid=1)
    client.close()
    return [unpack(e.body) for e in events]


def test_a_copy_whose_positions_are_newer_than_its_log_skips_nothing(make_bus):
    """As a copy of the directory of a running broker may be: files of different moments."""
    bus = make_bus()
    bus.publish("job.a", 5)
    assert take(bus, 5) == [0, 1, 2, 3, 4]
    bus.stop()
    old = bus.folder / "old"
    shutil.copytree(bus.data, old)
    bus.start()
    bus.publish("job.a", 20)
    take(bus, 20)
    bus.stop()
    for file in (bus.data / "events").glob("*.state"):
        shutil.copy(file, old / "events" / file.name)
    shutil.rmtree(bus.data)
    old.rename(bus.data)
    bus.start()
    bus.publish("job.a", 3)
    assert take(bus, 3) == [0, 1, 2]


def resume(bus, start):
    peer = bus.client()
    peer.ok("SUB", {"cid": 1, "topics": ["job.>"], "from": start})
    return peer


@pytest.mark.parametrize("named", [True, False])
def test_a_reader_that_has_seen_more_than_the_stream_holds_gets_what_is_new(make_bus, named):
    """`seen_us` tells the number that it has seen from the number that came again."""
    bus = make_bus()
    first = bus.publish("job.a", 3)[-1]
    bus.stop()
    old = bus.folder / "old"
    shutil.copytree(bus.data, old)
    bus.start()
    reader = resume(bus, {"streams": {"events": 0}})
    bus.publish("job.a", 9)
    bodies, last = [], None
    while len(bodies) < 12:
        last = reader.expect("MSG")
        bodies.append(last)
    place = {"seq": last.head["seq"] + 1, "seen_us": last.head["ts_us"]}
    bus.stop()
    shutil.rmtree(bus.data)
    old.rename(bus.data)
    bus.start()
    bus.publish("job.b", 5)
    start = {"streams": {"events": place}} if named else place
    peer = bus.client()
    peer.ok("SUB", {"cid": 1, "topics": ["job.>"], "from": start, **({} if named else {"stream": "events"})})
    bus.publish("job.c", 1)
    assert [(e.head["topic"], e.seq) for e in peer.events(6)] == [("job.b", first + 1 + i) for i in range(5)] + [("job.c", first + 6)]
    peer = bus.client()
    peer.ok("SUB", {"cid": 1, "topics": ["job.>"], "from": {"streams": {"events": place["seq"]}}})  # without: at least from the end on
    bus.publish("job.d", 1)
    assert peer.events(1)[0].head["topic"] == "job.d"
    assert resume(bus, {"streams": {"events": {"seq": first, "seen_us": 2**63 - 1}}}).events(1)[0].seq == first  # nonsense harms nobody


@pytest.mark.parametrize("lost", ["an older copy", "all of it"])
def test_a_tracker_whose_database_is_an_older_copy_says_so_and_reads_the_stream_again(machine, lost):
    """What it had acknowledged does not come by itself: its consumer is sent to the first event, while nobody uses it."""
    machine.tell("run.created", {"run_id": "r1", "experiment_name": "e"})
    machine.tell("run.metric", {"run_id": "r1", "key": "loss", "value": 1, "step": 1})
    wait_until(lambda: machine.points() == [1], "tracked")
    machine.up.close()
    copy = {file: file.read_bytes() for file in machine.folder.glob("tracker.db*")} if lost == "an older copy" else {}
    machine.start()
    for step in range(2, 20):
        machine.tell("run.metric", {"run_id": "r1", "key": "loss", "value": 1, "step": step})
    wait_until(lambda: machine.points() == list(range(1, 20)), "tracked")
    machine.up.close()
    assert not machine.said("tracking", "database-behind")
    for file in machine.folder.glob("tracker.db*"):
        file.unlink()
    for file, content in copy.items():
        file.write_bytes(content)
    machine.start()
    wait_until(lambda: machine.said("tracking", "database-behind"), "it says so")
    assert "members that are connected" in run("consumer", "reset", "tracking", "--to", "all", url=machine.url).err
    machine.up.close()
    with Background("broker", "stack.yaml", cwd=machine.folder) as broker:
        broker.wait_for("broker-ready")
        assert ok("consumer", "reset", "tracking", "--to", "all", url=machine.url).startswith("ok tracking goes on at ")
    machine.start()
    wait_until(lambda: machine.points() == list(range(1, 20)), f"all is tracked again, once: {machine.points()}")
    machine.up.close()
    machine.start()  # from now on as ever
    wait_until(lambda: machine.points() == list(range(1, 20)), "well")
    assert not machine.said("tracking", "database-behind")


WAITING = 'id: waiting\ntasks: [{ id: work, command: ["true"] }]\n'


def test_a_try_whose_event_is_lost_is_cleared(machine):
    """The scheduler has queued it, and the restored broker does not know: nobody takes it until somebody says so."""
    (machine.folder / "workflows/waiting.yaml").write_text(WAITING)
    state = lambda: machine.get("/api/workflows/waiting/runs/r1").json["state"]
    machine.up.close()
    machine.start()
    copy = machine.folder / "copy"
    wait_until(lambda: machine.get("/api/workflows/waiting/runs").status == 200, "the workflow is known")
    machine.up.close()
    shutil.copytree(machine.folder / "bus", copy)
    machine.start()
    wait_until(lambda: machine.post("/api/workflows/waiting/runs", {"workflow_run_id": "r1"}).status == 200, "a run is taken")
    wait_until(lambda: machine.events("task.queued"), "it is queued, and there is no runner")
    wait_until(lambda: machine.outbox() == 0, "the scheduler knows that it was told")
    restored(machine, copy)
    text = (machine.folder / "stack.yaml").read_text()
    (machine.folder / "stack.yaml").write_text(text + "  hands: { kind: runner, dir: hands }\n")
    machine.start()
    wait_until(lambda: machine.get("/api/workflows/waiting/runs").status == 200, "the workflow is known")
    ok("workflow", "cancel", "waiting", "r1", url=machine.url)
    wait_until(lambda: state() == "failed", f"{state()}")
    ok("workflow", "clear", "waiting", "r1", url=machine.url)
    wait_until(lambda: state() == "success", f"it runs: {state()}")


def test_a_scheduler_whose_database_is_an_older_copy_makes_the_runs_again(machine):
    """Triggers go on behind the last event that it knows of; the same event makes a run of the same name."""
    machine.listen()
    machine.tell("thing.happened", {"n": 1})
    wait_until(lambda: machine.triggered() == [1], "a run")
    machine.up.close()
    copy = {file: file.read_bytes() for file in machine.folder.glob("scheduler.db*")}
    machine.start()
    for number in range(2, 6):
        machine.tell("thing.happened", {"n": number})
    wait_until(lambda: machine.triggered() == [1, 2, 3, 4, 5], "runs")
    names = machine.names()
    machine.up.close()
    for file in machine.folder.glob("scheduler.db*"):
        file.unlink()
    for file, content in copy.items():
        file.write_bytes(content)
    machine.start()
    wait_until(lambda: machine.triggered() == [1, 2, 3, 4, 5] and machine.names() == names, "the same runs")
