# SPDX-License-Identifier: Apache-2.0
"""The mock model server does what its README says: it is the judge of others."""
import contextlib
import http.client
import json
import os
import socket
import subprocess
import threading
import time
import urllib.parse

import pytest

from bus import PATIENCE_S, die_with_parent

OPENAI = os.path.join(os.environ.get("LINESHAFT_BUILD", "build"), "tests/mock/openai")
TEXT = "Grüß dich, 日本語 \"quoted\"\nand more 🎉"


class Mock:
    """`openai` with these arguments."""

    def __init__(self, *args):
        self.process = subprocess.Popen([OPENAI, *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                                        preexec_fn=die_with_parent)
        self.url = self.process.stdout.readline().strip()
        self.netloc = urllib.parse.urlsplit(self.url).netloc

    def ask(self, method, path, body=None, **headers):
        """One request on a connection of its own: status, headers, bytes of the body."""
        with contextlib.closing(http.client.HTTPConnection(self.netloc, timeout=PATIENCE_S)) as connection:
            path = path if path.startswith("/") else f"/v1/{path}"
            connection.request(method, path, body if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def state(self):
        return json.loads(self.ask("GET", "/mock/state")[2])

    def reset(self):
        self.ask("POST", "/mock/reset")

    def until(self, holds):
        """The state, as soon as holds(state) is true."""
        until, pause = time.monotonic() + PATIENCE_S, threading.Event()
        while not holds(state := self.state()):
            assert time.monotonic() < until, f"still not: {state}"
            pause.wait(0.01)
        return state

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(PATIENCE_S)
        self.process.stdout.close()


def chat(model, text="hello", stream=True, **more):
    """The body of a chat request."""
    return {"model": model, "stream": stream, "messages": [{"role": "user", "content": text}], **more}


@pytest.fixture(scope="module")
def mock():
    with Mock("--tokens", 4) as server:
        yield server


def connect(mock):
    host, port = mock.netloc.split(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE_S)


def send(connection, body, path="/v1/chat/completions"):
    data = json.dumps(body).encode()
    connection.sendall(b"POST %s HTTP/1.1\r\nHost: mock\r\nContent-Length: %d\r\n\r\n%s" % (path.encode(), len(data), data))


def read_until(connection, text):
    got = bytearray()
    while got.find(text, max(0, len(got) - 70000)) < 0:
        piece = connection.recv(65536)
        assert piece, f"closed before {text!r}: {got[-1000:]!r}"
        got += piece
    return bytes(got)


def stream(mock, body, path="chat/completions"):
    """The records of a stream; what is no JSON stays text."""
    status, headers, data = mock.ask("POST", path, body)
    assert status == 200, data
    records = []
    for record in data.decode().replace("\r\n", "\n").split("\n\n"):
        lines = [line[5:] for line in record.split("\n") if line.startswith("data:")]
        if lines:
            try:
                records.append(json.loads("\n".join(lines)))
            except ValueError:
                records.append("\n".join(lines).strip())
    return records


def content(records, index=0, key="content"):
    choices = [choice for record in records if isinstance(record, dict) for choice in record.get("choices", [])]
    return "".join(c["delta"].get(key) or "" for c in choices if c.get("index", 0) == index)


def test_fixed_counts_its_tokens_and_ends_properly(mock):
    records = stream(mock, chat("fixed", stream_options={"include_usage": True}))
    assert content(records) == "tok0 tok1 tok2 tok3"
    assert records[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert records[-3]["choices"][0]["finish_reason"] == "stop"
    assert records[-2]["usage"]["completion_tokens"] == 4 and records[-2]["choices"] == []
    assert records[-1] == "[DONE]"


@pytest.mark.parametrize("model", ["echo", "some/echo", "split"])
def test_echo_gives_the_last_users_text_back(mock, model):
    body = chat(model, TEXT)
    body["messages"] = [{"role": "user", "content": "before"}, *body["messages"], {"role": "assistant", "content": "x"}]
    assert content(stream(mock, body)) == TEXT
    plain = json.loads(mock.ask("POST", "chat/completions", {**body, "stream": False})[2])
    assert plain["choices"][0]["message"] == {"role": "assistant", "content": TEXT}


def test_completions_have_text(mock):
    records = stream(mock, {"model": "echo", "prompt": TEXT, "stream": True}, "completions")
    assert "".join(r["choices"][0]["text"] for r in records[:-1]) == TEXT
    assert json.loads(mock.ask("POST", "completions", {"model": "echo", "prompt": TEXT})[2])["choices"][0]["text"] == TEXT


@pytest.mark.parametrize("model, text", [("crlf", "tok0 tok1 tok2 tok3"), ("no-done", "tok0 tok1 tok2 tok3"),
                                         ("two-choices", "tok0 tok1 tok2 tok3"), ("bare-chunks", "tok0 tok1 tok2 tok3"),
                                         ("no-finish", "tok0 tok1 tok2 tok3"), ("slow-header", "tok0 tok1 tok2 tok3"),
                                         ("bad-json", "tok0 tok1 tok2 tok3"), ("error-mid-stream", "tok0 tok1")])
def test_each_odd_stream_says_what_it_should(mock, model, text):
    records = stream(mock, chat(model))
    assert content(records) == text
    assert (records[-1] == "[DONE]") == (model not in ("no-done", "no-finish"))
    assert any(isinstance(r, dict) and "error" in r for r in records) == (model == "error-mid-stream")
    assert any(isinstance(r, str) and r != "[DONE]" for r in records) == (model == "bad-json")
    assert content(records, 1) == ("~tok0~ tok1~ tok2~ tok3" if model == "two-choices" else "")


def test_tools_come_in_fragments_and_the_result_is_answered(mock):
    calls = {}
    for record in stream(mock, chat("tools"))[:-1]:
        for call in record["choices"][0]["delta"].get("tool_calls", []):
            entry = calls.setdefault(call["index"], ["", ""])
            entry[0] += call["function"].get("name", "")
            entry[1] += call["function"]["arguments"]
    assert [(name, json.loads(text)) for name, text in calls.values()] == [
        ("get_weather", {"city": "Zürich"}), ("get_time", {"zone": "CET"})]
    messages = [{"role": "user", "content": "?"}, {"role": "tool", "tool_call_id": "call_1", "content": "rain"}]
    assert content(stream(mock, {"model": "tools", "stream": True, "messages": messages})) == "rain"


def test_overrides_come_in_the_request(mock):
    assert content(stream(mock, chat("fixed", mock={"tokens": 2}))) == "tok0 tok1"
    assert content(stream(mock, chat("fixed", mock={"text": TEXT}))) == TEXT
    stamps = content(stream(mock, chat("fixed", mock={"stamp": "text", "pace_ms": 1}))).split()
    assert len(stamps) == 4 and stamps == sorted(stamps, key=int)
    fields = [r["choices"][0]["delta"]["mock_us"] for r in stream(mock, chat("fixed", mock={"stamp": "field"}))[1:-2]]
    assert len(fields) == 4 and fields == sorted(fields)


@pytest.mark.parametrize("model, status", [("400", 400), ("429", 429), ("500", 500), ("503", 503), ("error-int-code", 400),
                                           ("flat-error", 400), ("nobody", 404)])
def test_errors_have_their_status(mock, model, status):
    got, _, body = mock.ask("POST", "chat/completions", chat(model))
    body = json.loads(body)
    assert got == status and (body.get("message") if model == "flat-error" else body["error"]["message"])


def test_a_cut_is_a_cut(mock):
    mock.reset()
    with pytest.raises(http.client.IncompleteRead) as cut:
        mock.ask("POST", "chat/completions", chat("cut-after-2"))
    assert b"tok1" in cut.value.partial and b"tok2" not in cut.value.partial
    with pytest.raises(http.client.IncompleteRead):
        mock.ask("POST", "chat/completions", chat("cut-after-2", stream=False))
    assert mock.until(lambda s: s["broken"] == 2)["completed"] == 0


@pytest.mark.parametrize("model, stream, seen, window", [
    ("hang", False, None, "aborts_before_answer"), ("fixed", False, None, "aborts_before_answer"),
    ("hang-after-0", True, b"\r\n\r\n", "aborts_before_token"), ("hang-after-2", True, b"tok1", "aborts_mid_stream"),
    ("fixed", True, b"tok1", "aborts_mid_stream")])
def test_who_leaves_is_counted_in_its_window(mock, model, stream, seen, window):
    mock.reset()
    connection = connect(mock)
    send(connection, chat(model, stream=stream, mock={"pace_ms": 20, "tokens": 100000}))
    if seen:
        read_until(connection, seen)
    else:
        mock.until(lambda s: s["open"] == 1)
    connection.close()
    state = mock.until(lambda s: s["aborts"] == 1)
    assert state[window] == 1 and state["open"] == 0 and state["completed"] == 0


def test_a_connection_is_kept_and_requests_in_a_row_are_answered_in_order(mock):
    mock.reset()
    connection = connect(mock)
    for word in ("one", "two"):
        send(connection, chat("echo", word, stream=False))
    got = read_until(connection, b"two")
    assert got.index(b"one") < got.index(b"two")
    connection.close()
    assert mock.until(lambda s: s["calls"] == 2 and not s["open"])["completed"] == 2


def test_the_last_call_can_be_looked_at(mock):
    body = chat("fixed", TEXT, temperature=0.5)
    mock.ask("POST", "chat/completions", body, **{"X-Probe": "a\"b"})
    state = mock.state()
    assert state["last_body"] == body and state["last_headers"]["x-probe"] == 'a"b'


def test_models_are_listed_and_a_key_is_asked_for():
    with Mock("--model", "org/one", "--api-key", "k1") as mock:
        assert mock.ask("GET", "models")[0] == 401
        key = {"authorization": "Bearer k1"}
        assert [m["id"] for m in json.loads(mock.ask("GET", "models", **key)[2])["data"]] == ["org/one"]
        assert json.loads(mock.ask("GET", "models/org%2Fone", **key)[2])["id"] == "org/one"
        assert mock.ask("GET", "models/two", **key)[0] == 404
        assert mock.ask("POST", "chat/completions", chat("org/one"), **key)[0] == 200


def test_a_long_stream_waits_for_its_reader(mock):
    connection = connect(mock)
    send(connection, chat("fixed", mock={"tokens": 50000}))
    got = read_until(connection, b"[DONE]")
    assert got.count(b" tok") == 49999
    connection.close()


def test_two_hundred_streams_at_once(mock):
    mock.reset()
    connections = [connect(mock) for _ in range(200)]
    for connection in connections:
        send(connection, chat("fixed", mock={"pace_ms": 2, "tokens": 20}))
    for connection in connections:
        assert read_until(connection, b"[DONE]\n\n\r\n0\r\n\r\n").count(b"tok") == 20
        connection.close()
    assert mock.until(lambda s: s["completed"] == 200)["aborts"] == 0
