# SPDX-License-Identifier: Apache-2.0
"""What an older build left is found by this one: fixtures/var-0.1.0-artifacts.tar.xz was made by make_var_fixture.sh with the code as
it was when the artifacts node was finished, and holds the topologies that it ran. Nothing is converted by hand."""
import json
import pathlib
import subprocess
import urllib.error
import urllib.request

import pytest

import wandb_file
from bus import PATIENCE_S, ROOT, free_base
from cli import Background, objects, ok, run, wait_until

FIXTURE = pathlib.Path(__file__).parent / "fixtures" / "var-0.1.0-artifacts.tar.xz"


class Old:
    """The fixture in a folder, and the present `up` on one of its topologies."""

    def __init__(self, folder, topology):
        subprocess.run(["tar", "xJf", FIXTURE, "-C", folder, "--no-same-owner"], check=True)
        self.folder, self.base, self.http = folder, free_base(), free_base()
        self.url = f"tcp://127.0.0.1:{self.base}"
        self.before = self.rows()
        self.up = Background("up", f"config/{topology}.yaml", cwd=folder, LINESHAFT_PORT=str(self.base), LINESHAFT_HTTP_PORT=str(self.http))
        self.up.wait_for("broker-ready")

    def get(self, path, body=None):
        """The answer's body and headers; None while there is none."""
        data = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", data), timeout=PATIENCE_S) as answer:
                return answer.read(), answer.headers
        except (urllib.error.URLError, ConnectionError):
            return None

    def json(self, path, body=None):
        found = []
        wait_until(lambda: found.append(self.get(path, body)) or found[-1], f"{path} answers")
        return json.loads(found[-1][0])

    def rows(self):
        return {file.name: wandb_file.rows(file) for file in self.folder.glob("var/wandb/offline-run-*/*.wandb")}

    def events(self, topic):
        return objects(ok("tail", topic, "--all", "--no-follow", "--json", url=self.url))


@pytest.fixture
def old(tmp_path):
    made = []

    def start(topology):
        made.append(Old(tmp_path, topology))
        return made[-1]

    yield start
    for one in made:
        one.up.close()


def test_events_and_a_consumers_position_are_found(old):
    hello = old("hello")
    assert [e["data"]["name"] for e in hello.events("hello.said")] == ["Ada", "Grace"]
    ok("pub", "hello.said", '{"name": "Mary"}', url=hello.url)
    wait_until(lambda: len(hello.events("hello.answered")) == 3, "the new one is answered")
    assert [e["data"]["text"] for e in hello.events("hello.answered")] == ["Hello, Ada!", "Hello, Grace!", "Hello, Mary!"]
    greeter = json.loads(ok("consumer", "info", "greeter", "--json", url=hello.url))
    assert greeter["pending"] == 0 and greeter["acked"] == 1  # by this broker: the two old ones were not given out again


def test_runs_models_workflows_files_and_charts_go_on(old):
    quick = old("quickstart")
    # The model serves from where it was, and the tracker knows it.
    version = quick.json("/api/2.0/mlflow/registered-models/alias?name=fortunes&alias=champion")["model_version"]
    messages = {"model": "fortunes", "messages": [{"role": "user", "content": "The shaft"}]}
    quick.json("/v1/chat/completions", messages)
    assert quick.get("/v1/chat/completions", messages)[1]["x-lineshaft-version"] == version["version"] == "1"
    assert version["run_id"] == quick.events("run.created")[0]["data"]["run_id"]
    history = quick.json(f"/api/2.0/mlflow/metrics/get-history?run_id={version['run_id']}&metric_key=perplexity")["metrics"]
    assert [m["step"] for m in history] == [1, 2]
    assert {tag["key"] for tag in version["tags"]} >= {"eval.perplexity"}
    # The file, the feedback that a consumer has yet to take, the history of workflows.
    assert quick.json("/api/workflows/train/runs/r1")["state"] == "success"
    assert [r["state"] for r in quick.json("/api/workflows/evaluate/runs")["runs"]] == ["success"]
    wait_until(lambda: quick.get("/api/artifacts/notes/note.txt"), "the artifact is served")
    assert quick.get("/api/artifacts/notes/note.txt")[0] == b"a note\n"
    assert json.loads(ok("consumer", "info", "my-report", "--json", url=quick.url))["pending"] == 1
    # A second training: version 2 under the old name; the trigger fires for it alone, and charts go on behind the old rows.
    ok("workflow", "run", "train", "--run", "r2", "-i", "order=2", "-i", f"text={quick.folder}/text.txt", url=quick.url)
    wait_until(lambda: quick.json("/api/workflows/train/runs/r2")["state"] == "success", "the second training ends")
    wait_until(lambda: [r["state"] for r in quick.json("/api/workflows/evaluate/runs")["runs"]] == ["success"] * 2, "and is measured")
    assert [e["data"]["version"] for e in quick.events("model.version.created")] == ["1", "2"]
    wait_until(lambda: len(quick.rows()) == 2 * len(quick.before), "its runs are charted")
    assert {name: rows for name, rows in quick.rows().items() if name in quick.before} == quick.before
    assert not [line for line in quick.up.seen if " error " in line]


def test_rows_of_a_run_that_had_begun_go_on_where_they_were(old):
    quick = old("quickstart")
    [run_id] = {e["data"]["run_id"] for e in quick.events("run.created")}
    name = f"run-{run_id}.wandb"
    rows = len(quick.before[name])
    ok("pub", "run.metric", json.dumps({"run_id": run_id, "key": "late", "value": 0.5, "step": 1000}), url=quick.url)
    wait_until(lambda: any("late" in row for row in quick.rows().get(name, [])), "the new point is charted")
    found = quick.rows()[name]
    assert found[:rows] == quick.before[name] and len(found) == rows + 1 and found[-1]["_step"] == 1000
