# SPDX-License-Identifier: Apache-2.0
"""What a caller sees when workers, the broker or the door itself die or are stopped in the middle of things."""
import os
import signal

import pytest

from cli import wait_until
from stack import Mock, Stack, together

TWO_WORKERS = """
  door:  {{ kind: ingress, listen: "{http}" }}
  model: {{ kind: inference, backend: openai, url: "{mock}", replicas: 2, restart: {{ delay: 100ms }} }}
"""


@pytest.fixture
def mock():
    mock = Mock()
    yield mock
    mock.close()


@pytest.fixture
def stack(tmp_path, mock):
    stack = Stack(tmp_path, TWO_WORKERS, mock)
    yield stack.with_model("hang", "fixed")
    stack.close()


def two_workers(stack):
    wait_until(lambda: len(stack.pids("model")) == 2, "two workers")
    return stack.pids("model")


def busy_worker(stack):
    """Process id of the worker that has the one open request, as the broker knows it."""
    observer = stack.dealer("observer")
    found = []

    def there():
        services = observer.ok("ADM", op="services")["services"]
        found[:] = [worker["member"] for service in services for worker in service["workers"] if worker["busy"]]
        return len(found) == 1

    wait_until(there, "one worker has the request")
    observer.close()
    pid, = stack.pids("model", found[0])
    return pid


def test_a_worker_killed_before_the_first_token_is_not_noticed(tmp_path, mock):
    """The backend never answers the first call; the worker that waits for it dies, another takes the request over."""
    stack = Stack(tmp_path, TWO_WORKERS, mock)
    try:
        stack.with_model("hang-first")
        two_workers(stack)
        answers = []

        def ask(_):
            answers.append(stack.chat_stream("hang-first", "still here").rest())

        def kill(_):
            mock.until("open", 1)
            os.kill(busy_worker(stack), signal.SIGKILL)

        together(2, lambda i: (ask, kill)[i](i))
        *chunks, done = answers[0]
        assert done == "[DONE]" and "".join(c["choices"][0]["delta"].get("content", "") for c in chunks) == "still here"
        assert not any("error" in c for c in chunks)
        assert [e["topic"] for e in stack.events()] == ["chat.request", "chat.completed"]
    finally:
        stack.close()


def test_a_worker_killed_after_the_first_token_is_a_proper_error(stack, mock):
    two_workers(stack)
    stream = stack.chat_stream("hang-after-3")
    while stream.data()["choices"][0]["delta"].get("content", "") == "":
        pass
    os.kill(busy_worker(stack), signal.SIGKILL)
    rest = stream.rest()
    assert "error" in rest[-1] and rest[-1]["error"]["message"] and "[DONE]" not in rest
    assert stack.until_event("chat.failed")[0]["data"]["partial"] is True
    wait_until(lambda: len(stack.pids("model")) == 2, "the worker is back")
    assert stack.chat("fixed").status == 200


def test_a_broker_restart_in_the_middle_leaves_no_caller_waiting(stack, mock):
    streams = [stack.chat_stream("hang-after-3") for _ in range(5)]
    for stream in streams:
        stream.data()
    os.kill(stack.broker_pid(), signal.SIGKILL)
    for stream in streams:
        assert "error" in stream.rest()[-1]
    wait_until(stack.ready, "ready again")
    stack.with_model("fixed")
    assert stack.chat("fixed").status == 200
    assert len(stack.until_event("chat.failed", 5)) == 5


def test_no_worker_is_told_at_once(tmp_path):
    stack = Stack(tmp_path, '  door: {{ kind: ingress, listen: "{http}" }}\n')
    try:
        answer = stack.chat("anything")
        assert answer.status == 404 and stack.get("/v1/models").json["data"] == []
    finally:
        stack.close()


def test_stopping_lets_answers_finish(stack, mock):
    stream = stack.chat_stream("fixed", mock={"tokens": 40, "pace_ms": 20})
    first = stream.data()
    stack.up.process.send_signal(signal.SIGTERM)
    *chunks, done = [first, *stream.rest()]
    assert done == "[DONE]"
    assert sum(bool(c["choices"][0]["delta"].get("content")) for c in chunks) == 40
    assert stack.up.end() == 0


def test_the_backend_may_be_down_at_start(tmp_path):
    mock = Mock()
    port = mock.port
    mock.close()
    stack = Stack(tmp_path, TWO_WORKERS.replace("url:", "model: fixed, url:"), type("Down", (), {"url": f"http://127.0.0.1:{port}/v1"}))
    try:
        stack.with_model("fixed")
        answer = stack.chat("fixed")
        assert answer.status in (502, 503) and str(port) in answer.json["error"]["message"] or answer.json["error"]["code"]
        mock = Mock("--port", port)
        wait_until(lambda: stack.chat("fixed").status == 200, "answered once the backend is there")
        mock.close()
    finally:
        stack.close()
