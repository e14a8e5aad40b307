# SPDX-License-Identifier: Apache-2.0
"""The tracker, from events and requests to rows: on SQLite and PostgreSQL, under kills, and by replay into an empty database."""
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import uuid
from concurrent.futures import ThreadPoolExecutor

import msgpack
import pytest

from cli import ok, run, wait_until
from postgres import Postgres
from stack import Stack, together

API = "/api/2.0/mlflow"
TRACKER = """
  door:  {{ kind: ingress, listen: "{http}", asks: [] }}
  NAME: {{ kind: tracker, database: "DATABASE", artifact_root: "s3://bucket/root", restart: {{ delay: 100ms }} MORE }}
"""
TABLES = ["experiments", "experiment_tags", "runs", "metrics", "latest_metrics", "params", "tags", "datasets", "inputs", "input_tags",
          "registered_models", "registered_model_tags", "registered_model_aliases", "model_versions", "model_version_tags", "logged_models",
          "logged_model_metrics", "logged_model_params", "logged_model_tags", "alembic_version"]


@pytest.fixture(scope="module")
def server():
    with Postgres() as server:
        yield server


class Sqlite:
    def __init__(self, folder, name):
        self.path = folder / f"{name}.db"
        self.url = f"sqlite:{self.path}"

    def rows(self, sql):
        with sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=30) as db:
            cursor = db.execute(sql)
            names = [column[0] for column in cursor.description]
            out = [dict(zip(names, row)) for row in cursor]
        return [{k: bool(v) if k == "is_nan" else v for k, v in row.items()} for row in out]


class Pg:
    def __init__(self, server):
        self.server, self.name = server, "t" + uuid.uuid4().hex
        server.query(f"CREATE DATABASE {self.name}")
        self.url = server.url_of(self.name)

    def rows(self, sql):
        text = f"SET search_path = public, lineshaft; SELECT row_to_json(t) FROM ({sql}) t"
        return [json.loads(row[0]) for row in self.server.query(text, self.name)]


@pytest.fixture
def make(tmp_path, server):
    """make("sqlite") or make("postgres"): an empty database."""
    count = iter(range(100))
    return lambda kind: Pg(server) if kind == "postgres" else Sqlite(tmp_path, f"db{next(count)}")


@pytest.fixture(params=["sqlite", "postgres"])
def database(request, make):
    return make(request.param)


@pytest.fixture
def start(tmp_path):
    """start(database, ...): a stack with one tracker on it, which begins with all events that the folder has from earlier ones."""
    stacks = []

    def begin(database, more="", name="track"):
        stacks.append(Stack(tmp_path, TRACKER.replace("DATABASE", database.url).replace("NAME", name).replace("MORE", more)))
        return stacks[-1]

    yield begin
    for stack in stacks:
        stack.close()


def up(stack):
    """The tracker answers."""
    wait_until(lambda: stack.get(f"{API}/experiments/get?experiment_id=0").status == 200, "an answer of the tracker")
    return stack


def dump(database):
    def plain(row):
        return {k: float(v) if k in ("value", "metric_value") and isinstance(v, int) else v for k, v in row.items()}
    return {table: sorted((plain(row) for row in database.rows(f"SELECT * FROM {table}")), key=lambda row: json.dumps(row, sort_keys=True))
            for table in TABLES}


def values(database, sql):
    return [tuple(row.values()) for row in database.rows(sql)]


def ask(stack, path, body, method="POST"):
    answer = stack.call(method, API + path, body)
    assert answer.status == 200, (path, answer.body)
    return answer.json


def publish(stack, topic, *bodies, **more):
    answer = stack.post("/api/events", [{"topic": topic, "data": body, **more} for body in bodies])
    assert answer.status == 200, answer.body
    return answer.json


def settled(stack, database, node="track"):
    """All that was published has been applied, all own facts have come round."""
    observer = stack.dealer("observer-" + uuid.uuid4().hex)

    def quiet():
        consumer, = observer.ok("ADM", op="consumers", consumer=node)["consumers"]
        return consumer["pending"] == 0 and consumer["in_flight"] == 0 and not values(database, "SELECT id FROM lineshaft_outbox")

    wait_until(quiet, f"{node} has applied everything")
    observer.close()


def new_run(stack, **fields):
    return ask(stack, "/runs/create", {"experiment_id": "0", "start_time": 5, **fields})["run"]["info"]["run_id"]


def kill(stack, node="track"):
    """kill -9, and the next process is there."""
    old = stack.pids(node)
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: stack.pids(node) and not set(old) & set(stack.pids(node)), f"{node} runs again")


# ---- events become rows

def test_two_lines_make_a_run(start, database):
    stack = up(start(database))
    metric = {"run_id": "r1", "key": "loss", "value": 0.7, "step": 3, "timestamp": 1700000000000}
    publish(stack, "run.metric", metric, time="2026-01-02T03:04:05Z")
    settled(stack, database)
    assert values(database, "SELECT run_uuid, name, status, start_time, lifecycle_stage, experiment_id, artifact_uri FROM runs") == \
        [("r1", "r1", "RUNNING", 1767323045000, "active", 0, "s3://bucket/root/0/r1/artifacts")]
    assert values(database, "SELECT key, value, timestamp, step, is_nan FROM latest_metrics") == [("loss", 0.7, 1700000000000, 3, False)]
    assert stack.get(f"{API}/runs/get?run_id=r1").json["run"]["data"]["metrics"][0]["value"] == 0.7


def test_a_run_is_what_its_created_fact_says_whatever_came_before_it(start, database):
    stack = up(start(database))
    publish(stack, "run.tag", {"run_id": "r1", "key": "a", "value": "b"})
    publish(stack, "run.created", {"run_id": "r1", "experiment_name": "later", "run_name": "owl", "start_time": 7, "user_id": "ada",
                                   "tags": {"c": 1}})
    publish(stack, "run.updated", {"run_id": "r1", "status": "FINISHED", "end_time": 9})
    settled(stack, database)
    (name, user, status, begun, end, uri, experiment), = values(
        database, "SELECT r.name, user_id, status, start_time, end_time, artifact_uri, e.name AS experiment FROM runs r"
                  " JOIN experiments e USING (experiment_id)")
    assert (name, user, status, begun, end, experiment) == ("owl", "ada", "FINISHED", 7, 9, "later")
    assert values(database, "SELECT key, value FROM tags ORDER BY key") == [("a", "b"), ("c", "1"), ("mlflow.runName", "owl")]
    number, = values(database, "SELECT experiment_id FROM experiments WHERE name = 'later'")[0]
    assert number >= 2 ** 30 and uri == f"s3://bucket/root/{number}/r1/artifacts"


def test_a_name_that_an_experiment_had_before_its_fact_came_is_free(start, database):
    stack = up(start(database))
    publish(stack, "run.created", {"run_id": "a", "experiment_id": "77"})
    publish(stack, "run.created", {"run_id": "b", "experiment_name": "experiment-77"})
    publish(stack, "experiment.created", {"experiment_id": "77", "name": "its own"})
    publish(stack, "run.created", {"run_id": "c", "experiment_name": "experiment-77"})
    settled(stack, database)
    rows = dict(values(database, "SELECT r.run_uuid, e.name FROM runs r JOIN experiments e ON e.experiment_id = r.experiment_id"))
    assert rows == {"a": "its own", "b": "its own", "c": "experiment-77"}


def test_metrics_that_are_no_numbers_are_kept_as_mlflow_keeps_them(start, database):
    stack = up(start(database))
    peer = stack.dealer("numbers")
    for step, value in enumerate([float("nan"), float("inf"), float("-inf"), 5e-324, 0.1 + 0.2]):
        peer.ok("PUB", {"topic": "run.metric"}, msgpack.packb({"run_id": "r1", "key": "x", "value": value, "step": step, "timestamp": 1}))
    run = new_run(stack)
    ask(stack, "/runs/log-metric", {"run_id": run, "key": "y", "value": "NaN", "timestamp": 1})
    settled(stack, database)
    assert values(database, "SELECT value, is_nan FROM metrics WHERE key = 'x' ORDER BY step") == \
        [(0, True), (1.7976931348623157e308, False), (-1.7976931348623157e308, False), (5e-324, False), (0.1 + 0.2, False)]
    assert values(database, "SELECT value, is_nan FROM metrics WHERE key = 'y'") == [(0, True)], "an own NaN came round as one"


def test_repeats_are_dropped_and_the_latest_is_the_greatest(start, database):
    stack = up(start(database))
    metric = {"run_id": "r1", "key": "loss", "value": 1, "step": 1, "timestamp": 10}
    for other in ({}, {}, {"value": 3}, {"value": 2}, {"step": 0, "value": 9}, {"timestamp": 9, "value": 9}):
        publish(stack, "run.metric", {**metric, **other})
    publish(stack, "run.metric", *[{**metric, "key": "many", "step": i % 150, "value": i % 150} for i in range(300)])
    settled(stack, database)
    assert values(database, "SELECT COUNT(*) AS n FROM metrics WHERE key = 'loss'") == [(5,)]
    assert values(database, "SELECT COUNT(*) AS n FROM metrics WHERE key = 'many'") == [(150,)]
    assert values(database, "SELECT key, value, step FROM latest_metrics ORDER BY key") == [("loss", 3, 1), ("many", 149, 149)]


def test_a_parameter_is_written_once(start, database):
    stack = up(start(database))
    publish(stack, "run.param", {"run_id": "r1", "key": "lr", "value": 0.1}, {"run_id": "r1", "key": "lr", "value": "0.1"},
            {"run_id": "r1", "key": "lr", "value": 0.2}, {"run_id": "r1", "key": "on", "value": True})
    publish(stack, "run.metric", {"run_id": "r1", "key": "after", "value": 1})
    settled(stack, database)
    assert values(database, "SELECT key, value FROM params ORDER BY key") == [("lr", "0.1"), ("on", "true")]
    letter = ok("dlq", "ls", "-j", url=stack.url)
    assert "parameters are written once" in letter and "run.param" in letter
    assert values(database, "SELECT value FROM latest_metrics") == [(1,)], "what came behind it was applied"


def test_a_dead_letter_can_be_replayed_when_its_cause_has_gone(start, database):
    stack = up(start(database))
    publish(stack, "model.registered", {"name": "a"}, {"name": "b"})
    publish(stack, "model.updated", {"name": "a", "new_name": "b"})
    settled(stack, database)
    assert values(database, "SELECT name FROM registered_models ORDER BY name") == [("a",), ("b",)]
    publish(stack, "model.deleted", {"name": "b"})
    settled(stack, database)
    ok("dlq", "replay", "track", url=stack.url)
    wait_until(lambda: values(database, "SELECT name FROM registered_models") == [("b",)], "the replayed rename")
    settled(stack, database)


def test_hostile_texts_are_only_texts(start, database):
    stack = up(start(database))
    texts = ["'; DROP TABLE runs; --", "$1", "%s %d \\", 'a"b', "ünï 日本 🎉", "x" * 250, "NULL", "?1", "{}", "\\x00"]
    for i, text in enumerate(texts):
        publish(stack, "run.tag", {"run_id": "r1", "key": f"k{i}", "value": text})
        publish(stack, "run.tag", {"run_id": "r1", "key": text, "value": "v"})
    huge = {"run_id": "r1", "key": "k", "value": "x" * (1 << 20)}
    assert stack.post("/api/events", {"topic": "run.param", "data": huge}).status in (413, 422)
    publish(stack, "run.param", {"run_id": "r1", "key": "long", "value": "é" * 8000})
    assert stack.post("/api/events", {"topic": "run.tag", "data": {"run_id": "r1", "key": "x" * 251, "value": ""}}).status == 422
    publish(stack, "run.tag", {"run_id": "../../etc", "key": "k", "value": "v"}, {"run_id": "r 1", "key": "k", "value": "v"},
            {"run_id": "r1", "key": "nul", "value": "a\0b"})
    settled(stack, database)
    tags = dict(values(database, "SELECT key, value FROM tags"))
    for i, text in enumerate(texts):
        assert tags[f"k{i}"] == text and tags[text] == "v"
    assert values(database, "SELECT value FROM params") == [("é" * 6000,)], "as MLflow cuts them"
    assert values(database, "SELECT run_uuid FROM runs") == [("r1",)] and "nul" not in tags
    assert len(ok("dlq", "ls", "-j", url=stack.url).splitlines()) == 3


# ---- chats

CHAT = [("chat.completed", "2026-01-01T00:00:10Z", {
            "request_id": "q1", "chat_id": "c1", "model": "small", "version": 3, "worker": "w", "finish_reason": "stop",
            "first_token_ms": 12.5, "duration_ms": 2000, "message": {"role": "assistant", "content": "Because."},
            "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}}),
        ("chat.feedback", "2026-01-01T00:00:20Z", {"request_id": "q1", "rating": "down", "score": 0.25, "comment": "too short"})]


@pytest.mark.parametrize("order", [CHAT, CHAT[::-1]], ids=["answer-first", "feedback-first"])
def test_a_chat_is_a_run(start, database, order):
    stack = up(start(database))
    for topic, time, body in order:
        publish(stack, topic, body, time=time, traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    publish(stack, "chat.failed", {"request_id": "q2", "error": "no worker"}, time="2026-01-01T00:00:30Z")
    publish(stack, "chat.cancelled", {"request_id": "q3", "reason": "client", "duration_ms": 5}, time="2026-01-01T00:00:30Z")
    settled(stack, database)
    runs = values(database, "SELECT r.name, status, start_time, end_time FROM runs r JOIN experiments e USING (experiment_id)"
                            " WHERE e.name = 'chat' ORDER BY r.name")
    assert runs == [("q1", "FINISHED", 1767225608000, 1767225610000), ("q2", "FAILED", 1767225630000, 1767225630000),
                    ("q3", "KILLED", 1767225629995, 1767225630000)]
    of = "WHERE run_uuid = (SELECT run_uuid FROM runs WHERE name = 'q1') ORDER BY key"
    params = dict(values(database, f"SELECT key, value FROM params {of}"))
    assert params == {"model": "small", "version": "3", "worker": "w", "finish_reason": "stop"}
    assert dict(values(database, f"SELECT key, value FROM tags {of}")) == {
        "mlflow.runName": "q1", "request_id": "q1", "chat_id": "c1", "answer": "Because.", "rating": "down", "comment": "too short",
        "lineshaft.trace": "4bf92f3577b34da6a3ce929d0e0e4736"}
    assert dict(values(database, f"SELECT key, value FROM latest_metrics {of}")) == {
        "prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4, "first_token_ms": 12.5, "duration_ms": 2000, "rating": -1,
        "score": 0.25}
    assert values(database, "SELECT run_uuid FROM runs WHERE name = 'q1'")[0][0] == hashlib.sha256(b"chat:q1").hexdigest()[:32]
    assert sorted(values(database, "SELECT value FROM tags WHERE key = 'error'")) == [("client",), ("no worker",)]


@pytest.mark.parametrize("topic, told, status", [
    ("task.failed", {"reason": "exit", "exit_code": 3, "end_time": 7000}, ("FAILED", 7000)),
    ("task.failed", {"reason": "cancelled", "end_time": 7000}, ("KILLED", 7000)), ("task.retrying", {"reason": "lost"}, ("KILLED", 8000)),
    ("task.retrying", {"reason": "signal", "end_time": 7000}, ("KILLED", 7000)), ("task.retrying", {}, ("FAILED", 8000))])
def test_a_try_that_failed_ends_the_runs_that_it_left_open(start, make, topic, told, status):
    database = make("sqlite")
    stack = up(start(database))
    of = {"lineshaft.try": "t-1"}
    publish(stack, "run.created", {"run_id": "open", "start_time": 5, "tags": of}, {"run_id": "done", "start_time": 5, "tags": of},
            {"run_id": "other", "start_time": 5, "tags": {"lineshaft.try": "t-2"}}, {"run_id": "none", "start_time": 5})
    publish(stack, "run.updated", {"run_id": "done", "status": "FINISHED", "end_time": 6})
    publish(stack, topic, {"workflow": "w", "workflow_run_id": "r", "task": "t", "try": "t-1", **told}, time="1970-01-01T00:00:08Z")
    settled(stack, database)
    assert values(database, "SELECT run_uuid, status, end_time FROM runs ORDER BY run_uuid") == [
        ("done", "FINISHED", 6), ("none", "RUNNING", None), ("open", *status), ("other", "RUNNING", None)]
    publish(stack, "run.updated", {"run_id": "open", "status": "FINISHED", "end_time": 9000})  # it was alive, lost to the scheduler alone
    settled(stack, database)
    assert values(database, "SELECT status, end_time FROM runs WHERE run_uuid = 'open'") == [("FINISHED", 9000)]


# ---- replay: the stream alone gives the same rows

def work(stack, seed):
    """A bit of everything, by requests and by events."""
    name = f"exp{seed}"
    experiment = ask(stack, "/experiments/create", {"name": name, "tags": [{"key": "team", "value": "nlp"}]})["experiment_id"]
    run = new_run(stack, experiment_id=experiment, run_name=f"run{seed}", tags=[{"key": "mlflow.user", "value": "ada"}])
    metrics = [{"key": f"m{i % 7}", "value": i / 3, "timestamp": 100 + i, "step": i} for i in range(200)]
    params = [{"key": f"p{i}", "value": str(i)} for i in range(20)]
    ask(stack, "/runs/log-batch", {"run_id": run, "metrics": metrics, "params": params, "tags": [{"key": "stage", "value": "one"}]})
    publish(stack, "run.metric", *[{"run_id": run, "key": "bus", "value": i, "step": i} for i in range(30)])
    publish(stack, "run.tag", {"run_id": run, "key": "from", "value": "bus"}, {"run_id": f"b{seed}", "key": "x", "value": "y"})
    publish(stack, "run.created", {"run_id": f"n{seed}", "experiment_name": "by-name", "run_name": "n"})
    dataset = {"name": "d", "digest": "d1", "source_type": "local", "source": "{}", "schema": "{}"}
    context = [{"key": "mlflow.data.context", "value": "training"}]
    ask(stack, "/runs/log-inputs", {"run_id": run, "datasets": [{"tags": context, "dataset": dataset}]})
    logged = ask(stack, "/logged-models", {"experiment_id": experiment, "name": "model", "source_run_id": run,
                                           "params": [{"key": "order", "value": "5"}]})
    model_id = logged["model"]["info"]["model_id"]
    ask(stack, "/runs/outputs", {"run_id": run, "models": [{"model_id": model_id, "step": 1}]})
    ask(stack, "/runs/log-metric", {"run_id": run, "key": "eval", "value": 0.5, "timestamp": 7, "model_id": model_id})
    ask(stack, f"/logged-models/{model_id}", {"model_id": model_id, "status": "LOGGED_MODEL_READY"}, "PATCH")
    ask(stack, "/registered-models/create", {"name": f"draft{seed}", "description": "first"})
    ask(stack, "/model-versions/create", {"name": f"draft{seed}", "source": "s3://bucket/m", "run_id": run})
    ask(stack, "/registered-models/rename", {"name": f"draft{seed}", "new_name": f"model{seed}"})
    ask(stack, "/model-versions/create", {"name": f"model{seed}", "source": "s3://bucket/m2", "tags": [{"key": "a", "value": "b"}]})
    ask(stack, "/registered-models/alias", {"name": f"model{seed}", "alias": "champion", "version": "2"})
    ask(stack, "/model-versions/delete", {"name": f"model{seed}", "version": "1"}, "DELETE")
    ask(stack, "/registered-models/create", {"name": f"gone{seed}"})
    ask(stack, "/registered-models/delete", {"name": f"gone{seed}"}, "DELETE")
    for topic, _, body in CHAT:
        publish(stack, topic, {**body, "request_id": f"q{seed}"})
    new_run(stack, run_name=f"killed{seed}", tags=[{"key": "lineshaft.try", "value": f"t{seed}"}])
    publish(stack, "task.failed", {"workflow": "w", "workflow_run_id": "r", "task": "t", "try": f"t{seed}", "reason": "lost"})
    ask(stack, "/runs/set-tag", {"run_id": run, "key": "mlflow.runName", "value": f"renamed{seed}"})
    ask(stack, "/runs/update", {"run_id": run, "status": "FINISHED", "end_time": 99})
    if seed % 2:
        ask(stack, "/experiments/delete", {"experiment_id": experiment})


def replayed(start, database):
    """The rows that the events alone make in an empty database."""
    stack = up(start(database, name="copy"))
    settled(stack, database, "copy")
    stack.close()
    return dump(database)


@pytest.mark.parametrize("live,copy", [("sqlite", "postgres"), ("postgres", "sqlite"), ("sqlite", "sqlite")])
def test_a_replay_gives_the_same_rows(start, make, live, copy):
    live, copy = make(live), make(copy)
    stack = up(start(live))
    together(3, lambda i: work(stack, i))
    settled(stack, live)
    before = dump(live)
    assert len(before["metrics"]) > 600 and sorted(row["name"] for row in before["registered_models"]) == ["model0", "model1", "model2"]
    stack.close()
    assert replayed(start, copy) == before
    assert dump(live) == before


@pytest.mark.parametrize("live,copy", [("sqlite", "sqlite"), ("postgres", "sqlite")])
def test_requests_and_events_about_one_thing_end_as_the_stream_has_them(start, make, live, copy):
    """Own facts are in the tables before they have their place in the stream; events of others come between."""
    live, copy = make(live), make(copy)
    stack = up(start(live))
    run = new_run(stack)
    ask(stack, "/registered-models/create", {"name": "m"})

    def write(i):
        for n in range(40):
            if i % 2:
                ask(stack, "/runs/set-tag", {"run_id": run, "key": f"k{n % 3}", "value": f"api{i}-{n}"})
                ask(stack, "/registered-models/update", {"name": "m", "description": f"api{i}-{n}"}, "PATCH")
            else:
                publish(stack, "run.tag", {"run_id": run, "key": f"k{n % 3}", "value": f"bus{i}-{n}"})
                publish(stack, "run.updated", {"run_id": run, "status": "FINISHED" if n % 2 else "RUNNING", "end_time": n})
                publish(stack, "model.updated", {"name": "m", "description": f"bus{i}-{n}"})
                publish(stack, "run.param", {"run_id": run, "key": f"p{n}", "value": i})

    together(4, write)
    settled(stack, live)
    stack.close()
    assert replayed(start, copy) == dump(live)


def test_what_was_answered_is_read(start, database):
    """Read your writes, while facts come round."""
    stack = up(start(database))
    run = new_run(stack)
    for n in range(60):
        ask(stack, "/runs/set-tag", {"run_id": run, "key": "n", "value": str(n)})
        publish(stack, "run.tag", {"run_id": run, "key": "other", "value": str(n)})
        tags = ask(stack, f"/runs/get?run_id={run}", None, "GET")["run"]["data"]["tags"]
        assert {"key": "n", "value": str(n)} in tags


# ---- kills

def test_nothing_is_lost_or_doubled_by_kills(start, make, server):
    live, copy = make("postgres"), make("sqlite")
    stack = up(start(live))
    told = []

    def log(i):
        run = f"k{i}"
        for n in range(60):
            def stored():
                metric = {"run_id": run, "key": "n", "value": n, "step": n}
                return stack.post("/api/events", {"topic": "run.metric", "id": f"{run}-{n}", "data": metric}).status == 200
            wait_until(stored, "the event is stored")

            def answered():
                return stack.post(f"{API}/runs/set-tag", {"run_id": run, "key": f"t{n}", "value": str(n)}).status == 200
            wait_until(answered, "the request is answered")
            told.append((run, n))

    def disturb():
        for step in range(6):
            wait_until(lambda: len(told) >= 15 * (step + 1), "work goes on")
            if step % 3 == 0:
                kill(stack)
            elif step % 3 == 1:
                server.kill()
                server.start()
            else:
                os.kill(stack.broker_pid(), signal.SIGKILL)

    with ThreadPoolExecutor() as pool:  # the server ends with the thread that starts it
        work = pool.map(log, range(2))
        disturb()
        list(work)
    up(stack)
    settled(stack, live)
    assert sorted(values(live, "SELECT run_uuid, step FROM metrics")) == sorted((f"k{i}", n) for i in range(2) for n in range(60))
    tags = values(live, "SELECT run_uuid, value FROM tags WHERE key LIKE 't%'")
    assert sorted(tags) == sorted((f"k{i}", str(n)) for i in range(2) for n in range(60))
    stack.close()
    assert replayed(start, copy) == dump(live)


def test_a_killed_tracker_publishes_what_it_had_committed(start, database, tmp_path):
    """The row is committed, the process dies before the broker has the fact: the next one publishes it."""
    stack = up(start(database))
    run = new_run(stack)
    settled(stack, database)
    for n in range(20):
        ask(stack, "/runs/set-tag", {"run_id": run, "key": f"t{n}", "value": "v"})
        if n % 5 == 4:
            kill(stack)
            up(stack)
    settled(stack, database)
    facts = [event["data"]["key"] for event in stack.events("run.tag") if event["data"]["run_id"] == run]
    assert sorted(facts) == sorted(f"t{n}" for n in range(20)), "each once"


def test_facts_that_waited_during_a_crash_end_as_they_were_told(start, make, tmp_path):
    """Committed, and the process, or all of them, gone before anything was published: the tables are ahead of a stream that has nothing."""
    live, copy = make("sqlite"), make("sqlite")
    stack = up(start(live))
    ask(stack, "/registered-models/create", {"name": "draft", "description": "d"})
    ask(stack, "/model-versions/create", {"name": "draft", "source": "s3://bucket/m"})
    ask(stack, "/registered-models/rename", {"name": "draft", "new_name": "model"})
    ask(stack, "/registered-models/alias", {"name": "model", "alias": "champion", "version": "1"})
    settled(stack, live)
    facts = [{"topic": event["topic"], "subject": event["subject"], "body": event["data"]} for event in stack.events("model.>")]
    stack.close()
    before = dump(live)
    shutil.rmtree(tmp_path / "bus")
    with sqlite3.connect(live.path) as db:
        db.execute("DELETE FROM lineshaft_position")
        for i, fact in enumerate(facts):
            db.execute("INSERT INTO lineshaft_outbox VALUES (?, 1, ?)", (i + 1, json.dumps([fact])))
    stack = up(start(live))
    settled(stack, live)
    stack.close()
    assert dump(live) == before
    assert replayed(start, copy) == before
    assert len(facts) == 4 and [row["name"] for row in before["model_versions"]] == ["model"]


def test_who_writes_faster_than_the_stream_takes_it_is_slowed_down(start, database):
    """An answer waits while more than 20000 facts are in the outbox: four callers have at most one batch more each."""
    stack = up(start(database))
    run, longest = new_run(stack), []

    def write(i):
        for n in range(12):
            ask(stack, "/runs/log-batch", {"run_id": run, "metrics": [
                {"key": f"k{i}", "value": 1, "timestamp": n * 1000 + k, "step": 0} for k in range(1000)]})
            longest.append(values(database, "SELECT COUNT(*) FROM lineshaft_outbox")[0][0])

    together(4, write)
    settled(stack, database)
    assert max(longest) <= 24 and values(database, "SELECT COUNT(*) FROM metrics") == [(48000,)]


def test_a_second_tracker_stands_by(start, database):
    stack = up(start(database, more=", replicas: 2"))
    stack.up.saw("database-taken")
    run = new_run(stack)
    assert len(stack.pids("track")) == 2
    first = stack.up.saw("database-up")
    member = "track.1" if "track.1" in first else "track.2"
    for n in range(3):
        publish(stack, "run.metric", *[{"run_id": run, "key": "n", "value": n * 100 + i, "step": n * 100 + i} for i in range(100)])
        if n == 1:
            os.kill(stack.pids("track", member)[0], signal.SIGKILL)
    wait_until(lambda: stack.get(f"{API}/runs/get?run_id={run}").status == 200, "the other one answers")
    settled(stack, database)
    assert values(database, "SELECT COUNT(*) AS n FROM metrics") == [(300,)]


def test_the_database_may_be_down_at_the_start_and_later(start, make, server):
    """Events and requests wait, and the node says so; nothing is lost, nothing dies."""
    database = make("postgres")
    with ThreadPoolExecutor() as pool:
        server.stop()
        try:
            stack = start(database)
            stack.up.saw("database-down")
            publish(stack, "run.metric", {"run_id": "r1", "key": "a", "value": 1})
            early = pool.submit(stack.get, f"{API}/experiments/get?experiment_id=0")
        finally:
            server.start()
        assert early.result().status in (200, 503)
        up(stack)
        settled(stack, database)
        server.kill()
        try:
            stack.up.wait_for("database-down")
            publish(stack, "run.metric", *[{"run_id": "r1", "key": "a", "value": 1 + i, "step": i} for i in range(1, 300)])
            late = pool.submit(stack.get, f"{API}/runs/get?run_id=r1")
        finally:
            server.start()
        assert late.result().status in (200, 503)
    up(stack)
    settled(stack, database)
    assert values(database, "SELECT COUNT(*) AS n FROM metrics") == [(300,)]
    assert len(stack.pids("track")) == 1 and not [line for line in stack.up.seen if "track: exited" in line], "it waited, and did not die"


# ---- streams that go, databases that were there

def test_a_stream_that_begins_anew_is_taken_from_its_start(start, make, tmp_path):
    database = make("sqlite")
    stack = up(start(database))
    publish(stack, "run.metric", *[{"run_id": "r1", "key": "a", "value": i, "step": i} for i in range(50)])
    settled(stack, database)
    stack.close()
    shutil.rmtree(tmp_path / "bus")
    stack = up(start(database))
    publish(stack, "run.metric", {"run_id": "r2", "key": "a", "value": 1})
    settled(stack, database)
    assert values(database, "SELECT run_uuid FROM runs ORDER BY run_uuid") == [("r1",), ("r2",)]
    stack.up.saw("stream-anew")


def test_facts_that_no_stream_keeps_leave_the_outbox(tmp_path, make):
    database = make("sqlite")
    head = """
lineshaft: 1
name: stack
broker: {{ listen: "tcp://127.0.0.1:{port}", data: bus }}
streams: {{ runs: {{ topics: ["run.>"] }} }}
nodes:
"""
    text = TRACKER.replace("DATABASE", database.url).replace("NAME", "track").replace("MORE", ", takes: [\"run.created\", \"run.tag\"]")
    stack = Stack(tmp_path, text, head=head)
    try:
        up(stack)
        ask(stack, "/experiments/create", {"name": "e"})  # no stream has it
        run = new_run(stack)
        ask(stack, "/runs/log-metric", {"run_id": run, "key": "a", "value": 1, "timestamp": 1})  # it has this; the node does not take it
        wait_until(lambda: not values(database, "SELECT id FROM lineshaft_outbox"), "an empty outbox")
    finally:
        stack.close()


def test_a_database_that_mlflow_made_is_taken_as_it_is(start, make):
    database = make("sqlite")
    up(start(database)).close()
    with sqlite3.connect(database.path) as db:
        db.execute("UPDATE alembic_version SET version_num = '7d34483879f0'")
        db.execute("ALTER TABLE experiments ADD COLUMN workspace VARCHAR(63) NOT NULL DEFAULT 'default'")
        db.execute("CREATE TABLE spans (trace_id VARCHAR(50))")
    stack = up(start(database))
    stack.up.saw("revision=7d34483879f0")
    new_run(stack)
    stack.close()
    with sqlite3.connect(database.path) as db:
        db.execute("ALTER TABLE inputs DROP COLUMN step")
    stack = start(database)
    line = stack.up.saw("database-down")
    assert "7d34483879f0" in line and "inputs has no column step" in line and "mlflow db upgrade" in line
    assert run("req", "tracker.experiments.get", '{"experiment_id": "0"}', "--timeout", "1s", url=stack.url).status != 0
