# SPDX-License-Identifier: Apache-2.0
"""The tracker as its callers see it: MLflow's REST API over `ingress`, and requests over the bus, on SQLite and on PostgreSQL."""
import itertools
import json
import re
import subprocess
import threading
from urllib.parse import urlencode

import pytest

from bus import PATIENCE_S
from cli import TRACE, ok, run, wait_until
from postgres import Postgres, program
from stack import Stack

NODES = """
  door:     {{ kind: ingress, listen: "{http}" }}
  tracking: {{ kind: tracker, database: "%s", artifact_root: "file:files" }}
"""
API = "/api/2.0/mlflow"
INVALID, ABSENT, EXISTS = (400, "INVALID_PARAMETER_VALUE"), (404, "RESOURCE_DOES_NOT_EXIST"), (400, "RESOURCE_ALREADY_EXISTS")
NAMES = iter(range(1, 1000000))


class Refused(Exception):
    def __init__(self, status, code, message):
        super().__init__(f"{status} {code}: {message}")
        self.kind, self.message = (status, code), message


class Api:
    """The REST API: a dict comes back, Refused is raised."""

    def __init__(self, stack):
        self.stack = stack

    def call(self, method, path, /, _api=API, **fields):
        if method == "GET":
            answer = self.stack.call("GET", f"{_api}/{path}?{urlencode(fields, doseq=True)}")
        else:
            answer = self.stack.call(method, f"{_api}/{path}", fields)
        body = answer.json
        assert answer.headers["Content-Type"] == "application/json"
        if answer.status != 200:
            assert set(body) == {"error_code", "message"}, body
            raise Refused(answer.status, body["error_code"], body["message"])
        return body

    def post(self, path, /, **fields):
        return self.call("POST", path, **fields)

    def get(self, path, /, **fields):
        return self.call("GET", path, **fields)

    def experiment(self, **fields):
        return self.post("experiments/create", name=f"e{next(NAMES)}", **fields)["experiment_id"]

    def experiment_named(self, name):
        return self.post("experiments/create", name=name)["experiment_id"]

    def run(self, experiment=None, **fields):
        return self.post("runs/create", experiment_id=experiment or self.experiment(), **fields)["run"]["info"]["run_id"]

    def data(self, run):
        """{metrics, params, tags} of a run as dicts."""
        data = self.get("runs/get", run_id=run)["run"]["data"]
        return {name: {item["key"]: item["value"] for item in data.get(name, [])} for name in ("metrics", "params", "tags")}

    def search(self, experiments, **fields):
        answer = self.post("runs/search", experiment_ids=experiments, **fields)
        return [run["info"]["run_name"] for run in answer.get("runs", [])]

    def model(self, **fields):
        return self.post("registered-models/create", name=f"m{next(NAMES)}", **fields)["registered_model"]["name"]

    def version(self, name, source="s3://bucket/model", **fields):
        return self.post("model-versions/create", name=name, source=source, **fields)["model_version"]["version"]


def refused(kind, call, *args, says="", **fields):
    with pytest.raises(Refused) as caught:
        call(*args, **fields)
    assert caught.value.kind == kind and says in caught.value.message, caught.value
    return caught.value.message


@pytest.fixture(scope="module")
def postgres():
    with Postgres() as server:
        yield server


def begin(folder, url):
    stack = Stack(folder, NODES % url)
    api = Api(stack)

    def there():
        answer = stack.get(f"{API}/experiments/get?experiment_id=0")
        return answer.status == 200

    wait_until(there, "the tracker answers")
    return stack, api


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def api(request, tmp_path_factory):
    url = "sqlite:tracker.db" if request.param == "sqlite" else request.getfixturevalue("postgres").url
    stack, api = begin(tmp_path_factory.mktemp(request.param), url)
    yield api
    stack.close()
    print("--- what `up` showed ---", *stack.up.seen, *stack.up.lines.queue, sep="\n")


# ---- experiments

def test_an_experiment_from_creation_to_deletion(api):
    name = f"life{next(NAMES)}"
    id = api.post("experiments/create", name=name, tags=[{"key": "team", "value": "nlp"}])["experiment_id"]
    assert id.isdigit()
    experiment = api.get("experiments/get", experiment_id=id)["experiment"]
    assert experiment["name"] == name and experiment["lifecycle_stage"] == "active" and experiment["tags"] == [{"key": "team",
                                                            "value": "nlp"}]
    assert experiment["artifact_location"].startswith("file:///") and experiment["artifact_location"].endswith(f"/files/{id}")
    assert experiment["creation_time"] == experiment["last_update_time"] > 1.6e12
    assert api.get("experiments/get-by-name", experiment_name=name)["experiment"] == experiment
    api.post("experiments/update", experiment_id=id, new_name=name + "'")
    api.post("experiments/set-experiment-tag", experiment_id=id, key="stage", value="é\"'; --")
    api.post("experiments/delete-experiment-tag", experiment_id=id, key="team")
    changed = api.get("experiments/get", experiment_id=id)["experiment"]
    assert changed["name"] == name + "'" and changed["tags"] == [{"key": "stage", "value": "é\"'; --"}]
    assert changed["last_update_time"] >= experiment["last_update_time"]
    run = api.run(id)
    assert api.post("experiments/delete", experiment_id=id) == {}
    assert api.get("experiments/get-by-name", experiment_name=name + "'")["experiment"]["lifecycle_stage"] == "deleted"
    assert api.get("runs/get", run_id=run)["run"]["info"]["lifecycle_stage"] == "deleted"
    refused(ABSENT, api.post, "experiments/delete", experiment_id=id)
    refused(INVALID, api.post, "experiments/set-experiment-tag", experiment_id=id, key="a", value="b", says="active")
    refused(INVALID, api.post, "runs/create", experiment_id=id, says="active")
    refused((400, "INVALID_STATE"), api.post, "experiments/update", experiment_id=id, new_name="other")
    refused(EXISTS, api.post, "experiments/create", name=name + "'", says="deleted")
    api.post("experiments/restore", experiment_id=id)
    assert api.get("runs/get", run_id=run)["run"]["info"]["lifecycle_stage"] == "active"
    refused(ABSENT, api.post, "experiments/restore", experiment_id=id)


def test_experiments_refused(api):
    id = api.experiment()
    name = api.get("experiments/get", experiment_id=id)["experiment"]["name"]
    refused(EXISTS, api.post, "experiments/create", name=name)
    refused(INVALID, api.post, "experiments/create", says="'name'")
    refused(INVALID, api.post, "experiments/create", name=7, says="must be a string")
    refused(INVALID, api.post, "experiments/create", name="x" * 257, says="too long")
    refused(INVALID, api.get, "experiments/get", experiment_id="seven")
    refused(ABSENT, api.get, "experiments/get", experiment_id="2000000000")
    refused(ABSENT, api.get, "experiments/get", experiment_id="99999999999999999999")
    refused(ABSENT, api.get, "experiments/get-by-name", experiment_name="no such thing")
    refused(ABSENT, api.post, "experiments/delete-experiment-tag", experiment_id=id, key="none")
    refused(INVALID, api.post, "experiments/search", says="max_results")


def test_what_is_sent_again_with_its_key_is_done_once(api):
    name = f"e{next(NAMES)}"
    def create(key, name=name):
        return api.stack.call("POST", f"{API}/experiments/create", {"name": name}, {"idempotency-key": key})
    key = f"mine-{name}"
    first = create(key)
    assert first.status == 200
    again = create(key)
    assert (again.status, again.json) == (200, first.json)
    assert create(f"other-{name}").json["error_code"] == EXISTS[1]
    taken = f"e{next(NAMES)}"
    there = api.experiment_named(taken)
    assert create(f"late-{name}", taken).status == 400   # what failed is not remembered
    api.post("experiments/update", experiment_id=there, new_name=f"e{next(NAMES)}")
    assert create(f"late-{name}", taken).status == 200


def test_the_key_of_one_principal_is_not_that_of_another(api):
    peer, rids = api.stack.dealer("asker"), itertools.count(1)
    def create(principal, name):
        peer.send("REQ", {"rid": next(rids), "topic": "tracker.experiments.create", "parts": 1, "timeout": PATIENCE_S * 1000,
                          "principal": principal, "idempotencykey": "1"}, json.dumps({"name": name}).encode())
        return json.loads(peer.expect("REP").frames[-1])["experiment_id"]
    first, second = f"e{next(NAMES)}", f"e{next(NAMES)}"
    alice, bob = create("alice", first), create("bob", second)
    assert alice != bob and create("alice", first) == alice and create("bob", second) == bob
    peer.close()


def test_experiments_are_searched_in_pages(api):
    prefix = f"page{next(NAMES)}-"
    ids = [api.post("experiments/create", name=f"{prefix}{i}", tags=[{"key": "n", "value": str(i)}])["experiment_id"] for i in range(5)]
    api.post("experiments/delete", experiment_id=ids[4])
    seen, token = [], None
    while True:
        page = api.post("experiments/search", max_results=2, filter=f"name LIKE '{prefix}%'", order_by=["name DESC"],
                        **({"page_token": token} if token else {}))
        seen += [e["name"] for e in page["experiments"]]
        token = page.get("next_page_token")
        if not token:
            break
    assert seen == [f"{prefix}{i}" for i in (3, 2, 1, 0)]
    find = lambda **f: [e["name"][len(prefix):] for e in api.get("experiments/search", max_results=10, **f).get("experiments", [])]
    assert find(filter=f"name ILIKE '{prefix.upper()}%' AND tags.n = '2'") == ["2"]
    assert find(filter=f"name LIKE '{prefix}%'", view_type="ALL")[0] == "4"
    assert find(filter=f"name LIKE '{prefix}%'", view_type=2) == ["4"]
    assert api.post("experiments/search", max_results=1, filter="name = 'nothing'") == {}
    refused(INVALID, api.post, "experiments/search", max_results=1, page_token="!!")
    refused(INVALID, api.post, "experiments/search", max_results=1, filter="loss < 1", says="no attribute of an experiment")


# ---- runs

def test_a_run_from_creation_to_deletion(api):
    experiment = api.experiment()
    run = api.post("runs/create", experiment_id=experiment, user_id="ada", start_time=1700000000000, run_name="first",
                   tags=[{"key": "mlflow.user", "value": "ada"}, {"key": "weird \"key\"'s/x"[:5], "value": "1"}])["run"]
    info = run["info"]
    assert re.fullmatch("[0-9a-f]{32}", info["run_id"]) and info["run_uuid"] == info["run_id"]
    assert info["artifact_uri"].endswith(f"/files/{experiment}/{info['run_id']}/artifacts")
    assert {k: info[k] for k in ("run_name", "experiment_id", "user_id", "status", "start_time", "lifecycle_stage")} == {
        "run_name": "first", "experiment_id": experiment, "user_id": "ada", "status": "RUNNING", "start_time": 1700000000000,
        "lifecycle_stage": "active"}
    assert "end_time" not in info and run["inputs"] == {} and "outputs" not in run and "metrics" not in run["data"]
    id = info["run_id"]
    assert api.data(id)["tags"] == {"mlflow.user": "ada", "mlflow.runName": "first", "weird": "1"}
    updated = api.post("runs/update", run_id=id, status="FINISHED", end_time=1700000001000, run_name="second")["run_info"]
    assert (updated["status"], updated["end_time"], updated["run_name"]) == ("FINISHED", 1700000001000, "second")
    assert api.data(id)["tags"]["mlflow.runName"] == "second"
    assert api.post("runs/update", run_uuid=id, status=5)["run_info"]["status"] == "KILLED"
    api.post("runs/set-tag", run_id=id, key="mlflow.runName", value="third")
    assert api.get("runs/get", run_uuid=id)["run"]["info"]["run_name"] == "third"
    assert api.post("runs/delete", run_id=id) == {} == api.post("runs/delete", run_id=id)
    assert api.get("runs/get", run_id=id)["run"]["info"]["lifecycle_stage"] == "deleted"
    for path, fields in {"runs/update": {"status": "FAILED"}, "runs/set-tag": {"key": "a", "value": "b"},
                         "runs/log-parameter": {"key": "a", "value": "b"},
                         "runs/log-metric": {"key": "a", "value": 1, "timestamp": 1}, "runs/log-batch": {}, "runs/log-inputs": {}}.items():
        refused(INVALID, api.post, path, run_id=id, says="must be in the 'active' state", **fields)
    assert api.search([experiment]) == [] and api.search([experiment], run_view_type="DELETED_ONLY") == ["third"]
    assert api.post("runs/restore", run_id=id) == {} == api.post("runs/restore", run_id=id)
    assert api.search([experiment]) == ["third"]


def test_a_run_without_a_name_gets_one(api):
    info = api.post("runs/create", experiment_id=api.experiment())["run"]["info"]
    assert re.fullmatch(r"[a-z]+-[a-z]+-\d{1,3}", info["run_name"]) and len(info["run_name"]) <= 20
    assert api.data(info["run_id"])["tags"] == {"mlflow.runName": info["run_name"]}


def test_runs_refused(api):
    id = api.run()
    refused(ABSENT, api.get, "runs/get", run_id="0" * 32)
    refused(INVALID, api.get, "runs/get", says="'run_id'")
    refused(INVALID, api.post, "runs/create", says="experiment_id")
    refused(ABSENT, api.post, "runs/create", experiment_id="1999999999")
    refused(INVALID, api.post, "runs/create", experiment_id="0", run_name="a", tags=[{"key": "mlflow.runName", "value": "b"}],
            says="different values")
    refused(INVALID, api.post, "runs/create", experiment_id="0", tags={"a": "b"}, says="must be a list")
    refused(INVALID, api.post, "runs/update", run_id=id, status="DONE")
    refused(ABSENT, api.post, "runs/set-tag", run_id="none", key="a", value="b")
    refused(ABSENT, api.post, "runs/delete-tag", run_id=id, key="none")
    for key in ("../x", "/x", "a//b", "a/", "a\nb", "a*b", "x" * 251, ""):
        refused(INVALID, api.post, "runs/set-tag", run_id=id, key=key, value="b")
    api.post("runs/set-tag", run_id=id, key="a/b c.d:e-f_ä", value="")
    api.post("runs/delete-tag", run_id=id, key="a/b c.d:e-f_ä")
    assert list(api.data(id)["tags"]) == ["mlflow.runName"]


# ---- logging

def test_metrics_keep_their_history_and_the_latest(api):
    id = api.run()
    for value, step, timestamp in ((0.5, 1, 10), (0.25, 2, 20), (0.75, 0, 30), (0.125, 2, 19), (0.25, 2, 20)):
        assert api.post("runs/log-metric", run_id=id, key="loss", value=value, step=step, timestamp=timestamp) == {}
    metric, = api.get("runs/get", run_id=id)["run"]["data"]["metrics"]
    assert metric == {"key": "loss", "value": 0.25, "timestamp": 20, "step": 2}
    history = api.get("metrics/get-history", run_id=id, metric_key="loss")["metrics"]
    assert [(m["value"], m["step"], m["timestamp"]) for m in history] == [(0.5, 1, 10), (0.125, 2, 19), (0.25, 2, 20), (0.75, 0, 30)]
    page = api.get("metrics/get-history", run_id=id, metric_key="loss", max_results=3)
    rest = api.get("metrics/get-history", run_id=id, metric_key="loss", max_results=3, page_token=page["next_page_token"])
    assert page["metrics"] + rest["metrics"] == history and "next_page_token" not in rest
    assert api.get("metrics/get-history", run_id=id, metric_key="none") == {}
    refused(INVALID, api.get, "metrics/get-history", run_id=id, says="metric_key")


def test_numbers_that_are_not_finite_travel_as_texts(api):
    id = api.run()
    for i, value in enumerate(("NaN", "Infinity", "-Infinity", "1e-300", 5)):
        api.post("runs/log-metric", run_id=id, key=f"m{i}", value=value, timestamp="7", step="3")
    metrics = api.data(id)["metrics"]
    assert metrics == {"m0": "NaN", "m1": 1.7976931348623157e308, "m2": -1.7976931348623157e308, "m3": 1e-300, "m4": 5.0}
    answer = api.stack.call("POST", f"{API}/runs/log-metric", '{"run_id": "%s", "key": "x", "value": NaN, "timestamp": 1}' % id)
    assert answer.status == 400 and '"NaN"' in answer.json["message"] and answer.json["error_code"] == "INVALID_PARAMETER_VALUE"
    for fields in ({"value": "much"}, {"value": 1, "timestamp": -1}, {"value": 1, "step": 1.5}, {"value": [1]}, {},
                   {"value": 1, "timestamp": None}):
        refused(INVALID, api.post, "runs/log-metric", run_id=id, key="x", **{"timestamp": 1, **fields})


def test_parameters_are_written_once(api):
    id = api.run()
    api.post("runs/log-parameter", run_id=id, key="lr", value="0.1")
    api.post("runs/log-parameter", run_id=id, key="lr", value="0.1")
    api.post("runs/log-parameter", run_id=id, key="empty")
    refused(INVALID, api.post, "runs/log-parameter", run_id=id, key="lr", value="0.2", says="Changing param values is not allowed")
    refused(INVALID, api.post, "runs/log-batch", run_id=id, params=[{"key": "x", "value": "1"}, {"key": "lr", "value": "9"}],
            says="Changing param")
    refused(INVALID, api.post, "runs/log-batch", run_id=id, params=[{"key": "x", "value": "1"}] * 2, says="Duplicate")
    assert api.data(id)["params"] == {"lr": "0.1", "empty": ""}


def test_a_batch_is_all_or_none_and_can_be_repeated(api):
    id = api.run()
    metrics = [{"key": f"m/{i % 10}", "value": i / 7, "timestamp": 1000 + i, "step": i} for i in range(800)]
    batch = dict(metrics=metrics, params=[{"key": f"p{i}", "value": str(i)} for i in range(100)],
                 tags=[{"key": f"t{i}", "value": "ü"} for i in range(100)])
    for _ in range(2):
        assert api.post("runs/log-batch", run_id=id, **batch) == {}
    data = api.data(id)
    assert data["metrics"] == {f"m/{i % 10}": i / 7 for i in range(800)} and len(data["params"]) == 100 and len(data["tags"]) == 101
    assert len(api.get("metrics/get-history", run_id=id, metric_key="m/3")["metrics"]) == 80
    other = api.run()
    for bad in ({"metrics": metrics + metrics[:201]}, {"params": [{"key": f"p{i}", "value": ""} for i in range(101)]},
                {"tags": [{"key": "a b*", "value": ""}]},
                {"metrics": metrics + [{"key": "x", "value": "?", "timestamp": 1}]}, {**batch, "metrics": metrics + metrics[:1]}):
        refused(INVALID, api.post, "runs/log-batch", run_id=other, **bad)
    assert api.data(other)["metrics"] == {} == api.data(other)["params"]


def test_long_values_are_cut_and_others_refused(api):
    id = api.run()
    api.post("runs/log-parameter", run_id=id, key="long", value="é" * 100000)
    api.post("runs/set-tag", run_id=id, key="long", value="é" * 8001)
    data = api.data(id)
    assert data["params"]["long"] == "é" * 6000 and data["tags"]["long"] == "é" * 8000
    refused(INVALID, api.post, "experiments/set-experiment-tag", experiment_id="0", key="a", value="x" * 5001, says="too long")


def test_data_sets_and_models_of_a_run(api):
    id = api.run()
    dataset = {"name": "d", "digest": "abc", "source_type": "local", "source": "{}", "schema": "s"}
    api.post("runs/log-inputs", run_id=id, datasets=[{"dataset": dataset,
                                                      "tags": [{"key": "mlflow.data.context", "value": "train"}]}],
                                                      models=[{"model_id": "m-1"}])
    api.post("runs/log-inputs", run_id=id, datasets=[{"dataset": dataset, "tags": [{"key": "mlflow.data.context", "value": "train"}]}])
    api.post("runs/outputs", run_id=id, models=[{"model_id": "m-2", "step": 4}])
    run = api.get("runs/get", run_id=id)["run"]
    assert run["inputs"] == {"dataset_inputs": [{"dataset": dataset, "tags": [{"key": "mlflow.data.context", "value": "train"}]}],
                             "model_inputs": [{"model_id": "m-1"}]}
    assert run["outputs"] == {"model_outputs": [{"model_id": "m-2", "step": 4}]}
    experiment = run["info"]["experiment_id"]
    assert api.search([experiment], filter="datasets.name = 'd' AND dataset.context = 'train'") == [run["info"]["run_name"]]
    assert api.search([experiment], filter="datasets.digest = 'zzz'") == []
    refused(INVALID, api.post, "runs/log-inputs", run_id=id, datasets=[{"dataset": {"name": "d"}}], says="digest")


def test_the_same_data_set_in_two_experiments_is_shown_once_in_each(api):
    dataset = {"name": "both", "digest": "1", "source_type": "local", "source": "{}"}
    runs = [api.run() for _ in range(2)]
    for id in runs:
        api.post("runs/log-inputs", run_id=id, datasets=[{"dataset": dataset, "tags": [{"key": "a", "value": "b"}]}])
    for id in runs:
        assert api.get("runs/get", run_id=id)["run"]["inputs"]["dataset_inputs"] == [
            {"dataset": dataset, "tags": [{"key": "a", "value": "b"}]}]


def test_what_is_as_long_as_the_tables_allow_is_told_on_the_bus(api):
    """What the broker refuses would be in the tables and in no replay."""
    run, model = api.run(user_id="😀" * 256, start_time=253402300799999), f"😀{next(NAMES)}".rjust(256, "😀")
    deep = {}
    for _ in range(100):
        deep = {"a": deep}
    api.post("registered-models/create", name=model, description="é" * 5000, tags=[{"key": "é" * 250, "value": "é" * 5000}])
    api.version(model, tags=[{"key": "k", "value": "é" * 100000}], source="s3://b/" + "é" * 493)
    api.post("runs/log-inputs", run_id=run, models=[{"model_id": "m-1", "more": deep}], datasets=[
        {"dataset": {"name": "é" * 500, "digest": "é" * 36, "source_type": "é" * 36, "source": "é" * 65535, "more": deep}}])
    api.post("runs/set-tag", run_id=run, key="last", value="")
    refused(INVALID, api.post, "runs/update", run_id=run, end_time=253402300800000, says="end_time")
    refused(INVALID, api.post, "runs/create", experiment_id="0", start_time=253402300800000, says="start_time")

    def told(topic, **fields):
        return [e["topic"] for e in api.stack.events(topic) if fields.items() <= e["data"].items()]

    wait_until(lambda: told("run.", run_id=run)[-1:] == ["run.tag"], "the last event of the run")
    assert told("run.", run_id=run) == ["run.created", "run.input", "run.tag"]
    assert told("model.", name=model) == ["model.registered", "model.version.created"]


@pytest.mark.parametrize("shift", range(4))
def test_a_message_that_cuts_a_name_is_still_utf8(api, shift):
    refused(ABSENT, api.get, "runs/get", run_id="x" * shift + "😀" * 200, says="not found")
    refused(INVALID, api.post, "runs/search", experiment_ids=["0"], filter="x" * shift + "😀" * 200 + " = 1", says="no attribute")
    answer = run("req", "tracker.runs.get", json.dumps({"run_id": "x" * shift + "😀" * 200}), url=api.stack.url)
    assert answer.status and "not found" in answer.err


def test_models_of_mlflow_2_stand_in_a_tag(api):
    id = api.run()
    for path in ("model", "other"):
        model = {"artifact_path": path, "flavors": {}, "utc_time_created": "2026", "run_id": id}
        api.post("runs/log-model", run_id=id, model_json=json.dumps(model))
    assert [m["artifact_path"] for m in json.loads(api.data(id)["tags"]["mlflow.log-model.history"])] == ["model", "other"]
    refused(INVALID, api.post, "runs/log-model", run_id=id, model_json="{", says="Malformed")
    refused(INVALID, api.post, "runs/log-model", run_id=id, model_json="{}", says="artifact_path")


def test_histories_of_several_runs(api):
    runs = [api.run() for _ in range(2)]
    for run in runs:
        api.post("runs/log-batch", run_id=run, metrics=[{"key": "a", "value": i, "timestamp": i, "step": i} for i in range(1000)])
    bulk = api.call("GET", "metrics/get-history-bulk", _api="/ajax-api/2.0/mlflow", run_id=runs, metric_key="a",
                    max_results=1500)["metrics"]
    assert len(bulk) == 1500 and {m["run_id"] for m in bulk} == set(runs) and bulk[0]["key"] == "a"
    thin = api.get("metrics/get-history-bulk-interval", run_ids=runs, metric_key="a", max_results=10)["metrics"]
    steps = [m["step"] for m in thin if m["run_id"] == runs[0]]
    assert len(steps) == 10 and steps[0] == 0 and steps[-1] == 999 and steps == sorted(steps)
    thin = api.get("metrics/get-history-bulk-interval", run_ids=runs[0], metric_key="a", start_step=5, end_step=7)["metrics"]
    assert [m["step"] for m in thin] == [5, 6, 7]
    refused(INVALID, api.get, "metrics/get-history-bulk-interval", run_ids=runs, metric_key="a", start_step=5, says="both")


def test_files_of_a_run_are_listed(api):
    run = api.run()
    root = api.get("runs/get", run_id=run)["run"]["info"]["artifact_uri"]
    assert api.get("artifacts/list", run_id=run) == {"root_uri": root}
    folder = api.stack.folder / root.split(str(api.stack.folder) + "/")[1]
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "data.bin").write_bytes(b"12345")
    (folder / "note.txt").write_text("")
    assert api.get("artifacts/list", run_id=run)["files"] == [{"path": "model", "is_dir": True},
                                                            {"path": "note.txt", "is_dir": False, "file_size": 0}]
    assert api.get("artifacts/list", run_id=run, path="model")["files"] == [{"path": "model/data.bin", "is_dir": False, "file_size": 5}]
    for path in ("..", "a/../..", "/etc", "%2e%2e", "a\\b"):
        refused(INVALID, api.get, "artifacts/list", run_id=run, path=path)


# ---- searching runs

@pytest.fixture(scope="module")
def shelf(api):
    """Four runs a b c d in an experiment."""
    experiment = api.experiment()
    for i, name in enumerate("abcd"):
        run = api.run(experiment, run_name=name, user_id="ada" if i % 2 else "Bob", start_time=1000 * (i + 1))
        metrics = [{"key": "loss", "value": [0.5, 0.25, "NaN", 0.75][i], "timestamp": 1, "step": 0}] if name != "d" else []
        api.post("runs/log-batch", run_id=run, metrics=metrics + [{"key": "n it", "value": i, "timestamp": 1}],
                 params=[{"key": "lr", "value": str(i)}] if i else [], tags=[{"key": "Team.x", "value": f"T{i}_%"}])
    return experiment


@pytest.mark.parametrize("filter, names", [
    ("", "dcba"), ("metrics.loss < 0.5", "cb"), ("metrics.loss >= 0.25 and metric.`n it` <= 1", "ba"), ("params.lr = '1'", "b"),
    ("params.lr != '1'", "dc"), ("params.lr IS NULL", "a"), ("params.lr IS NOT NULL", "dcb"), ("tags.`Team.x` LIKE 'T%'", "dcba"),
    ("tags.Team.x LIKE 't%'", ""), ("tags.Team.x ILIKE 't1%'", "b"), ("tags.Team.x LIKE '__\\_%'", ""), ("user_id = 'ada'", "db"),
    ("attributes.user_id ILIKE 'b%'", "ca"), ("run_name = \"c\"", "c"), ("start_time > 1000 AND start_time < 4000", "cb"),
    ("status = 'RUNNING' AND run.start_time = 1000", "a"), ("tags.mlflow.runName = 'd'", "d"), ("params.lr = ''' OR 1=1 --'", ""),
    ("created >= 3000", "dc"),
])
def test_filters_find_runs(api, shelf, filter, names):
    assert "".join(api.search([shelf], filter=filter)) == names


@pytest.mark.parametrize("order, names", [
    (["metrics.loss"], "bacd"), (["metrics.loss DESC"], "abcd"), (["params.lr DESC"], "dcba"), (["start_time ASC"], "abcd"),
    (["attribute.user_id", "start_time DESC"], "cadb"), (["tags.`Team.x` DESC"], "dcba"), (["metric.nothing"],
                                                            "dcba"), (["end_time"], "dcba"),
])
def test_orders_of_runs(api, shelf, order, names):
    assert "".join(api.search([shelf], order_by=order)) == names


@pytest.mark.parametrize("sign", ["LIKE", "ILIKE"])
def test_patterns_have_a_greatest_length(api, shelf, sign):
    find = lambda count: api.search(["0"], filter=f"tags.mlflow.runName {sign} '{'[' * count}'")
    api.run("0")
    assert find(10000) == []
    refused(INVALID, find, 10001, says="near ''[[[")


def test_a_filter_by_ids_and_pages(api, shelf):
    runs = api.post("runs/search", experiment_ids=[shelf])["runs"]
    ids = [run["info"]["run_id"] for run in runs]
    assert api.search([shelf], filter=f"run_id IN ('{ids[0]}', '{ids[3]}')") == ["d", "a"]
    assert api.search([shelf], filter=f"attributes.run_id NOT IN ('{ids[0]}')") == ["c", "b", "a"]
    first = api.post("runs/search", experiment_ids=[shelf], max_results=3)
    second = api.post("runs/search", experiment_ids=[shelf], max_results=3, page_token=first["next_page_token"])
    assert first["runs"] + second["runs"] == runs and "next_page_token" not in second
    assert api.post("runs/search") == {} == api.post("runs/search", experiment_ids=["1999999"])
    got = api.get("runs/get", run_id=ids[1])["run"]
    assert sorted(got["data"]["metrics"], key=str) == sorted(runs[1]["data"]["metrics"], key=str) and got["info"] == runs[1]["info"]
    for bad in ({"filter": "loss < 1"}, {"filter": "metrics.loss < 1 OR a = 'b'"}, {"order_by": ["x"]}, {"max_results": 50001},
                {"max_results": 0},
                {"page_token": "e30="}, {"run_view_type": "SOME"}, {"filter": 5}):
        refused(INVALID, api.post, "runs/search", experiment_ids=[shelf], **bad)
    refused(INVALID, api.post, "runs/search", experiment_ids=["1; DROP TABLE runs"])


def test_a_large_answer_comes_whole(api):
    experiment = api.experiment()
    for _ in range(15):
        run = api.run(experiment)
        api.post("runs/log-batch", run_id=run, tags=[{"key": f"t{i}", "value": "ü\"" * 4000} for i in range(20)])
    runs = api.post("runs/search", experiment_ids=[experiment])["runs"]
    assert len(runs) == 15 and all(len(run["data"]["tags"]) == 21 for run in runs)
    assert all(tag["value"] == "ü\"" * 4000 for run in runs for tag in run["data"]["tags"] if tag["key"] != "mlflow.runName")


# ---- logged models

def test_a_logged_model_from_creation_to_deletion(api):
    experiment = api.experiment()
    run = api.run(experiment)
    model = api.post("logged-models", experiment_id=experiment, name="tiny", model_type="ngram", source_run_id=run,
                     params=[{"key": "order", "value": "5"}], tags=[{"key": "a", "value": "b"}])["model"]
    info, id = model["info"], model["info"]["model_id"]
    assert re.fullmatch("m-[0-9a-f]{32}", id) and info["status"] == "LOGGED_MODEL_PENDING" and info["name"] == "tiny"
    assert info["artifact_uri"].endswith(f"/{experiment}/models/{id}/artifacts") and info["source_run_id"] == run
    assert model["data"]["params"] == [{"key": "order", "value": "5"}]
    api.post(f"logged-models/{id}/params", params=[{"key": "more", "value": "1"}])
    api.call("PATCH", f"logged-models/{id}/tags", tags=[{"key": "a", "value": "c"}, {"key": "x/y", "value": ""}])
    api.call("DELETE", f"logged-models/{id}/tags/x%2Fy")
    assert api.call("PATCH", f"logged-models/{id}", status="LOGGED_MODEL_READY")["model"]["info"]["status"] == "LOGGED_MODEL_READY"
    api.post("runs/log-metric", run_id=run, key="acc", value=0.5, timestamp=1, step=2, model_id=id, dataset_name="d", dataset_digest="1")
    got = api.get(f"logged-models/{id}")["model"]
    assert got["info"]["tags"] == [{"key": "a", "value": "c"}] and len(got["data"]["params"]) == 2
    assert got["data"]["metrics"] == [{"key": "acc", "value": 0.5, "timestamp": 1, "step": 2, "run_id": run, "dataset_name": "d",
                                       "dataset_digest": "1",
                                       "model_id": id}]
    find = lambda **f: [m["info"]["model_id"] for m in api.post("logged-models/search", experiment_ids=[experiment], **f).get("models", [])]
    assert find(filter="name = 'tiny' AND params.order = '5' AND metrics.acc > 0.4 AND attributes.status = 'READY'") == [id]
    assert find(filter=f"model_id IN ('{id}')", order_by=[{"field_name": "metrics.acc", "ascending": False, "dataset_name": "d"}]) == [id]
    assert find(datasets=[{"dataset_name": "d"}]) == [id] and find(datasets=[{"dataset_name": "e"}]) == []
    refused(ABSENT, api.call, "DELETE", f"logged-models/{id}/tags/none")
    refused(INVALID, api.call, "PATCH", f"logged-models/{id}", status="LOGGED_MODEL_PENDING")
    api.call("DELETE", f"logged-models/{id}")
    refused(ABSENT, api.get, f"logged-models/{id}")
    assert api.get(f"logged-models/{id}", allow_deleted="true")["model"]["info"]["model_id"] == id and find() == []


def test_page_tokens_of_logged_models_belong_to_their_question(api):
    experiment = api.experiment()
    for i in range(3):
        api.post("logged-models", experiment_id=experiment, name=f"n{i}")
    first = api.post("logged-models/search", experiment_ids=[experiment], max_results=2)
    second = api.post("logged-models/search", experiment_ids=[experiment], max_results=2, page_token=first["next_page_token"])
    assert [m["info"]["name"] for m in first["models"] + second["models"]] == ["n2", "n1", "n0"]
    refused(INVALID, api.post, "logged-models/search", experiment_ids=[experiment], filter="name = 'n1'",
            page_token=first["next_page_token"])
    refused(INVALID, api.post, "logged-models", experiment_id=experiment, name="a/b")


# ---- registry

def test_a_registered_model_from_creation_to_deletion(api):
    name = f"Model {next(NAMES)}"
    model = api.post("registered-models/create", name=name, description="d", tags=[{"key": "a", "value": "b"}])["registered_model"]
    assert model["name"] == name and model["tags"] == [{"key": "a", "value": "b"}]
    assert model["creation_timestamp"] == model["last_updated_timestamp"]
    refused(EXISTS, api.post, "registered-models/create", name=name)
    api.post("registered-models/set-tag", name=name, key="c", value="d")
    assert api.call("DELETE", "registered-models/delete-tag", name=name, key="a") == {} == api.call("DELETE",
                                                            "registered-models/delete-tag", name=name, key="a")
    assert api.call("PATCH", "registered-models/update", name=name, description="new")["registered_model"]["description"] == "new"
    version = api.version(name)
    api.post("registered-models/alias", name=name, alias="champion", version=version)
    other = name + " renamed"
    assert api.post("registered-models/rename", name=name, new_name=other)["registered_model"]["name"] == other
    got = api.get("registered-models/get", name=other)["registered_model"]
    assert got["aliases"] == [{"alias": "champion", "version": "1"}] and got["tags"] == [{"key": "c", "value": "d"}]
    assert got["latest_versions"][0]["version"] == "1" and got["latest_versions"][0]["aliases"] == ["champion"]
    refused(EXISTS, api.post, "registered-models/rename", name=other, new_name=api.model())
    refused(ABSENT, api.get, "registered-models/get", name=name)
    refused(INVALID, api.post, "registered-models/create", name="a/b")
    assert api.call("DELETE", "registered-models/delete", name=other) == {}
    refused(ABSENT, api.call, "DELETE", "registered-models/delete", name=other)
    refused(ABSENT, api.get, "model-versions/get", name=other, version="1")


def test_versions_of_a_model(api):
    name = api.model()
    run = api.run()
    version = api.post("model-versions/create", name=name, source="mlflow-artifacts:/1/x/model", run_id=run, description="d", run_link="",
                       tags=[{"key": "a", "value": "b"}])["model_version"]
    assert (version["version"], version["status"], version["current_stage"], version["run_id"], version["run_link"]) == ("1",
                                                            "READY", "None", run, "")
    assert version["tags"] == [{"key": "a", "value": "b"}] and version["description"] == "d"
    assert api.version(name) == "2"
    assert api.call("PATCH", "model-versions/update", name=name, version="1", description="e")["model_version"]["description"] == "e"
    api.post("model-versions/set-tag", name=name, version="1", key="c", value="x" * 100000)
    api.call("DELETE", "model-versions/delete-tag", name=name, version="1", key="a")
    assert api.get("model-versions/get", name=name, version="1")["model_version"]["tags"] == [{"key": "c", "value": "x" * 100000}]
    assert api.get("model-versions/get-download-uri", name=name, version="1") == {"artifact_uri": "mlflow-artifacts:/1/x/model"}
    find = lambda **f: [v["version"] for v in api.get("model-versions/search", **f).get("model_versions", [])]
    assert find(filter=f"name='{name}'") == ["2", "1"] and find(filter=f"run_id = '{run}'") == ["1"]
    assert find(filter=f"name = '{name}' AND tags.c LIKE 'x%'") == ["1"]
    assert find(filter=f"name = '{name}'", order_by="version_number ASC", max_results=1) == ["1"]
    api.call("DELETE", "model-versions/delete", name=name, version="2")
    refused(ABSENT, api.get, "model-versions/get", name=name, version="2")
    assert api.version(name) == "3" and find(filter=f"name = '{name}'") == ["3", "1"]
    refused(ABSENT, api.post, "model-versions/create", name="none at all", source="s3://b/c")
    refused(INVALID, api.get, "model-versions/get", name=name, version="one")
    refused(INVALID, api.post, "registered-models/alias", name=name, alias="x", version=1, says="string")


def test_sources_must_be_places_that_others_can_reach(api):
    name, run = api.model(), api.run()
    root = api.get("runs/get", run_id=run)["run"]["info"]["artifact_uri"]
    api.version(name, source=root + "/model", run_id=run)
    for source in ("/etc/passwd", "file:///etc", "../x", "s3://bucket", "s3://bucket/../x", "http://h/%252e%252e/x", root + "/../../x"):
        refused(INVALID, api.post, "model-versions/create", name=name, source=source, run_id=run)
    refused(INVALID, api.post, "model-versions/create", name=name, source=root + "/model")


def test_versions_of_logged_models_and_of_versions(api):
    name, experiment = api.model(), api.experiment()
    run = api.run(experiment)
    model = api.post("logged-models", experiment_id=experiment, source_run_id=run)["model"]["info"]
    version = api.post("model-versions/create", name=name, source=f"models:/{model['model_id']}",
                       model_id=model["model_id"])["model_version"]
    assert version["run_id"] == run and version["source"] == f"models:/{model['model_id']}" and version["model_id"] == model["model_id"]
    assert api.get("model-versions/get-download-uri", name=name, version="1") == {"artifact_uri": model["artifact_uri"]}
    tags = {t["key"]: t["value"] for t in api.get(f"logged-models/{model['model_id']}")["model"]["info"]["tags"]}
    assert json.loads(tags["mlflow.modelVersions"]) == [{"name": name, "version": "1"}]
    api.version(api.model(), source=f"models:/{name}/1")
    refused(ABSENT, api.post, "model-versions/create", name=name, source="models:/m-none")
    refused(ABSENT, api.post, "model-versions/create", name=name, source=f"models:/{name}/77")
    refused(INVALID, api.post, "model-versions/create", name=name, source="models:/x")


def test_stages(api):
    name = api.model()
    for _ in range(3):
        api.version(name)
    move = lambda version, stage, **f: api.post("model-versions/transition-stage", name=name, version=version, stage=stage,
                                                **f)["model_version"]["current_stage"]
    assert move("1", "production") == "Production" and move("2", "STAGING") == "Staging"
    assert move("3", "Production", archive_existing_versions=True) == "Production"
    latest = lambda **f: {v["current_stage"]: v["version"] for v in api.post("registered-models/get-latest-versions", name=name,
                                                            **f).get("model_versions", [])}
    assert latest() == {"Archived": "1", "Staging": "2", "Production": "3"} and latest(stages=["production"]) == {"Production": "3"}
    assert api.get("registered-models/get-latest-versions", name=name, stages=["None"]) == {}
    refused(INVALID, api.post, "model-versions/transition-stage", name=name, version="1", stage="Great", archive_existing_versions=False)
    refused(INVALID, api.post, "model-versions/transition-stage", name=name, version="1", stage="None", archive_existing_versions=True)


def test_aliases(api):
    name = api.model()
    api.version(name), api.version(name)
    api.post("registered-models/alias", name=name, alias="champion", version="1")
    assert api.get("registered-models/alias", name=name, alias="champion")["model_version"]["version"] == "1"
    api.post("registered-models/alias", name=name, alias="champion", version="2")
    version = api.get("registered-models/alias", name=name, alias="champion")["model_version"]
    assert version["version"] == "2" and version["aliases"] == ["champion"]
    refused(ABSENT, api.post, "registered-models/alias", name=name, alias="champion", version="9")
    for alias in ("latest", "v7", "a b", "x" * 256):
        refused(INVALID, api.post, "registered-models/alias", name=name, alias=alias, version="1")
    api.call("DELETE", "model-versions/delete", name=name, version="2")
    assert refused(INVALID, api.get, "registered-models/alias", name=name, alias="champion") == "Registered model alias champion not found."
    assert api.call("DELETE", "registered-models/alias", name=name, alias="champion") == {}


def test_registered_models_are_searched_without_prompts(api):
    prefix = f"find{next(NAMES)}-"
    for i in range(3):
        api.post("registered-models/create", name=f"{prefix}{i}", tags=[{"key": "n", "value": str(i)}])
    api.post("registered-models/create", name=prefix + "prompt", tags=[{"key": "mlflow.prompt.is_prompt", "value": "true"}])
    find = lambda filter, **f: [m["name"][len(prefix):] for m in api.get("registered-models/search", filter=filter,
                                                            **f).get("registered_models", [])]
    assert find(f"name LIKE '{prefix}%'") == ["0", "1", "2"]
    assert find(f"name LIKE '{prefix}%' AND tag.`mlflow.prompt.is_prompt` != 'true'", order_by=["name DESC"]) == ["2", "1", "0"]
    assert find(f"name LIKE '{prefix}%' AND tags.`mlflow.prompt.is_prompt` = 'true'") == ["prompt"]
    assert find(f"name ILIKE '{prefix.upper()}%' AND tags.n != '1'") == ["0", "2"]
    page = api.get("registered-models/search", filter=f"name LIKE '{prefix}%'", max_results=2)
    assert find(f"name LIKE '{prefix}%'", max_results=2, page_token=page["next_page_token"]) == ["2"]


def test_promotion_by_a_metric(api):
    name = api.model()
    for value in (3.0, 5.0, 2.0, "NaN"):
        run = api.run()
        api.post("runs/log-metric", run_id=run, key="perplexity", value=value, timestamp=1)
        api.version(name, run_id=run)
    promote = lambda version, **f: api.post("model-versions/promote",
                                            **{"name": name, "version": version, "alias": "champion", "metric": "perplexity", **f})
    assert promote("1") == {"promoted": True, "alias": "champion", "version": "1", "value": 3.0,
                            "message": "version 1 is the champion now: there was none before"}
    assert promote("2") == {"promoted": False, "alias": "champion", "version": "2", "value": 5.0, "previous_version": "1",
                            "previous_value": 3.0, "message": "version 1 stays the champion: perplexity 5 of version 2 is not below 3"}
    assert promote("3")["message"] == "version 3 is the champion now: perplexity 2 is below 3 of version 1"
    assert promote("3") == {"promoted": False, "alias": "champion", "version": "3", "value": 2.0, "previous_version": "3",
                            "previous_value": 2.0, "message": "version 3 is the champion already"}
    assert promote("4")["message"] == "version 3 stays the champion: perplexity NaN of version 4 is not below 2"
    assert promote("2", greater_is_better=True)["message"] == "version 2 is the champion now: perplexity 5 is above 2 of version 3"
    assert api.get("registered-models/alias", name=name, alias="champion")["model_version"]["version"] == "2"
    refused(ABSENT, promote, "9")
    refused(INVALID, promote, "1", metric="none", says="no metric")


# ---- ways to ask

def test_what_is_not_there_says_so_in_a_way_that_clients_know(api):
    for method, path in (("GET", "traces"), ("POST", "webhooks"), ("POST", "experiments/search-datasets"), ("PUT", "runs/create"),
                         ("GET", "runs/create")):
        refused((404, "ENDPOINT_NOT_FOUND"), api.call, method, path)


def test_bodies_are_read_with_good_will(api):
    post = lambda body, **headers: api.stack.call("POST", f"{API}/experiments/search", body, headers)
    assert post('{"max_results": "1", "unknown": [1, 2], "view_type": null}').status == 200
    assert post("not json").json["error_code"] == "INVALID_PARAMETER_VALUE"
    assert post("[1]").json["message"] == "the body must be a JSON object"
    assert post('{"max_results": 1, "filter": "name = \'\\u0000\'"}').status == 400
    assert post(b'{"max_results": 1, "filter": "\xff"}').status == 400
    assert api.stack.get(f"{API}/experiments/get?experiment_id=%00").status == 400


def test_the_bus_asks_the_same(api):
    def ask(topic, body):
        return run("req", topic, json.dumps(body), url=api.stack.url)

    answer = ask("tracker.experiments.get", {"experiment_id": "0"})
    assert json.loads(answer.out)["experiment"]["name"] == "Default"
    answer = ask("tracker.runs.get", {"run_id": "none"})
    assert answer.status and "RESOURCE_DOES_NOT_EXIST: Run with id=none not found" in answer.err
    answer = ask("tracker.nothing.such", {})
    assert answer.status and "ENDPOINT_NOT_FOUND" in answer.err


def test_every_change_is_an_event(api):
    experiment = api.experiment()
    run = api.run(experiment, run_name="told", user_id="ada")
    api.post("runs/log-metric", run_id=run, key="loss", value="NaN", timestamp=5, step=1)
    api.post("runs/log-parameter", run_id=run, key="lr", value="1")
    api.post("runs/update", run_id=run, status="FINISHED", end_time=9)

    def told():
        return [e for e in api.stack.events("run.") if e["data"]["run_id"] == run]

    wait_until(lambda: len(told()) >= 4, "four events of the run")
    created, metric, param, updated = told()
    assert [e["topic"] for e in told()] == ["run.created", "run.metric", "run.param", "run.updated"]
    assert created["data"]["run_name"] == "told" and created["data"]["experiment_id"] == experiment and created["data"]["artifact_uri"]
    assert (param["data"]["key"], param["data"]["value"]) == ("lr", "1") and updated["data"]["end_time"] == 9
    assert metric["data"]["step"] == 1


def test_what_a_request_changes_belongs_to_its_trace(api):
    name, parent = f"m{next(NAMES)}", f"00-{TRACE}-00f067aa0ba902b7-01"
    ok("req", "tracker.registered-models.create", json.dumps({"name": name}), "--trace", parent, "--id", f"ask-{name}", url=api.stack.url)
    tag = {"name": name, "key": "a", "value": "b"}
    assert api.stack.call("POST", f"{API}/registered-models/set-tag", tag, headers={"traceparent": parent}).status == 200

    def told():
        return [e for e in api.stack.events("model.") if e["data"].get("name") == name]

    wait_until(lambda: len(told()) == 2, "two events of the model")
    assert [e["traceparent"][3:35] for e in told()] == [TRACE] * 2
    assert told()[0]["causationid"] == f"ask-{name}"


# ---- a database that goes away

def in_background(work):
    """(thread, list that gets what work() returns)"""
    got = []
    thread = threading.Thread(target=lambda: got.append(work()), daemon=True)
    thread.start()
    return thread, got


def test_a_request_whose_database_dies_is_told_to_come_again(tmp_path):
    with Postgres() as server:
        stack, api = begin(tmp_path, server.url)
        try:
            run = api.run()
            set_tag = lambda value: stack.post(f"{API}/runs/set-tag", {"run_id": run, "key": "a", "value": value})
            lock, _ = in_background(lambda: subprocess.run(
                [program("psql"), "-X", "-q", "-c", "BEGIN; LOCK TABLE tags; SELECT pg_sleep(60)",
                 server.url], capture_output=True, check=False))
            wait_until(lambda: server.query("SELECT 1 FROM pg_locks WHERE relation = 'tags'::regclass AND granted"), "the table is locked")
            asked, answers = in_background(lambda: set_tag("b"))
            wait_until(lambda: server.query("SELECT 1 FROM pg_locks WHERE NOT granted"), "the tracker waits for it")
            server.kill()
            asked.join(PATIENCE_S)
            lock.join(PATIENCE_S)
            answer, = answers
            assert answer.status == 503 and answer.headers["Retry-After"] == "1"
            assert answer.json["error_code"] == "TEMPORARILY_UNAVAILABLE"
            assert set_tag("c").status == 503
            server.start()
            wait_until(lambda: set_tag("c").status == 200, "the tracker takes requests again")
            assert api.data(run)["tags"]["a"] == "c"
        finally:
            stack.close()
