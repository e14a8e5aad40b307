# SPDX-License-Identifier: Apache-2.0
"""The HTTP door: the OpenAI API, events and requests over HTTP, routes of nodes, keys, errors; against the mock backend."""
import hashlib
import json
import os
import signal
import threading

import pytest

from bus import pack
from cli import run, wait_until
from stack import MOCK_MODELS, Http, Mock, Stack

NODES = """
  door:  {{ kind: ingress, listen: "{http}" }}
  model: {{ kind: inference, backend: openai, url: "{mock}" }}
"""
KEY = "ls_test_0123456789"
KEYED = """
  door:  {{ kind: ingress, listen: "{http}", content: none, hold: 0s, origins: ["https://friend.example"], keys: {{ alice: "sha256:%s" }} }}
  model: {{ kind: inference, backend: openai, url: "{mock}" }}
""" % hashlib.sha256(KEY.encode()).hexdigest()


@pytest.fixture(scope="module")
def mock():
    mock = Mock()
    yield mock
    mock.close()


@pytest.fixture(scope="module")
def stack(tmp_path_factory, mock):
    stack = Stack(tmp_path_factory.mktemp("stack"), NODES, mock)
    yield stack.with_model(*MOCK_MODELS)
    stack.close()


@pytest.fixture(scope="module")
def keyed(tmp_path_factory, mock):
    stack = Stack(tmp_path_factory.mktemp("keyed"), KEYED, mock)
    stack.key = KEY
    yield stack.with_model(*MOCK_MODELS)
    stack.close()


# ---- chat

def test_a_whole_answer(stack):
    answer = stack.chat("echo", "Grüß dich, \"Welt\" \\ 🙂")
    body = answer.json
    assert answer.status == 200 and answer.headers["x-request-id"].startswith("req_")
    assert body["object"] == "chat.completion" and body["model"] == "echo" and body["id"].startswith("chatcmpl-")
    assert isinstance(body["created"], int)
    choice, = body["choices"]
    assert choice["message"] == {"role": "assistant", "content": "Grüß dich, \"Welt\" \\ 🙂", "refusal": None}
    assert choice["index"] == 0 and choice["finish_reason"] == "stop" and choice["logprobs"] is None
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + body["usage"]["completion_tokens"]


def test_a_stream_has_the_records_that_clients_expect(stack):
    stream = stack.chat_stream("echo", "one two three", stream_options={"include_usage": True})
    assert stream.status == 200 and stream.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert stream.headers["cache-control"] == "no-cache, no-transform" and stream.headers["x-accel-buffering"] == "no"
    *chunks, done = stream.rest()
    assert done == "[DONE]"
    assert len({(c["id"], c["created"], c["model"], c["object"]) for c in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    *texts, finish, usage = chunks[1:]
    assert "".join(c["choices"][0]["delta"]["content"] for c in texts) == "one two three"
    assert finish["choices"][0]["delta"] == {} and finish["choices"][0]["finish_reason"] == "stop"
    assert usage["choices"] == [] and usage["usage"]["total_tokens"] > 0
    assert all(c["usage"] is None for c in chunks[:-1])
    assert "[DONE]" not in [c for c in chunks]


def test_usage_is_told_only_when_asked_for(stack):
    *chunks, _ = stack.chat_stream("echo").rest()
    assert all("usage" not in c for c in chunks)


def test_completions_the_older_form(stack):
    body = stack.post("/v1/completions", {"model": "echo", "prompt": "abc"}).json
    assert body["object"] == "text_completion" and body["choices"][0]["text"] == "abc" and body["id"].startswith("cmpl-")
    *chunks, done = stack.stream("POST", "/v1/completions", {"model": "echo", "prompt": "abc", "stream": True}).rest()
    assert done == "[DONE]" and "".join(c["choices"][0]["text"] for c in chunks) == "abc"


def test_tools_pass_through_both_forms(stack):
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    choice = stack.chat("tools", tools=tools).json["choices"][0]
    calls = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls" and choice["message"]["content"] is None and len(calls) == 2
    deltas = [d for c in stack.chat_stream("tools", tools=tools).rest() if c != "[DONE]"
              for d in c["choices"][0]["delta"].get("tool_calls", [])]
    for index, call in enumerate(calls):
        mine = [d for d in deltas if d["index"] == index]
        assert call["type"] == "function" and call["id"] == mine[0]["id"] and mine[0]["type"] == "function"
        assert json.loads(call["function"]["arguments"]) is not None
        assert "".join(d["function"].get("arguments", "") for d in mine) == call["function"]["arguments"]


def test_unknown_fields_reach_the_backend_untouched(stack, mock):
    stack.chat("echo", top_k=17, chat_template_kwargs={"thinking": True}, seed=9007199254740993)
    sent = mock.state()["last_body"]
    sent = json.loads(sent) if isinstance(sent, str) else sent
    assert sent["top_k"] == 17 and sent["chat_template_kwargs"] == {"thinking": True} and sent["seed"] == 9007199254740993


@pytest.mark.parametrize("body, param", [
    ({"messages": [{"role": "user", "content": "x"}]}, "model"),
    ({"model": "echo"}, "messages"),
    ({"model": "echo", "messages": []}, "messages"),
    ({"model": "echo", "messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
    ({"model": "echo", "messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
    ({"model": "echo", "messages": [{"role": "user"}]}, "messages[0].content"),
    ({"model": "echo", "messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0]"),
    ({"model": "echo", "messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
    ({"model": "echo", "messages": [{"role": "user", "content": "x"}], "temperature": 3}, "temperature"),
    ({"model": "echo", "messages": [{"role": "user", "content": "x"}], "n": 1.5}, "n"),
    ({"model": "echo", "messages": [{"role": "user", "content": "x"}], "stream": "yes"}, "stream"),
    ({"model": "echo", "messages": [{"role": "user", "content": "x"}], "stop": ["a", 1]}, "stop"),
])
def test_a_wrong_field_is_named(stack, body, param):
    answer = stack.post("/v1/chat/completions", body)
    error = answer.json["error"]
    assert answer.status == 400 and error["param"] == param and error["type"] == "invalid_request_error"
    assert set(error) == {"message", "type", "param", "code"} and param in error["message"]


@pytest.mark.parametrize("body", [b"", b"{", b'{"model": "a", "model": "b"}', b"\xff\xfe", b'{"a": "\xed\xa0\x80"}', b"[" * 5000,
                                  b'{"a":' * 70 + b"1" + b"}" * 70, b'{"model": 1e999}', b"nonsense"])
def test_bodies_that_are_no_proper_json(stack, body):
    answer = stack.call("POST", "/v1/chat/completions", body)
    assert answer.status == 400 and answer.json["error"]["code"] in ("invalid_json", "invalid_value")


def test_an_unknown_model(stack):
    answer = stack.chat("no-such-model")
    assert answer.status == 404 and answer.json["error"]["code"] == "model_not_found" and answer.json["error"]["param"] == "model"


def test_models(stack):
    models = stack.get("/v1/models").json
    assert models["object"] == "list"
    for model in models["data"]:
        assert model["object"] == "model" and isinstance(model["created"], int) and model["owned_by"]
    assert stack.get("/v1/models/echo").json["id"] == "echo"
    assert stack.get("/v1/models/a%2Fb").json["error"]["code"] == "model_not_found"


def test_responses_says_what_to_use_instead(stack):
    answer = stack.post("/v1/responses", {"model": "echo", "input": "x"})
    assert answer.status == 404 and ".chat(" in answer.json["error"]["message"]


@pytest.mark.parametrize("model, status", [("400", 400), ("401", 502), ("404", 404), ("429", 429), ("500", 502), ("503", 503)])
def test_what_the_backend_refuses_before_the_first_token_keeps_its_class(stack, model, status):
    for stream in (False, True):
        answer = stack.chat(model, stream=stream)
        assert answer.status == status and answer.json["error"]["message"]
        if status in (429, 503):
            assert int(answer.headers["retry-after-ms"]) > 0


@pytest.mark.parametrize("model", ["cut-after-3", "no-finish", "bad-json", "error-mid-stream", "abort-reason"])
def test_an_answer_that_breaks_off_is_an_error_and_never_a_success(stack, model):
    records = stack.chat_stream(model).rest()
    assert any("error" in r for r in records if r != "[DONE]"), records
    assert "[DONE]" not in records
    assert not any(r.get("choices") and r["choices"][0]["finish_reason"] for r in records)
    whole = stack.chat(model)
    assert whole.status >= 500 and whole.headers.get("x-should-retry") == "false"


# ---- the record

def test_one_chat_is_one_trace(stack):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer = stack.post("/v1/chat/completions", {"model": "echo", "messages": [{"role": "user", "content": "trace me"}]},
                        traceparent=trace, x_request_id="mine-1", x_lineshaft_chat="c-77")
    assert answer.headers["x-request-id"] == "mine-1"
    stack.post("/api/events", {"topic": "chat.feedback", "subject": "c-77", "traceparent": answer.headers["traceparent"],
                               "causationid": answer.headers["x-lineshaft-event"], "data": {"request_id": "mine-1", "rating": "up"}})
    events = [e for e in stack.events() if e.get("traceparent", "")[3:35] == trace[3:35]]
    asked, done, feedback = events
    assert [e["topic"] for e in events] == ["chat.request", "chat.completed", "chat.feedback"]
    assert asked["id"] == answer.headers["x-lineshaft-event"] == done["causationid"] == feedback["causationid"]
    assert asked["data"]["messages"][0]["content"] == "trace me" and asked["data"]["chat_id"] == "c-77" == asked["subject"]
    assert done["data"]["message"]["content"] == "trace me" and done["data"]["request_id"] == "mine-1"
    assert done["data"]["duration_ms"] >= done["data"]["first_token_ms"] >= 0 and done["data"]["worker"] == "model"


def test_a_failure_is_on_record(stack):
    request = stack.chat("cut-after-3").headers["x-request-id"]
    failed = [e["data"] for e in stack.until_event("chat.failed") if e["data"]["request_id"] == request]
    assert failed[0]["partial"] is True and failed[0]["error"] and failed[0]["status"] == 502


def test_content_none_keeps_the_texts_out_of_the_record(keyed):
    secret = "the password is swordfish"
    assert keyed.chat("echo", secret).json["choices"][0]["message"]["content"] == secret
    asked = keyed.until_event("chat.request")[-1]
    done = keyed.until_event("chat.completed")[-1]
    assert asked["data"]["messages"] == [{"role": "user", "content": None}] and asked["data"]["principal"] == "alice"
    assert "message" not in done["data"] and done["data"]["usage"]["total_tokens"] > 0
    assert "swordfish" not in json.dumps([asked, done])


# ---- the caller goes away: three windows

def begin(stack, model, stream):
    """Asks, and returns what ends it: in the middle of the stream for hang-after-3, else before anything came."""
    connection = stack.ask("POST", "/v1/chat/completions",
                           {"model": model, "messages": [{"role": "user", "content": "x"}], "stream": stream})
    response = connection.getresponse() if model == "hang-after-3" else None
    while response and b"tok2" not in response.readline():
        pass

    def leave():
        connection.sock and connection.sock.close()
        response and response.close()

    return leave


@pytest.mark.parametrize("model, stream", [("hang", False), ("hang", True), ("hang-after-3", True)])
def test_a_hundred_callers_leave_and_a_hundred_backend_calls_stop(stack, mock, model, stream):
    before, cancelled = mock.state()["aborts"], len([e for e in stack.events() if e["topic"] == "chat.cancelled"])
    for _ in range(4):
        leaves = [begin(stack, model, stream) for _ in range(25)]
        mock.until("open", 25)
        for leave in leaves:
            leave()
        wait_until(lambda: mock.state()["open"] == 0, "all calls stopped at the mock")
    assert mock.state()["aborts"] == before + 100
    events = stack.until_event("chat.cancelled", cancelled + 100)
    assert len(events) == cancelled + 100 and {e["data"]["reason"] for e in events} == {"disconnect"}


# ---- events and requests

def test_publish_is_answered_with_the_level_reached(stack):
    answer = stack.post("/api/events", {"topic": "test.one", "data": {"a": 1}, "id": "fixed-1"})
    assert answer.json == {"id": "fixed-1", "level": "disk"} and answer.body.endswith(b"}\n")
    assert stack.post("/api/events", {"topic": "test.one", "data": {"a": 1}, "id": "fixed-1", "source": "door"}).status == 200
    many = stack.post("/api/events", [{"topic": "test.many", "data": i} for i in range(1000)]).json
    assert len(many) == 1000 and all(one["level"] == "disk" for one in many)
    assert [e["data"] for e in stack.events("test.many")] == list(range(1000))


@pytest.mark.parametrize("body, loc", [
    ({"data": 1}, "topic"),
    ({"topic": "Not A Topic"}, None),
    ({"topic": "run.metric", "data": {"run_id": 7}}, "data"),
    ([{"topic": "test.a"}, {"topic": "test.b", "subject": 5}], "subject"),
    ([], None),
])
def test_what_cannot_be_published_is_told(stack, body, loc):
    answer = stack.post("/api/events", body)
    detail = answer.json["detail"]
    assert answer.status in (400, 422) and detail
    if loc:
        assert answer.status == 422 and loc in detail[0]["loc"] and detail[0]["msg"]


def test_nobody_publishes_for_the_broker(stack):
    assert stack.post("/api/events", {"topic": "$sys.stats"}).status == 403


def test_a_feed_follows_and_resumes_without_loss_or_repeat(stack):
    feed = stack.stream("GET", "/api/events?topic=feed.>")
    place = feed.record()["id"]
    for i in range(5):
        stack.post("/api/events", {"topic": "feed.a", "data": i})
    got = []
    while len(got) < 3:
        record = feed.record()
        got.append(json.loads(record["data"])["data"])
        place = record["id"]
    feed.close()
    stack.post("/api/events", {"topic": "feed.b", "data": 5})
    again = stack.stream("GET", "/api/events?topic=feed.>&limit=3", headers={"Last-Event-ID": place})
    assert got + [e["data"] for e in again.rest()] == [0, 1, 2, 3, 4, 5]


def test_a_feed_that_is_cut_before_its_first_event_misses_none(stack):
    feed = stack.stream("GET", "/api/events?topic=early.>")
    place = feed.record()["id"]
    feed.close()
    stack.post("/api/events", {"topic": "early.bird", "data": "worm"})
    again = stack.stream("GET", "/api/events?topic=early.>&limit=1", headers={"Last-Event-ID": place})
    assert [e["data"] for e in again.rest()] == ["worm"]


@pytest.mark.parametrize("query, headers", [("topic=", {}), ("topic=A", {}), ("", {}), ("topic=a&from=yesterday", {}),
                                            ("topic=a&from=last:3", {}), ("topic=a&limit=x", {}), ("topic=a", {"Last-Event-ID": "x"})])
def test_wrong_feeds_are_told_what_is_wrong(stack, query, headers):
    answer = stack.call("GET", "/api/events?" + query, headers=headers)
    assert answer.status == 422 and answer.json["detail"][0]["msg"]


def test_a_reader_too_slow_for_its_feed_loses_nothing(stack):
    feed = stack.stream("GET", "/api/events?topic=slow.>&limit=60")
    feed.record()
    text = "x" * 100_000
    for i in range(60):
        assert stack.post("/api/events", {"topic": "slow.a", "data": {"i": i, "text": text}}).status == 200
    assert [e["data"]["i"] for e in feed.rest()] == list(range(60))


def worker(stack, topics, **hello):
    peer = stack.dealer("py", **hello)
    peer.ok("SUB", cid=1, serves=topics)
    return peer


def test_a_request_over_http(stack):
    peer = worker(stack, ["math.add"])

    def serve():
        request = peer.expect("REQ")
        a, b = json.loads(request.frames[0])
        peer.send("REP", {"rid": request.head["rid"], "n": 0}, pack({"sum": a + b}))

    thread = threading.Thread(target=serve)
    thread.start()
    answer = stack.post("/api/requests/math.add", [2, 3])
    thread.join()
    peer.close()
    assert answer.status == 200 and answer.json == {"sum": 5} and answer.headers["content-type"] == "application/json"


def test_requests_that_nobody_answers(stack):
    assert stack.post("/api/requests/nobody.home", {}).status == 503
    assert stack.post("/api/requests/Bad..Topic", {}).status == 422
    assert stack.post("/api/requests/a.b?timeout=never", {}).status == 422


def test_a_route_of_a_node_is_served_over_the_bus(stack):
    route = {"method": "GET", "path": "/api/things/{name}", "topic": "things.http", "summary": "One thing"}
    peer = worker(stack, ["things.http"], routes=[route])

    def serve():
        request = peer.expect("REQ")
        seen = {k: request.head[k] for k in ("method", "path", "query")}
        peer.send("REP", {"rid": request.head["rid"], "n": 0, "more": True, "status": 203, "headers": {"Content-Type": "text/x-thing"}},
                  b"part one,")
        peer.send("REP", {"rid": request.head["rid"], "n": 1}, json.dumps(seen).encode())

    thread = threading.Thread(target=serve)
    thread.start()
    answer = stack.get("/api/things/a%20b?x=1")
    thread.join()
    assert answer.status == 203 and answer.headers["content-type"] == "text/x-thing"
    assert answer.body == b'part one,{"method": "GET", "path": "/api/things/a%20b", "query": "x=1"}'
    assert "/api/things/{name}" in stack.get("/openapi.json").json["paths"]
    peer.send("BYE", {})
    peer.close()
    wait_until(lambda: "/api/things/{name}" not in stack.get("/openapi.json").json["paths"], "the route gone from the document")
    away = stack.get("/api/things/a")
    assert away.status == 503 and away.headers["retry-after"] == "1"
    assert away.json["detail"] == "the node py, which answers GET /api/things/a, is not connected now; try again"
    assert stack.call("HEAD", "/api/things/a").status == 503
    assert stack.post("/api/things/a", {}).status == 404  # there never was one
    assert stack.get("/api/nothing/a").status == 404
    peer = stack.dealer("py", routes=[{**route, "path": "/api/others/{name}"}])  # it is back, without that route
    wait_until(lambda: stack.get("/api/things/a").status == 404, "known to be no more")
    peer.send("BYE", {})
    peer.close()


def test_a_node_that_is_killed_is_never_taken_for_absent(tmp_path):
    """MLflow's clients try again after 5xx; a 404 would end a training."""
    stack = Stack(tmp_path, """
  door: {{ kind: ingress, listen: "{http}" }}
  tracking: {{ kind: tracker }}
""")
    path, statuses = "/api/2.0/mlflow/experiments/get?experiment_id=0", set()

    def status():
        statuses.add(stack.get(path).status)
        return stack.get(path).status

    def killed(pid):
        stack.up.process.send_signal(signal.SIGSTOP)  # it starts nothing again before we have looked
        try:
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: status() == 503, "away")
        finally:
            stack.up.process.send_signal(signal.SIGCONT)
        wait_until(lambda: status() == 200, "there again")

    wait_until(lambda: stack.get(path).status == 200, "the tracker there")
    for _ in range(2):
        killed(stack.pids("tracking")[0])
    killed(stack.broker_pid())
    stack.close()
    assert statuses <= {200, 502, 503}


# ---- access

def test_without_a_key_only_health_and_pages_are_open(keyed):
    nobody, wrong = Http(keyed.port), Http(keyed.port, "ls_wrong")
    assert nobody.get("/healthz").status == 200 and nobody.get("/").status == 200
    for client in (nobody, wrong):
        answer = client.chat("echo")
        assert answer.status == 401 and answer.json["error"]["code"] == "invalid_api_key"
        assert answer.headers["www-authenticate"] == "Bearer"
        for path in ("/v1/models", "/metrics", "/api/events?topic=a", "/api/console"):
            assert client.get(path).status == 401
    assert keyed.get("/v1/models").status == 200
    assert Http(keyed.port).get("/v1/models", x_api_key=KEY).status == 200


def test_a_rebound_name_and_a_foreign_page_get_nothing(stack, keyed):
    assert stack.get("/v1/models", Host="evil.example").status == 403
    assert stack.get("/v1/models", Host=f"localhost:{stack.port}").status == 200
    assert stack.post("/api/events", {"topic": "a.b"}, Origin="https://evil.example").status == 403
    assert stack.post("/api/events", {"topic": "a.b"}, Origin=f"http://127.0.0.1:{stack.port}").status == 200
    preflight = keyed.call("OPTIONS", "/v1/chat/completions", headers={"Origin": "https://friend.example",
                                                                        "Access-Control-Request-Method": "POST"})
    assert preflight.status == 204 and preflight.headers["access-control-allow-origin"] == "https://friend.example"


def test_off_loopback_needs_keys(tmp_path):
    (tmp_path / "open.yaml").write_text('lineshaft: 1\nnodes:\n  door: { kind: ingress, listen: "0.0.0.0:0" }\n')
    result = run("check", tmp_path / "open.yaml")
    assert result.status == 1 and "open to the network" in result.err + result.out


# ---- operation

def test_metrics_tell_of_the_broker_and_of_every_node(stack):
    stack.chat("echo")
    text = ""

    def there():
        nonlocal text
        text = stack.get("/metrics").body.decode()
        return "lineshaft_ingress_chats_completed_total" in text and "lineshaft_inference_" in text

    wait_until(there, "the numbers of both nodes")
    assert 'lineshaft_stream_events{stream="events"}' in text and "lineshaft_broker_events_in_total" in text
    families = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(families) == len(set(families))
    for line in text.splitlines():
        assert line.startswith("#") or len(line.rsplit(" ", 1)) == 2 and float(line.rsplit(" ", 1)[1]) is not None


def test_the_document_tells_of_every_route(stack):
    paths = stack.get("/openapi.json").json["paths"]
    for path in ("/v1/chat/completions", "/v1/models", "/api/events", "/api/requests/{topic}", "/metrics", "/healthz"):
        assert path in paths
    assert set(paths["/api/events"]) == {"get", "post"}


@pytest.mark.parametrize("method, path, status", [("GET", "/nothing", 404), ("DELETE", "/v1/models", 405), ("PUT", "/api/events", 405),
                                                  ("GET", "/v1/nothing", 404)])
def test_paths_and_methods_that_are_not_there(stack, method, path, status):
    answer = stack.call(method, path)
    assert answer.status == status and (status != 405 or answer.headers["allow"])


def test_head_is_get_without_the_body(stack):
    answer = stack.call("HEAD", "/healthz")
    assert answer.status == 200 and answer.body == b""


def test_bodies_too_large_are_refused(stack):
    answer = stack.post("/v1/chat/completions", {"model": "echo", "messages": [{"role": "user", "content": "x" * 2_000_000}]})
    assert answer.status == 413 and answer.json["error"]["message"]
