# SPDX-License-Identifier: Apache-2.0
"""The inference node between a real broker and a backend that misbehaves on command (docs/nodes/chat-generate.md,
docs/nodes/inference.md)."""
import json
import os
import queue
import random
import signal
import socket
import subprocess
import threading

import pytest

import stack
from bus import LINESHAFT, PATIENCE_S, die_with_parent, unpack
from cli import wait_until

PROGRAM = os.path.join(os.path.dirname(LINESHAFT), "lineshaft-node")


class Mock(stack.Mock):
    def wait(self, holds):
        """The state, as soon as holds(state) is true."""
        wait_until(lambda: holds(self.state()), f"so at the mock: {self.state()}")
        return self.state()

    def last_body(self):
        return self.state()["last_body"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Script:
    """A backend that says the same bytes to everybody, after reading the request; what the mock does not know."""

    def __init__(self, answer, hold=False):
        self.answer, self.hold, self.requests = answer, hold, queue.Queue()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/v1"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.talk, args=(connection,), daemon=True).start()

    def talk(self, connection):
        with connection, connection.makefile("rwb") as file:
            head = b"".join(iter(file.readline, b"\r\n"))
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            self.requests.put((head, file.read(length)))
            try:
                file.write(self.answer)
                file.flush()
                if self.hold:
                    file.read(1)  # until the other side closes
            except OSError:
                pass
        self.requests.put(None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def stream_of(*records):
    """An answer that ends with its connection; text is sent as it is."""
    lines = [record if isinstance(record, str) else "data: " + json.dumps(record) for record in records]
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    return (head + "".join(f"{line}\n\n" for line in lines)).encode()


def chunk(finish=None, **delta):
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


class Node:
    """lineshaft-node with one inference node, configured by its environment alone."""

    def __init__(self, bus, serves="chat.generate", name="model", **options):
        self.bus, self.serves, self.name = bus, serves, name
        self.log = bus.folder / f"{name}.log"
        config = {"node": name, "replica": 1, "replicas": 1, "serves": [serves], "options": options}
        with open(self.log, "ab") as log:
            env = {**os.environ, "LINESHAFT_URL": bus.url, "LINESHAFT_NODE": name, "LINESHAFT_MEMBER": f"{name}.1",
                   "LINESHAFT_OPTIONS": json.dumps(config)}
            self.process = subprocess.Popen([PROGRAM, "inference"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env,
                                            preexec_fn=die_with_parent, cwd=bus.folder)

    def about(self):
        for service in self.bus.admin("services")["services"]:
            for worker in service["workers"]:
                if worker["client"] == self.name:
                    return worker["about"]
        return None

    def models(self):
        return [model["id"] for model in (self.about() or {}).get("models", [])]

    def ready(self):
        self.bus.until(f"the node serves\n{self.log_text()}", lambda: self.about() is not None)
        return self

    def log_text(self):
        return self.log.read_text(errors="replace")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


class Answer:
    """Parts of one answer, and what follows from them."""

    def __init__(self, parts, error=None):
        self.parts, self.error = parts, error

    def text(self, index=0, key="text"):
        return "".join(part.get(key, "") for part in self.parts if part.get("index", 0) == index)

    def finish(self, index=0):
        """The one reason for which the choice ended."""
        [reason] = [part["finish_reason"] for part in self.parts if "finish_reason" in part and part.get("index", 0) == index]
        return reason

    def tools(self):
        """Every tool call, put together as a client does it."""
        calls = {}
        for part in self.parts:
            for delta in json.loads(part.get("tool_calls", "[]")):
                if delta["index"] not in calls:
                    assert delta["id"] and delta["type"] == "function" and delta["function"]["name"], delta
                    calls[delta["index"]] = [delta["function"]["name"], ""]
                calls[delta["index"]][1] += delta["function"].get("arguments", "")
        return [(name, json.loads(arguments)) for _, (name, arguments) in sorted(calls.items())]

    @property
    def usage(self):
        return self.parts[-1]["usage"]


class Asker:
    """A requester that speaks LWP/1 by hand."""

    def __init__(self, bus):
        self.peer, self.rid = bus.dealer(), 0

    def send(self, body, topic="chat.generate", parts=1000, **keys):
        self.rid += 1
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.peer.send("REQ", {"rid": self.rid, "topic": topic, "parts": parts, "timeout": PATIENCE_S * 1000, **keys}, body)
        return self.rid

    def part(self):
        """The next part: (its map, is it the last)."""
        msg = self.peer.expect("REP")
        assert "error" not in msg.head, msg.head
        part = unpack(msg.frames[0])
        return part, not msg.head["more"]

    def until_text(self, text):
        """Parts, until their text is `text`."""
        got = ""
        while got != text:
            assert text.startswith(got), got
            got += self.part()[0].get("text", "")

    def rest(self, parts=()):
        """Everything up to the end."""
        parts = list(parts)
        while True:
            msg = self.peer.expect("REP")
            if "error" in msg.head:
                return Answer(parts, msg.head)
            parts.append(unpack(msg.frames[0]))
            if not msg.head["more"]:
                return check(Answer(parts))

    def ask(self, body, **keys):
        self.send(body, **keys)
        return self.rest()

    def failure(self, body, **keys):
        error = self.ask(body, **keys).error
        assert error and error["error"], error
        return error


def check(answer):
    """What every whole answer fulfils."""
    first, last = answer.parts[0], answer.parts[-1]
    assert first["model"] and first["worker"] == "model.1"
    assert all("model" not in part for part in answer.parts[1:])
    assert last["usage"]["total_tokens"] == last["usage"]["prompt_tokens"] + last["usage"]["completion_tokens"]
    assert last["backend_ms"] >= 0
    for index in {part.get("index", 0) for part in answer.parts}:
        assert answer.finish(index) in ("stop", "length", "tool_calls", "content_filter", "function_call")
    return answer


def chat(model, text="hello", **more):
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


@pytest.fixture
def mock():
    with Mock("--tokens", 4) as server:
        yield server


@pytest.fixture
def make_node(bus):
    nodes = []

    def make(wait=True, **options):
        nodes.append(Node(bus, **options))
        return nodes[-1].ready() if wait else nodes[-1]

    yield make
    for node in nodes:
        assert node.stop() == 0, node.log_text()
        assert "ERROR: " not in node.log_text() and "runtime error" not in node.log_text(), node.log_text()


@pytest.fixture
def open_node(make_node, mock):
    """A node for every model that the mock lists."""
    node = make_node(backend="openai", url=mock.url, first_byte_timeout=PATIENCE_S * 1000, stall_timeout=PATIENCE_S * 1000)
    node.bus.until("the models are known", lambda: len(node.models()) > 20)
    return node


@pytest.fixture
def asker(bus, open_node):
    return Asker(bus)


# ---- whole answers ----

def test_tokens_come_as_parts_and_the_last_has_the_usage(asker):
    answer = asker.ask(chat("fixed", mock={"pace_ms": 20}))
    assert [part["text"] for part in answer.parts if "text" in part] == ["tok0", " tok1", " tok2", " tok3"]
    assert answer.parts[0]["model"] == "fixed" and answer.finish() == "stop"
    assert answer.usage["completion_tokens"] == 4 and "estimated" not in answer.usage


def test_the_first_part_comes_with_the_first_token(asker):
    asker.send(chat("hang-after-3"))
    part, last = asker.part()
    assert part["text"] and part["model"] == "hang-after-3" and part["worker"] == "model.1" and not last


@pytest.mark.parametrize("model", ["split", "crlf", "echo"])
def test_text_is_whole_however_it_is_cut(asker, model):
    text = "Grüß dich, 日本語 \"quoted\"\nand more 🎉 and nothing lost"
    answer = asker.ask(chat(model, text))
    if model == "crlf":
        assert answer.text() == "tok0 tok1 tok2 tok3"
    else:
        assert answer.text() == text


def test_a_large_record(asker):
    assert len(asker.ask(chat("big")).text()) >= 100_000


@pytest.mark.parametrize("model", ["no-done", "no-role", "no-choice-index", "bare-chunks", "created-text", "text-plain",
                                   "usage-every-chunk", "usage-no-choices", "slow-header", "not-streaming"])
def test_deviations_that_do_no_harm(asker, model):
    answer = asker.ask(chat(model))
    assert answer.text() == "tok0 tok1 tok2 tok3" and answer.finish() == "stop"
    assert answer.usage["completion_tokens"] == 4 and "estimated" not in answer.usage


def test_usage_that_the_backend_does_not_count_is_estimated(asker):
    usage = asker.ask(chat("no-usage", "a question of some length")).usage
    assert usage["estimated"] is True and usage["prompt_tokens"] == 7 and usage["completion_tokens"] == 5


def test_reasons_that_are_not_the_apis(asker):
    assert asker.ask(chat("eos-reason")).finish() == "stop"


@pytest.mark.parametrize("model", ["reasoning", "reasoning_content"])
def test_reasoning_under_either_name(asker, model):
    answer = asker.ask(chat(model))
    assert answer.text(key="reasoning") == "think0 think1 think2"
    assert answer.text() and answer.finish() == "stop"


def test_two_choices(asker):
    answer = asker.ask(chat("two-choices", n=2))
    assert answer.text(1).replace("~", "") == answer.text(0)
    assert answer.finish(0) == answer.finish(1) == "stop"


@pytest.mark.parametrize("model", ["tools", "tools-no-index", "tools-no-type", "tools-object-args"])
@pytest.mark.parametrize("parts", [1000, 1])
def test_tool_calls_are_mended(asker, model, parts):
    asker.send(chat(model, tools=[{"type": "function", "function": {"name": "weather"}}]), parts=parts)
    got, last = [], False
    while not last:
        part, last = asker.part()
        got.append(part)
        asker.peer.send("MORE", rid=asker.rid, parts=1) if parts == 1 and not last else None
    answer = check(Answer(got))
    assert answer.finish() == "tool_calls"
    assert answer.tools() and all(name and isinstance(arguments, dict) for name, arguments in answer.tools())


def test_a_completion(asker):
    answer = asker.ask({"model": "echo", "prompt": "once upon a time"}, operation="completion")
    assert answer.text() == "once upon a time" and answer.finish() == "stop"


# ---- what the backend gets ----

def test_the_callers_body_arrives_as_it_was_written(asker, mock):
    asker.ask(b'{"zeta":1.10,"messages":[{"role":"user","content":"a\\u00e4"}],"seed":18446744073709551615,"model":"fixed",'
              b'"stream":false,"top_k":40,"stream_options":{"include_obfuscation":false,"include_usage":false},"deep":{"b":[1e2,"}"]}}')
    sent = json.loads(mock.last_body())  # the number is too large for the mock, which then shows the text
    assert sent["stream"] is True and sent["stream_options"] == {"include_obfuscation": False, "include_usage": True}
    assert sent["seed"] == 18446744073709551615 and sent["top_k"] == 40 and sent["deep"] == {"b": [100, "}"]}
    assert [key for key in sent if key not in ("model", "stream", "stream_options")] == ["zeta", "messages", "seed", "top_k", "deep"]


def test_another_name_a_key_and_a_length(bus, make_node):
    with Mock("--api-key", "s3cret", "--model", "upstream") as mock:
        make_node(backend="openai", url=mock.url + "/", model="mine", backend_model="upstream", api_key="s3cret", max_tokens=7,
                  context_length=4096, owned_by="us")
        [model] = bus.admin("services")["services"][0]["workers"][0]["about"]["models"]
        assert model["id"] == "mine" and model["owned_by"] == "us" and model["context_length"] == 4096 and model["created"] > 0
        asker = Asker(bus)
        assert asker.ask(chat("mine")).parts[0]["model"] == "mine"
        assert mock.last_body()["model"] == "upstream" and mock.last_body()["max_tokens"] == 7
        asker.ask(chat("mine", max_tokens=3))
        assert mock.last_body()["max_tokens"] == 3


def test_a_key_that_the_backend_refuses_is_not_told(bus, make_node):
    with Mock("--api-key", "s3cret") as mock:
        node = make_node(backend="openai", url=mock.url, model="fixed", api_key="wr0ng")
        error = Asker(bus).failure(chat("fixed"))
        assert error["number"] == 401 and error["again"] is False and "api_key" in error["error"]
        assert "wr0ng" not in error["error"] + node.log_text()


# ---- failures ----

@pytest.mark.parametrize("model,number,again,text", [
    ("400", 400, False, "[context_length_exceeded] "), ("401", 401, False, "api_key"), ("403", 403, False, "api_key"),
    ("404", 404, False, "[model_not_found] "), ("429", 429, True, "[rate_limit_exceeded] "), ("500", 502, True, "the mock refuses"),
    ("503", 503, True, "[overloaded] "), ("error-int-code", 400, False, "the mock refuses"),
    ("flat-error", 400, False, "the mock refuses"), ("bad-json", 502, None, "no JSON"),
    ("cut-after-3", 502, False, "broke off"), ("no-finish", 502, False, "finish_reason"),
    ("error-mid-stream", 502, False, "the mock refuses"), ("abort-reason", 502, False, "abort")])
def test_every_failure_is_an_error_with_its_number(asker, model, number, again, text):
    error = asker.failure(chat(model))
    assert error["number"] == number and text in error["error"], error
    assert again is None or error["again"] is again


@pytest.mark.parametrize("body,text", [
    (b"{", "no JSON"), (b"[1]", "no JSON object"), ({"model": "fixed"}, "`messages`"), (chat("nobody's"), "nobody's")])
def test_requests_that_cannot_be_answered(asker, body, text):
    error = asker.failure(body)
    assert error["number"] in (400, 404) and error["again"] is False and text in error["error"]


@pytest.mark.parametrize("model,phase", [("hang", "no answer came"), ("hang-after-0", "no answer came"),
                                         ("hang-after-1", "stood still")])
def test_slowness_is_told_by_its_phase(bus, make_node, mock, model, phase):
    make_node(backend="openai", url=mock.url, model=model, first_byte_timeout=200, stall_timeout=200)
    error = Asker(bus).failure(chat(model))
    assert error["number"] == 504 and phase in error["error"], error
    mock.wait(lambda state: state["aborts"] == 1 and state["open"] == 0)


def test_a_backend_that_is_not_there_is_waited_for(bus, make_node):
    with socket.socket() as held:  # bound, not listening: connections are refused, and nobody else gets the port
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        named = make_node(backend="openai", url=f"http://127.0.0.1:{port}/v1", model="fixed", name="model")
        error = Asker(bus).failure(chat("fixed"))
        assert error["number"] == 503 and error["again"] is True and "cannot be reached" in error["error"]
        asking = make_node(backend="openai", url=f"http://127.0.0.1:{port}/v1", name="asking", serves="chat.asking")
        error = Asker(bus).failure(chat("fixed"), topic="chat.asking")
        assert error["number"] == 503 and error["again"] is True and "models" in error["error"]
        assert named.models() == ["fixed"] and asking.models() == []
    with Mock("--port", port):
        assert Asker(bus).ask(chat("fixed")).finish() == "stop"
        bus.until("the models are known", asking.models)
        assert "fixed" in asking.models()


def test_the_models_of_the_backend_are_asked_for_anew(bus, make_node):
    with Mock("--model", "one") as mock:
        node = make_node(backend="openai", url=mock.url, models_every=100)
        bus.until("one is there", lambda: "one" in node.models())
        port = mock.url.rsplit(":", 1)[1].split("/")[0]
    with Mock("--port", port, "--model", "two"):
        bus.until("two is there", lambda: "two" in node.models() and "one" not in node.models())


def test_the_broker_goes_and_comes_back(bus, make_node, mock):
    node = make_node(backend="openai", url=mock.url, model="hang-after-1")
    asker = Asker(bus)
    asker.send(chat("hang-after-1"))
    asker.part()
    bus.restart()
    mock.wait(lambda state: state["open"] == 0 and state["aborts_mid_stream"] == 1)
    bus.until("the node serves again", node.about)


# ---- backends as no mock plays them ----

@pytest.fixture
def ask_script(bus, make_node):
    def ask(script, **body):
        make_node(backend="openai", url=script.url, model="m", stall_timeout=PATIENCE_S * 1000)
        asker = Asker(bus)
        asker.send(chat("m", **body))
        return asker.rest()

    return ask


def test_an_answer_is_over_at_done_though_the_connection_stays_open(ask_script):
    with Script(stream_of(chunk(content="a\0b"), chunk("stop"), "data: [DONE]"), hold=True) as script:
        assert ask_script(script).text() == "a\0b"
        assert script.requests.get(timeout=PATIENCE_S) and script.requests.get(timeout=PATIENCE_S) is None


@pytest.mark.parametrize("records", [
    [chunk(content="a"), chunk("stop"), "data: [DONE]", {"error": {"message": "out of luck", "code": 500}}],
    [chunk(content="a"), chunk("stop"), "event: error\ndata: {\"message\": \"out of luck\"}"],
    [chunk(content="a"), {"error": "out of luck"}, "data: [DONE]"]])
def test_an_error_record_counts_wherever_it_stands(ask_script, records):
    with Script(stream_of(*records)) as script:
        answer = ask_script(script)
    assert answer.error["number"] == 502 and "out of luck" in answer.error["error"] and answer.error["again"] is False


def test_no_redirect_is_followed(ask_script):
    with Script(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n") as script:
        error = ask_script(script).error
    assert error["number"] == 502 and "redirects" in error["error"]


def test_of_a_long_error_only_the_beginning_is_read(ask_script):
    with Script(b"HTTP/1.1 500 No\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 70000, hold=True) as script:
        assert ask_script(script).error["number"] == 502


@pytest.mark.parametrize("answer,text", [(b"", "broke"), (b"SSH-2.0-x\r\n", "failed"), (stream_of(), "finish_reason"),
                                         (stream_of([1]), "no JSON object"), (stream_of(chunk(content="x")), "finish_reason")])
def test_what_is_no_answer(ask_script, answer, text):
    with Script(answer) as script:
        error = ask_script(script).error
    assert error["number"] == 502 and text in error["error"]


def test_tool_calls_that_all_have_the_index_0(ask_script):
    calls = [{"index": 0, "id": f"c{i}", "function": {"name": name, "arguments": "{}"}} for i, name in enumerate("ab")]
    with Script(stream_of(*[chunk(tool_calls=[call]) for call in calls], chunk("tool_calls"), "data: [DONE]")) as script:
        assert ask_script(script).tools() == [("a", {}), ("b", {})]


def test_the_old_function_call_and_content_in_pieces(ask_script):
    with Script(stream_of(chunk(content=[{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]),
                          chunk(function_call={"name": "f", "arguments": "{\"a\":"}), chunk(function_call={"arguments": "1}"}),
                          chunk("function_call"), "data: [DONE]")) as script:
        answer = ask_script(script)
    assert answer.text() == "one two" and answer.tools() == [("f", {"a": 1})] and answer.finish() == "tool_calls"


def test_further_keys_of_the_usage_are_kept(ask_script):
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "prompt_tokens_details": {"cached_tokens": 1}, "cost": 0.5}
    with Script(stream_of(chunk(content="a"), {**chunk("stop"), "usage": usage}, "data: [DONE]")) as script:
        assert ask_script(script).usage == usage


@pytest.mark.parametrize("more", [{f"key{i}": i for i in range(70000)}, {"note": "x" * (2 << 20)}])
def test_a_giant_usage_does_not_cost_the_answer(ask_script, more):
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    with Script(stream_of(chunk(content="a"), {**chunk("stop"), "usage": {**usage, **more}}, "data: [DONE]")) as script:
        answer = ask_script(script)
    assert answer.text() == "a" and answer.usage.items() >= usage.items() and len(answer.usage) < 4000


def test_an_answer_that_is_too_big_is_the_backends_fault(ask_script):
    with Script(stream_of(chunk(refusal="x" * (2 << 20)), chunk("stop"), "data: [DONE]")) as script:
        assert ask_script(script).error["number"] == 502


def test_logprobs_and_refusals(ask_script):
    logprobs = {"content": [{"token": "a", "logprob": -0.5}]}
    first = chunk(content="a")
    first["choices"][0]["logprobs"] = logprobs
    with Script(stream_of(first, chunk(refusal="no"), chunk("stop"), "data: [DONE]")) as script:
        answer = ask_script(script)
    assert json.loads(answer.text(key="logprobs")) == logprobs and answer.text(key="refusal") == "no"


def test_a_long_plain_answer_is_cut_between_characters(ask_script):
    text = "x" + "ü🎉" * 100_000
    message = {"role": "assistant", "content": text, "reasoning": text}
    body = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode()
    with Script(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body) as script:
        answer = ask_script(script)
    assert answer.text() == text and answer.text(key="reasoning") == text and len(answer.parts) > 4


# ---- cancelling ----

@pytest.mark.parametrize("model,text,window", [("hang", "", "aborts_before_answer"), ("hang-after-0", "", "aborts_before_token"),
                                               ("hang-after-3", "tok0 tok1 tok2", "aborts_mid_stream")])
def test_cancel_closes_the_connection_to_the_backend(asker, mock, model, text, window):
    asker.send(chat(model))
    asker.until_text(text)
    mock.wait(lambda state: state["open"] == 1)
    asker.peer.send("CANCEL", rid=asker.rid)
    asker.peer.expect_err("CANCELLED")
    state = mock.wait(lambda state: state["open"] == 0)
    assert state["aborts"] == 1 and state[window] == 1
    assert asker.ask(chat("fixed")).finish() == "stop"


def test_a_requester_that_goes_away_or_waits_no_longer(bus, asker, mock):
    asker.send(chat("hang-after-3"), timeout=1000)
    gone = Asker(bus)
    gone.send(chat("hang-after-3"))
    gone.part()
    gone.peer.close()
    asker.until_text("tok0 tok1 tok2")
    mock.wait(lambda state: state["aborts_mid_stream"] == 2)
    asker.peer.expect_err("TIMEOUT")


# ---- credit ----

def test_without_credit_text_grows_together(asker, mock):
    """One part at a time; the backend is read on, and nothing is lost, doubled or sent over the credit."""
    text = "".join(random.Random(5).choice(["ä", "b", "日本", " ", "🎉", "word "]) for _ in range(3000))
    asker.send(chat("echo", text), parts=1)
    first, last = asker.part()
    mock.wait(lambda state: state["completed"] == 1)
    got = [first]
    while not last:
        assert asker.peer.barrier() == []
        asker.peer.send("MORE", rid=asker.rid, parts=1)
        part, last = asker.part()
        got.append(part)
    answer = check(Answer(got))
    assert answer.text() == text and len(got) <= 4


def test_a_failure_without_credit_is_told(asker):
    asker.send(chat("error-mid-stream", mock={"pace_ms": 1}), parts=1)
    answer = asker.rest()
    assert len(answer.parts) == 1 and answer.error["number"] == 502 and answer.error["again"] is False


def test_pieces_that_cannot_be_joined_are_bounded(bus, make_node):
    """A requester who takes nothing, and a backend whose pieces stay apart."""
    pieces = [chunk(content="a"), chunk(reasoning="b")] * 20000
    with Script(stream_of(*pieces), hold=True) as script:
        make_node(backend="openai", url=script.url, model="m", stall_timeout=PATIENCE_S * 1000)
        asker = Asker(bus)
        asker.send(chat("m"), parts=1)
        answer = asker.rest()
    assert len(answer.parts) == 1 and "wait for a requester" in answer.error["error"]


def test_two_choices_without_credit(asker, mock):
    asker.send(chat("two-choices", n=2), parts=1)
    got = [asker.part()[0]]
    mock.wait(lambda state: state["completed"] == 1)
    asker.peer.send("MORE", rid=asker.rid, parts=10)
    answer = asker.rest(got)
    assert answer.text(1).replace("~", "") == answer.text(0) and len(answer.parts) <= 4


# ---- many at once, and the end ----

def test_what_happened_is_counted(bus, asker, open_node):
    asker.ask(chat("fixed"))
    for model in ("400", "503", "cut-after-3", "nobody's"):
        asker.failure(chat(model))
    asker.send(chat("hang"))
    asker.peer.send("CANCEL", rid=asker.rid)
    asker.peer.expect_err("CANCELLED")
    wanted = {"calls_total": 6, "open": 0, "completed_total": 1, "failed_total": 4, "cancelled_total": 1, "tokens_total": 4,
              "first_tokens_total": 2, "backend_refused_total": 1, "backend_busy_total": 1, "backend_broken_total": 1}

    def counted():
        [session] = [s for s in bus.admin("sessions")["sessions"] if s["client"] == "model"]
        stats = session.get("stats", {})
        return all(stats.get(f"inference_{name}", stats.get(name, 0)) == count for name, count in wanted.items())

    bus.until("the numbers are told", counted)


def test_many_streams_at_once(bus, asker, mock):
    """As many as the node has slots, and more that wait."""
    for i in range(150):
        asker.send(chat("echo", f"number {i} is mine", mock={"pace_ms": 1}))
    texts = {}
    ended = 0
    while ended < 150:
        msg = asker.peer.expect("REP")
        assert "error" not in msg.head, msg.head
        rid = msg.head["rid"]
        texts[rid] = texts.get(rid, "") + unpack(msg.frames[0]).get("text", "")
        ended += not msg.head["more"]
    assert texts == {i + 1: f"number {i} is mine" for i in range(150)}
    assert mock.state()["connections"] < 100, "connections are kept for the next call"


def test_a_stop_finishes_what_is_under_way(bus, asker, open_node, mock):
    asker.send(chat("fixed", mock={"first_ms": 300}))
    mock.wait(lambda state: state["open"] == 1)
    open_node.process.send_signal(signal.SIGTERM)
    assert asker.rest().finish() == "stop"
    assert open_node.process.wait(PATIENCE_S) == 0


@pytest.mark.parametrize("options,text", [
    ({"backend": "openai"}, "url"), ({"backend": "ngram"}, "lineshaft train"), ({"backend": "openai", "url": "ftp://x"}, "http://"),
    ({"backend": "ngram", "file": "nowhere.ngram"}, "nowhere.ngram"), ({}, "backend")])
def test_options_that_cannot_work(bus, options, text):
    node = Node(bus, **options)
    assert node.process.wait(PATIENCE_S) != 0
    assert text in node.log_text()


# ---- the ngram backend ----

@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ngram")
    words = random.Random(1)
    nouns, verbs = ["shaft", "belt", "wheel", "engine", "mill"], ["turns", "drives", "moves", "stops"]
    lines = [f"The {words.choice(nouns)} {words.choice(verbs)} the {words.choice(nouns)}." for _ in range(4000)]
    (folder / "text.txt").write_text("\n\n".join(lines) + "\n")
    command = [LINESHAFT, "train", folder / "text.txt", "--out", folder / "small.ngram", "--name", "small", "--order", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S * 4)
    assert done.returncode == 0, done.stderr
    return str(folder / "small.ngram")


@pytest.fixture
def local(bus, make_node, model_file):
    make_node(backend="ngram", file=model_file)
    return Asker(bus)


def test_a_local_model_answers(bus, local):
    [model] = bus.admin("services")["services"][0]["workers"][0]["about"]["models"]
    assert model["id"] == "small" and model["kind"] == "ngram" and model["version"] and model["created"] > 0
    answer = local.ask(chat("small", "What does the belt do?", max_tokens=12, seed=1))
    assert answer.parts[0]["model"] == "small" and answer.parts[0]["version"] == model["version"]
    assert answer.text() and 0 < answer.usage["completion_tokens"] <= 12 and answer.usage["prompt_tokens"] > 0
    assert "estimated" not in answer.usage
    again = local.ask(chat("small", "What does the belt do?", max_tokens=12, seed=1))
    assert again.text() == answer.text()


def test_a_local_models_choices_and_completion(local):
    answer = local.ask(chat("small", "The shaft", n=3, max_tokens=5, temperature=0))
    assert answer.text(0) and answer.text(0) == answer.text(1) == answer.text(2)
    assert local.ask({"prompt": "The shaft", "max_tokens": 3}, operation="completion").text()


@pytest.mark.parametrize("more,text", [({"temperature": "hot"}, "temperature"), ({"max_tokens": 0}, "max_tokens"),
                                       ({"stop": [1]}, "stop"), ({"top_p": 7}, "top_p"), ({"n": 1000}, "`n`")])
def test_what_a_local_model_cannot_be_asked(local, more, text):
    error = local.failure(chat("small", **more))
    assert error["number"] == 400 and text in error["error"]


def test_a_local_model_waits_for_credit_and_is_cancelled(bus, make_node, model_file):
    make_node(backend="ngram", file=model_file, pace=1)
    asker = Asker(bus)
    asker.send(chat("small", max_tokens=2000), parts=1)
    asker.part()
    asker.peer.send("CANCEL", rid=asker.rid)
    asker.peer.expect_err("CANCELLED")
    asker.send(chat("small", max_tokens=20), parts=1)
    got, last = [], False
    while not last:
        part, last = asker.part()
        got.append(part)
        asker.peer.send("MORE", rid=asker.rid, parts=1) if not last else None
    assert check(Answer(got)).text()
