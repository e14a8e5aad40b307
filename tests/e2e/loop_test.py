# SPDX-License-Identifier: Apache-2.0
"""The loop that config/quickstart.yaml closes: a workflow trains a model, its metrics are tracked and charted, the file is stored and
registered, the alias moves, the chat answers with it. And the same with kill -9 of everything at a random event in between: the loop
completes, each metric is there once, the artifact's hash is right, and the promoted version serves.

LOOP_KILLS=50 is the long form; LOOP_SEED repeats one."""
import hashlib
import json
import os
import pathlib
import random
import re
import signal
import urllib.error
import urllib.request

import pytest

import wandb_file
from bus import PATIENCE_S, ROOT, free_base
from cli import Background, objects, ok, run, wait_until

KILLS = int(os.environ.get("LOOP_KILLS", "4"))
SEED = int(os.environ.get("LOOP_SEED", "0"))
ORDERS = 3                  # of the model: small, so that a loop takes a second or two
AXIS = "lineshaft/step"
METRICS = {"perplexity": ORDERS, "bits_per_character": ORDERS, "ngrams": ORDERS}
EVENTS = 70                 # of a loop, about; the one after which everything is killed is drawn from them


def descendants(pid):
    """All processes below this one, from /proc."""
    parents = {}
    for entry in pathlib.Path("/proc").iterdir():
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except (ValueError, OSError):
            pass
    found, new = set(), {pid}
    while new:
        found |= new
        new = {child for child, parent in parents.items() if parent in found} - found
    return found


class Loop:
    """The quick start in a folder of its own."""

    def __init__(self, folder):
        self.folder = folder
        self.base, self.http = free_base(), free_base()
        self.workflows = folder / "workflows"
        self.workflows.mkdir()
        for name in ("train", "evaluate"):
            source = (ROOT / "config/workflows" / f"{name}.yaml").read_text()
            (self.workflows / f"{name}.yaml").write_text(source.replace("delay: 2s", "delay: 100ms").replace("delay: 1s", "delay: 100ms")
                                                         .replace("/usr/share/games/fortunes", "/usr/share/games/fortunes/computers"))
        topology = (ROOT / "config/quickstart.yaml").read_text().replace("config/workflows", str(self.workflows))
        (folder / "quickstart.yaml").write_text(topology)
        self.env = {"LINESHAFT_PORT": str(self.base), "LINESHAFT_HTTP_PORT": str(self.http), "LINESHAFT_DATA": str(folder / "var")}
        self.url = f"tcp://127.0.0.1:{self.base}"
        self.up = None

    def start(self):
        self.up = Background("up", str(self.folder / "quickstart.yaml"), cwd=self.folder, **self.env)

    def kill_all(self):
        """Everything at once, as a machine that loses its power."""
        pids = descendants(self.up.process.pid)
        for sig in (signal.SIGSTOP, signal.SIGKILL):   # stopped first, so that nobody sees another's death
            for pid in pids | descendants(self.up.process.pid):
                try:
                    os.kill(pid, sig)
                except ProcessLookupError:
                    pass
        self.up.process.wait()

    def close(self):
        if self.up:
            self.up.close()

    def get(self, path, body=None, raw=False):
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", data), timeout=PATIENCE_S) as answer:
            return (answer.read(), answer.headers) if raw else json.load(answer)

    def ask(self, path, body=None, raw=False):
        """The same, or None while it is not there."""
        try:
            return self.get(path, body, raw)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return None

    def begin(self):
        """Starts the run, once: its id may be sent again."""
        wait_until(lambda: run("workflow", "run", "train", "--run", "r1", "-i", f"order={ORDERS}", url=self.url).status == 0, "begun")

    def watch(self, nth):
        """Until the nth event is on disk, or the run is over."""
        with Background("tail", ">", "--all", "--follow", url=self.url) as tail:
            for _ in range(nth):
                if "workflow.run.succeeded" in tail.wait_for(""):
                    break

    def state(self):
        answer = self.ask("/api/workflows/train/runs/r1")
        return answer and answer["state"]

    def finish(self):
        wait_until(lambda: self.state() in ("success", "failed"), f"the run is over: {self.state()}")
        assert self.state() == "success", ok("workflow", "show", "train", "r1", url=self.url)

    # ---- what must hold at the end ----

    def check(self):
        champion = "/api/2.0/mlflow/registered-models/alias?name=fortunes&alias=champion"
        wait_until(lambda: self.ask(champion), "the tracker serves again")
        version = self.get(champion)["model_version"]
        self.check_metrics(version["run_id"])
        self.check_artifact(version)
        self.check_chat(version)
        self.check_charts(version["run_id"])
        return version

    def check_metrics(self, run_id):
        assert self.get(f"/api/2.0/mlflow/runs/get?run_id={run_id}")["run"]["info"]["status"] == "FINISHED"
        for key, count in METRICS.items():
            history = self.get(f"/api/2.0/mlflow/metrics/get-history?run_id={run_id}&metric_key={key}")["metrics"]
            assert sorted(int(m["step"]) for m in history) == list(range(1, count + 1)), (key, history)

    def check_artifact(self, version):
        path = version["source"].split(":", 1)[1].lstrip("/")
        stored = [e["data"] for e in objects(ok("tail", "artifact.stored", "--all", "--no-follow", "--json", url=self.url))]
        [told] = {e["sha256"] for e in stored if e["path"] == path}
        content, _ = self.get(f"/api/artifacts/{path}", raw=True)
        assert hashlib.sha256(content).hexdigest() == told

    def check_chat(self, version):
        """Both replicas have it in the end; every answer names its version."""
        def answered():
            messages = [{"role": "user", "content": "Computers"}]
            answer = self.ask("/v1/chat/completions", {"model": "fortunes", "messages": messages}, raw=True)
            return answer and answer[1]["x-lineshaft-version"]
        wait_until(lambda: {answered() for _ in range(6)} == {version["version"]}, "the promoted version serves")

    def check_charts(self, run_id):
        """The .wandb file of the run has each point once."""
        def points():
            files = self.folder.glob(f"var/wandb/offline-run-*-{run_id}/run-{run_id}.wandb")
            rows = [row for file in files for row in wandb_file.rows(file)]
            return sorted((key, row.get(AXIS, row["_step"])) for row in rows for key in METRICS if key in row)
        expected = sorted((key, step) for key, count in METRICS.items() for step in range(1, count + 1))
        wait_until(lambda: len(points()) >= len(expected), f"all points are in the .wandb file: {points()}")
        assert points() == expected


@pytest.fixture
def loop(tmp_path):
    loop = Loop(tmp_path)
    yield loop
    loop.close()


def test_the_loop_closes(loop):
    loop.start()
    loop.begin()
    loop.finish()
    loop.check()


@pytest.mark.parametrize("number", range(KILLS))
def test_the_loop_closes_whenever_everything_is_killed(loop, number):
    nth = random.Random(f"{SEED}-{number}").randint(1, EVENTS)
    loop.start()
    loop.begin()
    loop.watch(nth)
    loop.kill_all()
    loop.start()
    loop.begin()
    loop.finish()
    version = loop.check()
    assert re.fullmatch(r"\d+", version["version"])
