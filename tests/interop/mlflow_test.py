# SPDX-License-Identifier: Apache-2.0
"""MLflow's own client against the tracker, on SQLite and on PostgreSQL: what a training script does, and what it is told when it errs.

With MLFLOW_SERVER, the path of the program `mlflow`, also a real `mlflow server` on the tracker's database: both serve the same runs."""
import contextlib
import math
import os
import subprocess
import urllib.request

import pytest

os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true")  # before it is imported
import mlflow
from mlflow.entities import Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from bus import die_with_parent
from cli import wait_until
from postgres import Postgres
from stack import Stack, free_port

NODES = """
  door:     {{ kind: ingress, listen: "{http}" }}
  tracking: {{ kind: tracker, database: "%s", artifact_root: "file:files" }}
"""
NAMES = iter(range(1, 1000000))
SERVER = os.environ.get("MLFLOW_SERVER")
pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's, about itself


@pytest.fixture(scope="module")
def postgres():
    with Postgres() as server:
        yield server


def answers(url):
    try:
        with urllib.request.urlopen(f"{url}/api/2.0/mlflow/experiments/get?experiment_id=0", timeout=10) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def stack(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    stack = Stack(folder, NODES % ("sqlite:tracker.db" if request.param == "sqlite" else request.getfixturevalue("postgres").url))
    stack.database = f"sqlite:///{folder}/tracker.db" if request.param == "sqlite" else request.getfixturevalue("postgres").url
    stack.http = f"http://127.0.0.1:{stack.port}"
    wait_until(lambda: answers(stack.http), "the tracker answers")
    yield stack
    stack.close()
    print("--- what `up` showed ---", *stack.up.seen, *stack.up.lines.queue, sep="\n")


@pytest.fixture
def client(stack, monkeypatch):
    """MLflow's client; failures come at once instead of after minutes."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    mlflow.set_tracking_uri(stack.http)
    mlflow.set_registry_uri(stack.http)
    yield MlflowClient(stack.http)
    while mlflow.active_run():
        mlflow.end_run()


def refused(code, call, *args, **fields):
    with pytest.raises(MlflowException) as caught:
        call(*args, **fields)
    assert caught.value.error_code == code, caught.value
    return str(caught.value)


def test_a_training_script(client):
    experiment = mlflow.set_experiment(f"script {next(NAMES)}")
    assert mlflow.set_experiment(experiment.name).experiment_id == experiment.experiment_id
    with mlflow.start_run(run_name="outer", tags={"team": "nlp"}, description="what it is") as outer:
        mlflow.log_param("lr", 0.1)
        mlflow.log_params({"layers": 3, "kind": "tiny"})
        mlflow.log_metric("loss", 0.5, step=0)
        mlflow.log_metrics({"loss": 0.25, "acc": 0.75}, step=1)
        mlflow.set_tags({"stage": "final", "note": "é\"'; DROP TABLE runs; --"})
        mlflow.log_metric("nan", math.nan)
        with mlflow.start_run(nested=True) as inner:
            mlflow.log_metric("loss", 9)
    run = mlflow.get_run(outer.info.run_id)
    assert run.info.status == "FINISHED" and run.info.run_name == "outer" and run.info.end_time >= run.info.start_time
    assert run.data.params == {"lr": "0.1", "layers": "3", "kind": "tiny"}
    assert run.data.metrics["loss"] == 0.25 and run.data.metrics["acc"] == 0.75 and math.isnan(run.data.metrics["nan"])
    assert run.data.tags["note"] == "é\"'; DROP TABLE runs; --" and run.data.tags["mlflow.note.content"] == "what it is"
    assert mlflow.get_run(inner.info.run_id).data.tags["mlflow.parentRunId"] == outer.info.run_id
    assert [(m.value, m.step) for m in client.get_metric_history(outer.info.run_id, "loss")] == [(0.5, 0), (0.25, 1)]
    with mlflow.start_run(run_id=outer.info.run_id):
        mlflow.log_metric("loss", 0.125, step=2)
    assert mlflow.get_run(outer.info.run_id).data.metrics["loss"] == 0.125


def test_a_script_that_fails(client):
    mlflow.set_experiment(f"fails {next(NAMES)}")
    with contextlib.suppress(ZeroDivisionError):
        with mlflow.start_run() as run:
            1 / 0
    assert client.get_run(run.info.run_id).info.status == "FAILED"


def test_batches(client):
    run = client.create_run(client.create_experiment(f"batch {next(NAMES)}")).info.run_id
    metrics = [Metric(f"m{i % 5}", i / 3, 1000 + i, i) for i in range(2500)]
    client.log_batch(run, metrics, [Param(f"p{i}", str(i)) for i in range(150)], [RunTag(f"t{i}", "x") for i in range(150)])
    data = client.get_run(run).data
    assert data.metrics == {f"m{i}": (2495 + i) / 3 for i in range(5)} and len(data.params) == 150 and len(data.tags) >= 150
    assert len(client.get_metric_history(run, "m0")) == 500
    client.log_param(run, "long", "x" * 7000)
    assert len(client.get_run(run).data.params["long"]) == 6000
    client.update_run(run, status="FINISHED", name="renamed")
    assert client.get_run(run).info.run_name == "renamed"
    client.delete_tag(run, "t0")
    assert "t0" not in client.get_run(run).data.tags


def test_search(client):
    experiment = client.create_experiment(f"search {next(NAMES)}", tags={"purpose": "search"})
    for i in range(7):
        run = client.create_run(experiment, run_name=f"r{i}", start_time=1000 + i)
        client.log_batch(run.info.run_id, [Metric("loss", 1 / (i + 1), 1, 0)], [Param("i", str(i))], [RunTag("odd", str(i % 2))])
    names = lambda runs: [run.info.run_name for run in runs]
    assert names(client.search_runs([experiment])) == [f"r{i}" for i in (6, 5, 4, 3, 2, 1, 0)]
    assert names(client.search_runs([experiment], "metrics.loss < 0.3 and tags.odd = '1'", order_by=["metrics.loss DESC"])) == ["r3", "r5"]
    assert names(client.search_runs([experiment], "attributes.run_name LIKE 'r_'", max_results=2)) == ["r6", "r5"]
    page = client.search_runs([experiment], max_results=4, order_by=["attributes.start_time ASC"])
    assert names(page) + names(client.search_runs([experiment], max_results=4, order_by=["attributes.start_time ASC"],
                                                  page_token=page.token)) == [
        f"r{i}" for i in range(7)]
    assert len(mlflow.search_runs([experiment], output_format="list")) == 7
    assert [e.experiment_id for e in client.search_experiments(filter_string="tags.purpose = 'search'",
                                                            order_by=["last_update_time DESC"])][0] == experiment
    refused("INVALID_PARAMETER_VALUE", client.search_runs, [experiment], "metrics.loss ~ 3")


def test_delete_and_restore(client):
    experiment = client.create_experiment(f"gone {next(NAMES)}")
    run = client.create_run(experiment).info.run_id
    client.delete_run(run)
    assert client.get_run(run).info.lifecycle_stage == "deleted" and client.search_runs([experiment]) == []
    assert len(client.search_runs([experiment], run_view_type=ViewType.ALL)) == 1
    refused("INVALID_PARAMETER_VALUE", client.log_metric, run, "a", 1)
    client.restore_run(run)
    client.log_metric(run, "a", 1)
    client.delete_experiment(experiment)
    assert client.get_experiment(experiment).lifecycle_stage == "deleted"
    client.restore_experiment(experiment)
    client.rename_experiment(experiment, f"back {experiment}")
    client.set_experiment_tag(experiment, "a", "b")
    back = client.get_experiment_by_name(f"back {experiment}")
    assert back.tags == {"a": "b"} and client.get_run(run).info.lifecycle_stage == "active"


def test_codes_of_errors(client):
    name = f"twice {next(NAMES)}"
    experiment = client.create_experiment(name)
    run = client.create_run(experiment).info.run_id
    refused("RESOURCE_ALREADY_EXISTS", client.create_experiment, name)
    assert client.get_experiment_by_name("there is none") is None
    refused("RESOURCE_DOES_NOT_EXIST", client.get_run, "0" * 32)
    refused("RESOURCE_DOES_NOT_EXIST", client.get_experiment, "1999999999")
    client.log_param(run, "lr", "1")
    client.log_param(run, "lr", "1")
    refused("INVALID_PARAMETER_VALUE", client.log_param, run, "lr", "2")
    refused("RESOURCE_DOES_NOT_EXIST", client.get_registered_model, "there is none")
    refused("INVALID_PARAMETER_VALUE", client.get_model_version_by_alias, client.create_registered_model(f"m{next(NAMES)}").name, "none")


def test_the_registry(client):
    name = f"model {next(NAMES)}"
    experiment = client.create_experiment(f"registry {next(NAMES)}")
    run = client.create_run(experiment)
    model = client.create_registered_model(name, tags={"a": "b"}, description="what it does")
    assert (model.name, model.description, model.tags) == (name, "what it does", {"a": "b"})
    refused("RESOURCE_ALREADY_EXISTS", client.create_registered_model, name)
    source = run.info.artifact_uri + "/model"
    first = client.create_model_version(name, source, run.info.run_id, tags={"c": "d"})
    second = client.create_model_version(name, source, run.info.run_id, description="better")
    assert (str(first.version), str(second.version), first.status, first.run_id) == ("1", "2", "READY", run.info.run_id)
    client.set_registered_model_alias(name, "champion", "1")
    assert str(client.get_model_version_by_alias(name, "champion").version) == "1"
    client.set_registered_model_alias(name, "champion", "2")
    best = client.get_model_version_by_alias(name, "champion")
    assert str(best.version) == "2" and best.aliases == ["champion"] and client.get_registered_model(name).aliases == {"champion": "2"}
    assert client.get_model_version_download_uri(name, "2") == source
    assert [str(v.version) for v in client.search_model_versions(f"name='{name}'")] == ["2", "1"]
    assert [m.name for m in client.search_registered_models(f"name='{name}'")] == [name]
    client.set_model_version_tag(name, "1", "stage", "old")
    client.update_model_version(name, "1", description="worse")
    client.transition_model_version_stage(name, "2", "Production", archive_existing_versions=True)
    assert [v.current_stage for v in client.get_latest_versions(name, ["Production"])] == ["Production"]
    version = client.get_model_version(name, "1")
    assert version.tags == {"c": "d", "stage": "old"} and version.description == "worse"
    client.delete_registered_model_alias(name, "champion")
    client.delete_model_version(name, "1")
    refused("RESOURCE_DOES_NOT_EXIST", client.get_model_version, name, "1")
    client.rename_registered_model(name, name + " 2")
    client.update_registered_model(name + " 2", "anew")
    client.set_registered_model_tag(name + " 2", "x", "y")
    client.delete_registered_model_tag(name + " 2", "a")
    renamed = client.get_registered_model(name + " 2")
    assert renamed.tags == {"x": "y"} and renamed.description == "anew" and [str(v.version) for v in renamed.latest_versions] == ["2"]
    client.delete_registered_model(name + " 2")
    assert client.search_registered_models(f"name='{name} 2'") == []


@pytest.mark.skipif(not hasattr(MlflowClient, "create_logged_model"), reason="MLflow 2 has no logged models")
def test_logged_models(client):
    experiment = client.create_experiment(f"logged {next(NAMES)}")
    run = client.create_run(experiment).info.run_id
    model = client.create_logged_model(experiment, name="tiny", source_run_id=run, params={"order": "5"}, tags={"a": "b"})
    assert str(model.status) == "PENDING" and model.params == {"order": "5"}
    client.log_outputs(run, models=[mlflow.entities.LoggedModelOutput(model.model_id, 3)])
    client.log_metric(run, "acc", 0.5, model_id=model.model_id)
    client.set_logged_model_tags(model.model_id, {"c": "d"})
    client.delete_logged_model_tag(model.model_id, "a")
    assert str(client.finalize_logged_model(model.model_id, "READY").status) == "READY"
    model = client.get_logged_model(model.model_id)
    assert model.tags == {"c": "d"} and [m.value for m in model.metrics] == [0.5] and model.source_run_id == run
    assert [m.model_id for m in client.search_logged_models([experiment],
                                                            filter_string="metrics.acc > 0.4 AND params.order = '5'")] == [model.model_id]
    assert client.get_run(run).outputs.model_outputs[0].model_id == model.model_id
    name = client.create_registered_model(f"m{next(NAMES)}").name
    version = client.create_model_version(name, f"models:/{model.model_id}", run, model_id=model.model_id)
    assert version.source == f"models:/{model.model_id}" and client.get_model_version_download_uri(name,
                                                            version.version) == model.artifact_location
    client.delete_logged_model(model.model_id)
    refused("RESOURCE_DOES_NOT_EXIST", client.get_logged_model, model.model_id)


# ---- beside MLflow's own server

@pytest.fixture
def server(stack, tmp_path):
    """`mlflow server` on the tracker's database."""
    port = free_port()
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with open(tmp_path / "server.log", "w") as log:
        command = [SERVER, "server", "--backend-store-uri", stack.database, "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
                   "--artifacts-destination", str(tmp_path / "files")]
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True,
                                   preexec_fn=die_with_parent)
        url = f"http://127.0.0.1:{port}"
        try:
            wait_until(lambda: answers(url) or process.poll() is not None, "mlflow server answers")
            assert process.poll() is None, (tmp_path / "server.log").read_text()[-4000:]
            yield url
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 15)
            process.wait(30)


@pytest.mark.skipif(not SERVER, reason="MLFLOW_SERVER names no program")
def test_a_real_server_on_the_same_database(client, server):
    theirs = MlflowClient(server)
    experiment = client.create_experiment(f"both {next(NAMES)}", tags={"a": "b"})
    run = client.create_run(experiment, run_name="ours").info.run_id
    client.log_batch(run, [Metric("loss", v, 1, s) for s, v in enumerate((0.5, 0.25, math.inf))], [Param("lr", "1")], [RunTag("x", "y")])
    client.log_metric(run, "nan", math.nan)
    name = client.create_registered_model(f"both {next(NAMES)}").name
    client.create_model_version(name, "s3://bucket/model", run)
    client.set_registered_model_alias(name, "champion", "1")

    assert theirs.get_experiment(experiment).tags == {"a": "b"}
    seen, own = theirs.get_run(run), client.get_run(run)
    assert seen.data.params == own.data.params and seen.data.tags == own.data.tags and seen.info.run_name == "ours"
    assert seen.data.metrics["loss"] == own.data.metrics["loss"] == 1.7976931348623157e308 and math.isnan(seen.data.metrics["nan"])
    history = lambda client: [(m.value, m.step, m.timestamp) for m in client.get_metric_history(run, "loss")]
    assert history(theirs) == history(client) and len(history(client)) == 3
    assert [r.info.run_id for r in theirs.search_runs([experiment], "params.lr = '1'")] == [run]
    assert theirs.get_model_version_by_alias(name, "champion").run_id == run

    other = theirs.create_run(experiment, run_name="theirs").info.run_id
    theirs.log_metric(other, "loss", 0.125, step=5)
    theirs.log_param(other, "lr", "2")
    theirs.log_metric(run, "loss", 0.0625, step=7)
    theirs.set_terminated(run)
    assert [r.info.run_name for r in client.search_runs([experiment], order_by=["metrics.loss ASC"])] == ["ours", "theirs"]
    assert client.get_run(run).info.status == "FINISHED" and client.get_run(other).data.params == {"lr": "2"}
    more = theirs.create_experiment(f"theirs {next(NAMES)}")
    assert int(client.create_experiment(f"ours {next(NAMES)}")) > int(more)
