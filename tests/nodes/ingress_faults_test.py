# SPDX-License-Identifier: Apache-2.0
"""The HTTP door among workers, nodes and callers that do what they should not: nothing is lost, nothing ends but what is wrong."""
import json
import os
import signal
import socket
import threading

import pytest

from bus import pack
from cli import wait_until
from stack import HEAD, Stack, together

NODES = '  door: {{ kind: ingress, listen: "{http}" }}\n'
ROUTE = {"method": "GET", "path": "/api/things/{name}", "topic": "things.http"}
MIB = 1 << 20


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """Its door must be the same process at the end of every test, and without a report of a sanitizer."""
    stack = Stack(tmp_path_factory.mktemp("stack"), NODES)
    yield stack
    stack.close()
    stack.up.end()
    assert not [line for line in stack.up.seen if "Sanitizer" in line or "runtime error" in line]


@pytest.fixture(autouse=True)
def same_door(stack):
    door = stack.pids("door")
    yield
    assert stack.get("/healthz").status == 200 and stack.pids("door") == door


class Worker:
    """A node in Python whose `answer(request)` gives the parts: (REP map, body), sent as credit allows."""

    def __init__(self, stack, topic, answer, about=None, **hello):
        self.peer = stack.dealer(f"py{id(self)}", **hello)
        self.peer.ok("SUB", cid=1, serves=[topic], slots=10, **({"about": about} if about else {}))
        self.answer = answer
        self.thread = threading.Thread(target=self.run)

    def run(self):
        request = self.peer.wait("REQ")
        rid, credit, parts = request.head["rid"], request.head["parts"], list(self.answer(request))
        for n, (head, body) in enumerate(parts):
            while not credit:
                credit += self.peer.wait("MORE", rid=rid).head["parts"]
            credit -= 1
            self.peer.send("REP", {"rid": rid, "n": n, "more": n < len(parts) - 1, **head}, body)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.thread.join()
        self.peer.send("BYE")
        self.peer.wait("OK")
        self.peer.close()


def model(stack, *parts):
    about = {"models": [{"id": "py", "created": 1}]}
    worker = Worker(stack, "chat.generate", lambda _: [({}, pack(part)) for part in parts], about)
    stack.with_model("py")
    return worker


def of(stack, answer):
    return [event for event in stack.events() if event.get("correlationid") == answer.headers["x-request-id"]]


def raw(stack, text):
    """What comes back until the connection ends."""
    with socket.create_connection(("127.0.0.1", stack.port), timeout=30) as connection:
        connection.sendall(text.encode())
        out = b""
        while piece := connection.recv(65536):
            out += piece
    return out.decode("latin1")


# ---- feeds

@pytest.mark.parametrize("query", ["topic=a&stream=nosuch", "topic=a&stream=nosuch&from=all", "topic=a&stream=nosuch&from=last:3",
                                   "topic=a&stream=%FF", "topic=a&stream=events&from=1960-01-01T00:00:00Z"])
def test_a_feed_of_what_is_not_there_is_refused_and_nothing_else(stack, query):
    answer = stack.get("/api/events?" + query)
    assert answer.status == 422 and answer.json["detail"][0]["loc"][1] in ("stream", "from")


def test_too_many_different_feeds_are_refused_and_the_others_go_on(stack):
    first = stack.stream("GET", "/api/events?topic=many.one&limit=1")
    feeds = [stack.stream("GET", f"/api/events?topic=many.a{i}") for i in range(450)]
    assert {feed.status for feed in feeds} == {200, 503} and [feed.status for feed in feeds[:300]] == [200] * 300
    assert int(feeds[-1].headers["retry-after-ms"]) > 0
    again = stack.stream("GET", "/api/events?topic=many.a0&limit=1")  # shares a source
    assert again.status == 200
    stack.post("/api/events", [{"topic": "many.one"}, {"topic": "many.a0"}])
    assert len(first.rest()) == len(again.rest()) == 1
    for feed in feeds:
        feed.close()
    wait_until(lambda: stack.stream("GET", "/api/events?topic=many.later").status == 200, "room again")


def test_an_event_larger_than_a_mebibyte_in_json_reaches_its_readers(stack):
    feed = stack.stream("GET", "/api/events?topic=big.>&limit=3")
    feed.record()
    peer = stack.dealer("big")
    for body in (b"1", b"\xc1" * (MIB - 1), b"2"):
        peer.ok("PUB", {"topic": "big.a"}, body)
    peer.close()
    sizes = [len(json.dumps(event)) for event in feed.rest()]
    assert len(sizes) == 3 and sizes[1] > MIB


def test_a_feed_from_the_last_events_of_a_stream(stack):
    for i in range(4):
        stack.post("/api/events", {"topic": "last.a", "data": i})
    feed = stack.stream("GET", "/api/events?topic=last.a&stream=events&from=last:2&limit=2")
    assert [event["data"] for event in feed.rest()] == [2, 3]


# ---- publishing

@pytest.mark.parametrize("key", ["n", "batch", "tag"])
def test_words_of_the_protocol_are_no_attributes(stack, key):
    answer = stack.post("/api/events", {"topic": "a.b", key: "1"})
    assert answer.status == 422 and answer.json["detail"][0]["loc"] == ["body", key]


def test_bulk_from_many_at_once_is_taken_whole(stack):
    def publish(i):
        answer = stack.post("/api/events", [{"topic": f"bulk.a{i}", "data": j} for j in range(1000)])
        assert answer.status == 200 and len(answer.json) == 1000

    together(6, publish)
    assert [event["data"] for event in stack.events("bulk.a3")] == list(range(1000))


def test_numbers_stay_as_they_were_written(stack):
    feed = stack.stream("GET", "/api/events?topic=number.a&limit=1")
    feed.record()
    stack.post("/api/events", {"topic": "number.a", "data": {"value": 0.7, "steps": [1, -2.5e-7, 9007199254740993]}})
    assert '{"value":0.7,"steps":[1,-2.5e-07,9007199254740993]}' in feed.record()["data"]


def test_a_traceparent_that_is_none_is_not_passed_on(stack):
    feed = stack.stream("GET", "/api/events?topic=trace.a&limit=1")
    feed.record()
    assert stack.post("/api/events", {"topic": "trace.a"}, traceparent=b"junk\xff").status == 200
    assert "traceparent" not in feed.data()


# ---- routes of nodes

@pytest.mark.parametrize("size, count", [(MIB, 3), (900_000, 16)])
def test_long_answers_of_nodes_arrive_whole(stack, size, count):
    with Worker(stack, "things.http", lambda _: [({}, b"x" * size)] * count, routes=[ROUTE]):
        wait_until(lambda: "/api/things/{name}" in stack.get("/openapi.json").json["paths"], "the route")
        assert len(stack.get("/api/things/a").body) == size * count


@pytest.mark.parametrize("status", [204, 304])
def test_a_node_that_goes_on_after_an_answer_without_body_harms_nobody(stack, status):
    with Worker(stack, "things.http", lambda _: [({"status": status}, b"body")] * 3, routes=[ROUTE]):
        reply = raw(stack, "GET /api/things/a HTTP/1.1\r\nHost: localhost\r\n\r\n"
                           "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    first, second = reply.split("HTTP/1.1 ")[1:]
    assert first.startswith(str(status)) and first.endswith("\r\n\r\n") and second.startswith("200")


@pytest.mark.parametrize("name, value", [("Content-Length", "3"), ("Transfer-Encoding", "chunked"), ("Connection", "close"),
                                         ("X-Two", "a\r\nX-Evil: b")])
def test_nodes_do_not_frame_answers(stack, name, value):
    with Worker(stack, "things.http", lambda _: [({"headers": {name: value, "X-Fine": "1"}}, b"abcdef")], routes=[ROUTE]):
        answer = stack.get("/api/things/a")
    assert answer.body == b"abcdef" and answer.headers["x-fine"] == "1" and "x-evil" not in answer.headers
    assert answer.headers.get_all("content-length") == ["6"] and "transfer-encoding" not in answer.headers


# ---- workers

@pytest.mark.parametrize("part, why", [
    ({"tool_calls": "[{]}\n\ndata: evil"}, "tool_calls"),
    ({"logprobs": "{\n\ndata: evil"}, "logprobs"),
    ({"text": "a", "finish_reason": 'x","y":"z'}, "finish_reason"),
    ({"text": "a", "finish_reason": "abort"}, "finish_reason"),
    (["no map"], "map"),
    ({"text": "a", "index": 5000}, "choices"),
])
@pytest.mark.parametrize("stream", [False, True])
def test_what_a_worker_must_not_say_is_a_proper_error(stack, part, why, stream):
    with model(stack, part, {"text": "b", "finish_reason": "stop"}):
        answer = stack.chat("py", stream=stream)
    assert answer.status == 502 and why in answer.json["error"]["message"] and answer.json["error"]["code"] == "bad_worker"
    assert answer.headers["x-should-retry"] == "false"


def test_json_of_a_worker_on_many_lines_stays_one_record(stack):
    calls = json.dumps([{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}], indent=2)
    with model(stack, {"tool_calls": calls, "logprobs": '{"content":\n\n[]}'}, {"finish_reason": "tool_calls"}):
        *chunks, done = stack.chat_stream("py").rest()
    assert done == "[DONE]" and chunks[1]["choices"][0]["delta"]["tool_calls"] == json.loads(calls)
    assert chunks[1]["choices"][0]["logprobs"] == {"content": []}


@pytest.mark.parametrize("first, last", [
    ({"version": 7}, {"usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2, "prompt_tokens_details": None, "x": [1]}}),
    ({"version": "v" * 50, "worker": "w" * 300, "model": "m" * 300}, {"usage": {"prompt_tokens": -1, "total_tokens": "2"}}),
    ({}, {"text": '"' * 900_000}),
    ({"model": "m\r\nX-Evil: 1"}, {}),
])
def test_a_turn_is_on_record_whatever_its_worker_tells(stack, first, last):
    with model(stack, {"text": "a", **first}, {"finish_reason": "stop", **last}):
        answer = stack.chat("py")
    assert answer.status == 200 and "x-evil" not in answer.headers
    assert answer.headers.get("x-lineshaft-version") == ("7" if first.get("version") == 7 else None)
    assert [event["topic"] for event in of(stack, answer)] == ["chat.request", "chat.completed"]


@pytest.mark.parametrize("fields, headers", [
    ({"max_tokens": None, "stop": None, "stream": None, "tools": None, "seed": None}, {}),
    ({"messages": [{"role": "assistant", "tool_calls": None}, {"role": "user", "name": None, "content": "x"}]}, {}),
    ({"messages": [{"role": "user", "name": 5, "content": "x", "tool_calls": "x"}]}, {}),
    ({}, {"x-lineshaft-chat": b"\xff\xfe"}),
])
def test_a_turn_is_on_record_whatever_its_caller_writes(stack, fields, headers):
    body = {"model": "py", "messages": [{"role": "user", "content": "x"}], **fields}
    with model(stack, {"text": "a", "finish_reason": "stop"}):
        answer = stack.call("POST", "/v1/chat/completions", body, headers)
    assert answer.status == 200
    assert [event["topic"] for event in of(stack, answer)] == ["chat.request", "chat.completed"]


def test_a_long_record_of_a_fast_reader_is_no_slow_client(stack):
    with model(stack, {"text": '"' * 900_000}, {"finish_reason": "stop"}):
        *chunks, done = stack.chat_stream("py").rest()
    assert done == "[DONE]" and len(chunks[1]["choices"][0]["delta"]["content"]) == 900_000


def test_errors_under_v1_have_one_form(stack):
    assert stack.post("/v1/embeddings", {}, Host="evil.example").json["error"]["code"] == "host_not_allowed"


# ---- a broker that is gone

def test_without_a_broker_every_caller_is_told(tmp_path):
    """It stops answering: the heartbeat tells. Callers of what is known, unknown, and still to be asked for all get an answer."""
    stack = Stack(tmp_path, NODES)
    try:
        with model(stack, {"text": "a", "finish_reason": "stop"}):
            assert stack.chat("py").status == 200
            pid = stack.broker_pid()
            os.kill(pid, signal.SIGSTOP)
            try:
                answers = []
                asks = [lambda: stack.chat("py"), lambda: stack.chat("unknown"), lambda: stack.get("/api/unknown")]
                together(len(asks), lambda i: answers.append(asks[i]().status))
                assert answers == [503, 503, 503]
                wait_until(lambda: stack.get("/readyz").status == 503, "the loss is known")
                assert stack.chat("py").status == stack.post("/api/events", {"topic": "a.b"}).status == 503
                assert stack.get("/api/events?topic=a").status == stack.get("/api/unknown").status == 503
            finally:
                os.kill(pid, signal.SIGCONT)
            wait_until(stack.ready, "ready again")
    finally:
        stack.close()


def test_a_subscription_that_the_broker_refuses_ends_its_feed_and_not_the_door(tmp_path):
    """A broker with room for few subscriptions in all: the door's own three stand, and some feeds."""
    head = HEAD.replace("stats_every: 200ms", "stats_every: 200ms, subscriptions_max: 6")
    stack = Stack(tmp_path, '  door: {{ kind: ingress, listen: "{http}" }}\n', head=head)
    try:
        pid = stack.pids("door")
        feeds = [stack.stream("GET", f"/api/events?topic=few.a{i}") for i in range(12)]
        stack.up.wait_for("refused")
        assert stack.get("/readyz").status == 200 and stack.pids("door") == pid
    finally:
        stack.close()
