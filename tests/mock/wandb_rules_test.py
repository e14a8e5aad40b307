# SPDX-License-Identifier: Apache-2.0
"""The W&B server of tests, wandb.py, refuses what clients must not do, and fails on command."""
import base64
import http.client
import json
import pathlib
import socket
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import wandb

UPSERT = """mutation UpsertBucket($i: UpsertBucketInput!) {
  upsertBucket(input: $i) { bucket { id name project { entity { name } } } inserted } }"""
HISTORY = "wandb-history.jsonl"


@pytest.fixture
def server():
    with wandb.Server() as server:
        yield server


def call(server, path, body, method="POST", key=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    headers = {} if key == "" else {"Authorization": "Basic " + base64.b64encode(f"api:{key or server.key}".encode()).decode()}
    try:
        connection.request(method, path, body if isinstance(body, bytes) else json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"{}")
    finally:
        connection.close()


def upsert(server, name="r1", **fields):
    return call(server, "/graphql", {"query": UPSERT, "variables": {"i": {"name": name, "modelName": "demo", **fields}}})


def stream(server, name="r1", **body):
    return call(server, f"/files/acme/demo/{name}/file_stream", body)


def rows(offset, *lines):
    return {"files": {HISTORY: {"offset": offset, "content": list(lines)}}}


def test_the_exchange_of_a_run(server):
    status, answer = upsert(server, displayName="nightly", config='{"lr": {"value": 0.1}}', tags=["a"])
    bucket = answer["data"]["upsertBucket"]
    assert status == 200 and bucket["inserted"] and bucket["bucket"]["project"]["entity"]["name"] == "acme"
    assert not upsert(server, notes="n")[1]["data"]["upsertBucket"]["inserted"]
    line = '{"loss":NaN,"_step":0,"_timestamp":1.5}'
    assert stream(server, **rows(0, line)) == stream(server, **rows(0, line, '{"_step":7}')) == (200, {"exitcode": None, "limits": {}})
    server.stop("r1")
    assert stream(server)[1]["stopped"]
    assert [stream(server, complete=True, exitcode=0)[0] for _ in range(2)] == [200, 200]
    run = server.run("r1")
    assert [row["_step"] for row in run.history()] == [0, 7] and set(run.history()[0]) == {"loss", "_step"}
    assert (run.settings(), run.tags, run.notes, run.exitcode, run.heartbeats) == ({"lr": 0.1}, ["a"], "n", 0, 1)
    assert server.failures == []


@pytest.mark.parametrize("body", [
    rows(2, '{"_step":2}'), rows(0, '{"_step":0}', '{"_step":1}', '{"_step":1}'), rows(0, '{"_step":0,"x":1}'), rows(1, '{"_step":0}'),
    rows(1, "[1]"), rows(1, "{"), rows(1, '{"x":1}'), {"complete": True},
    {"files": {"wandb-summary.json": {"offset": 1, "content": ["{}"]}}}, {"surprise": 1}], ids=str)
def test_broken_rules_are_refused_and_recorded(server, body):
    upsert(server)
    stream(server, **rows(0, '{"_step":0}'))
    assert stream(server, **body)[0] == 400 and len(server.failures) == 1
    assert server.run("r1").rows() == [{"_step": 0}]


def test_nothing_comes_behind_complete(server):
    upsert(server)
    stream(server, complete=True, exitcode=1)
    assert stream(server)[0] == 400 and server.run("r1").state == "failed"
    upsert(server)
    assert stream(server)[0] == 200


def test_keys_names_and_sizes(server):
    assert upsert(server, key="x")[0] == 200  # a field that nobody knows
    assert call(server, "/graphql", {"query": UPSERT}, key="wrong")[0] == 401
    assert call(server, "/files/acme/demo/none/file_stream", {})[0] == 404
    assert not server.failures
    for wrong in ({"name": "a/b"}, {"modelName": "a#b"}, {"config": '{"lr": 1}'}):
        assert upsert(server, **wrong)[0] == 400
    assert call(server, "/graphql", b'{"query": NaN}')[0] == 400
    assert call(server, "/upload/x", b"", "PUT")[0] == 400 and call(server, "/upload/x", b"", "PUT", key="")[0] == 200
    upsert(server)
    server.delete("r1")
    status, answer = upsert(server)
    assert status == 409 and "Duplicate entry" in answer["errors"][0]["message"]
    assert len(server.failures) == 5


def test_a_body_above_10_mib_is_not_even_read(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.putrequest("POST", "/graphql")
    connection.putheader("Content-Length", str((10 << 20) + 1))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_faults_are_due_in_order_and_lost_answers_are_done(server):
    upsert(server)
    server.fault("status", status=429, skip=1, count=2, at="file_stream", run="r1")
    assert [stream(server)[0] for _ in range(4)] == [200, 429, 429, 200]
    for kind, done in (("reset-before", 0), ("cut", 0), ("reset-after", 1)):
        server.fault(kind, at="file_stream")
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            stream(server, **rows(0, '{"_step":0}'))
        assert len(server.run("r1").rows()) == done
    assert call(server, "/control/fault", {"kind": "errors", "at": "graphql"})[0] == 200
    assert upsert(server)[1] == {"data": None, "errors": [{"message": "told so"}]}
    assert call(server, "/control/state", b"", "GET")[1]["runs"][0]["history"] == [{"_step": 0}]


def test_a_client_that_dies_has_broken_no_rule(server):
    upsert(server)
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(b"POST /files/acme/demo/r1/file_stream HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
    assert server.failures == []
