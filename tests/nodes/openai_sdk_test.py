# SPDX-License-Identifier: Apache-2.0
"""Real clients of the OpenAI API on a real lineshaft: openai-node, the AI SDK, curl. Their own tests are in tests/compat/node.
And what such clients may rely on: whatever a model server does wrong, they see a clean answer or an error."""
import hashlib
import json
import os
import pathlib
import re
import subprocess

import pytest

from bus import ROOT
from cli import ok, wait_until
from stack import Http, Mock, Stack, free_port

NODE_TESTS = ROOT / "tests" / "compat" / "node"
TEXT = "Grüß dich, 日本語 \"quoted\"\nand more 🎉"
KEY = "ls_test_sdk"
NODES = """
  door:    {{ kind: ingress, listen: "{http}" }}
  guarded: {{ kind: ingress, listen: "127.0.0.1:%d", keys: {{ tester: "sha256:%s" }} }}
  model:   {{ kind: inference, backend: openai, url: "{mock}" }}
"""


@pytest.fixture(scope="module")
def mock():
    mock = Mock("--tokens", 4)
    yield mock
    mock.close()


def answered(http):
    """What it says of its models, as text; nothing while it does not listen."""
    try:
        return http.get("/v1/models").body.decode()
    except OSError:
        return ""


@pytest.fixture(scope="module")
def stack(mock, tmp_path_factory):
    port = free_port()
    nodes = NODES % (port, hashlib.sha256(KEY.encode()).hexdigest())
    stack = Stack(tmp_path_factory.mktemp("stack"), nodes, mock)
    stack.guarded = Http(port, KEY)
    wait_until(lambda: "echo" in answered(stack.guarded), "answered by the guarded door")
    yield stack.with_model("echo", "created-text")
    stack.close()
    print("--- what `up` showed ---", *stack.up.seen, *stack.up.lines.queue, sep="\n")


# ---- clients

def curl(*args):
    done = subprocess.run(["curl", "-sS", "--max-time", "30", *args], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done
    return done.stdout


def chat(model, text="hello", stream=True):
    return json.dumps({"model": model, "stream": stream, "messages": [{"role": "user", "content": text}]})


def packages():
    """Where openai and ai are: NODE_PATH, or what `deploy/setup test` installed."""
    places = [os.environ.get("NODE_PATH", ""), str(ROOT / "build" / "npm" / "node_modules")]
    return next((place for place in places if place and (pathlib.Path(place) / "openai").is_dir()), None)


@pytest.mark.parametrize("file", sorted(path.name for path in NODE_TESTS.glob("*.test.js")))
def test_node_clients(mock, stack, file):
    assert packages(), "the npm packages are missing: run deploy/setup test"
    env = {**os.environ, "NODE_PATH": packages(), "OPENAI_BASE_URL": f"http://127.0.0.1:{stack.port}/v1", "MOCK_URL": mock.url,
           "THROUGH_LINESHAFT": "1", "OPENAI_KEYED_BASE_URL": f"http://127.0.0.1:{stack.guarded.port}/v1", "OPENAI_KEY": KEY}
    done = subprocess.run(["node", "--test", "--test-reporter=tap", NODE_TESTS / file], env=env, capture_output=True, text=True,
                          timeout=300)
    failed = re.findall(r"^not ok \d+ - (.*)", done.stdout, re.M)
    assert done.returncode == 0 and not failed, f"{failed}\n{done.stdout[-12000:]}{done.stderr[-2000:]}"
    assert int(re.search(r"^# pass (\d+)", done.stdout, re.M).group(1)) > 5
    assert re.search(r"^# skipped 0", done.stdout, re.M)


def test_curl_whole_answer(stack):
    url = f"http://127.0.0.1:{stack.port}/v1"
    out = curl(f"{url}/chat/completions", "-H", "content-type: application/json", "-d", chat("echo", TEXT, False))
    assert json.loads(out)["choices"][0]["message"]["content"] == TEXT
    assert "echo" in [model["id"] for model in json.loads(curl(f"{url}/models"))["data"]]


def test_curl_stream(stack):
    """Without a content-type too: curl -d alone says that it is a form."""
    for more in ([], ["-H", "content-type: application/json"]):
        out = curl("-N", f"http://127.0.0.1:{stack.port}/v1/chat/completions", *more, "-d", chat("echo", TEXT))
        records = [line[6:] for line in out.split("\n") if line.startswith("data: ")]
        assert records[-1] == "[DONE]" and out.endswith("data: [DONE]\n\n")
        assert "".join(c["delta"].get("content") or "" for r in records[:-1] for c in json.loads(r)["choices"]) == TEXT


def test_curl_error(stack):
    out = curl("-D", "-", f"http://127.0.0.1:{stack.port}/v1/chat/completions", "-d", chat("nobody"))
    head, body = out.replace("\r\n", "\n").split("\n\n", 1)
    assert head.startswith("HTTP/1.1 404") and re.search(r"^x-request-id: \S+", head, re.M | re.I)
    error = json.loads(body)["error"]
    assert error["code"] == "model_not_found" and set(error) >= {"message", "type", "param", "code"} and "nobody" in error["message"]


def test_the_story_of_a_chat_is_found_by_its_request_id(stack):
    answer = stack.chat("echo", "Tell me all.")
    request = answer.headers["x-request-id"]
    stack.until_event("chat.completed", 1 + sum(e["topic"] == "chat.completed" and e["correlationid"] != request for e in stack.events()))
    lines = ok("tail", "--trace", request, url=stack.url).splitlines()
    assert re.search(r'chat\.request +door\S* +echo, 1 message: "Tell me all\."$', lines[1])
    assert re.search(r"└─ chat\.completed +door\S* +echo on model\S*, took .*, first token after .*, \d+ tokens", lines[2])
    assert lines[3].startswith("2 events, ")


# ---- what a model server does wrong

FIXED = "tok0 tok1 tok2 tok3"
REASONS = ("stop", "length", "tool_calls", "content_filter", "function_call")
TOOL_CALLS = [("call_1", "get_weather", {"city": "Zürich"}), ("call_2", "get_time", {"zone": "CET"})]
THOUGHTS = "think0 think1 think2"
# model -> what the client sees: (text, reasoning, tool calls).
CLEAN = {
    "fixed": (FIXED, "", []), "echo": (TEXT, "", []), "split": (TEXT, "", []), "slow-header": (FIXED, "", []),
    "crlf": (FIXED, "", []), "no-done": (FIXED, "", []), "no-role": (FIXED, "", []), "no-usage": (FIXED, "", []),
    "usage-every-chunk": (FIXED, "", []), "usage-no-choices": (FIXED, "", []), "no-choice-index": (FIXED, "", []),
    "bare-chunks": (FIXED, "", []), "created-text": (FIXED, "", []), "text-plain": (FIXED, "", []), "not-streaming": (FIXED, "", []),
    "eos-reason": (FIXED, "", []), "reasoning": (FIXED, THOUGHTS, []), "reasoning_content": (FIXED, THOUGHTS, []),
    "tools": ("", "", TOOL_CALLS), "tools-no-type": ("", "", TOOL_CALLS), "tools-no-index": ("", "", TOOL_CALLS[:1]),
    "tools-object-args": ("", "", TOOL_CALLS[:1]),
}
# model -> the statuses that fit; in a stream the error may also come as a record behind the first text.
WRONG = {
    "bad-json": (502,), "no-finish": (502,), "cut-after-3": (502,), "error-mid-stream": (502, 500),
    "abort-reason": (502,), "400": (400,), "401": (502,), "403": (502,), "404": (404,), "429": (429,), "500": (500, 502), "503": (503,),
    "error-int-code": (400,), "flat-error": (400,),
}


def check_error(error):
    assert set(error) >= {"message", "type", "param", "code"} and error["message"] and error["type"], error


def read_stream(answer):
    """Records of a stream whose framing is just what the API promises: `data: JSON` and an empty line; comments."""
    assert answer.headers["content-type"].startswith("text/event-stream") and not answer.headers["content-encoding"]
    *records, rest = answer.body.decode().split("\n\n")
    assert rest == ""
    lines = [record for record in records if not record.startswith(":")]
    assert all(line.startswith("data: ") and "\n" not in line for line in lines), lines
    return [line[6:] for line in lines]


def check_chunks(chunks, model):
    """What the strictest of the clients wants of every chunk."""
    assert len({(c["id"], c["created"], c["model"], c["object"]) for c in chunks}) == 1
    first = chunks[0]
    assert first["id"] and isinstance(first["created"], int) and first["object"] == "chat.completion.chunk" and first["model"] == model
    assert first["choices"][0]["delta"]["role"] == "assistant"
    ends = [choice["finish_reason"] for c in chunks for choice in c["choices"] if choice["finish_reason"]]
    assert len(ends) == 1 and ends[0] in REASONS
    assert all(choice["index"] == 0 for c in chunks for choice in c["choices"])
    *before, last = chunks
    assert last["choices"] == [] and all(c.get("usage") is None for c in before)
    check_usage(last["usage"])
    return ends[0]


def check_usage(usage):
    assert all(isinstance(usage[key], int) for key in ("prompt_tokens", "completion_tokens", "total_tokens"))
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0


def joined(deltas):
    """(text, reasoning, tool calls) of a stream's deltas, or of a message taken as the only one."""
    calls = {}
    for place, call in ((n, c) for d in deltas for n, c in enumerate(d.get("tool_calls") or [])):
        index = call.get("index", place)
        if index not in calls:
            assert call["id"] and call["type"] == "function"
            calls[index] = [call["id"], call["function"]["name"], ""]
        calls[index][2] += call["function"].get("arguments", "")
    tools = [(id, name, json.loads(arguments)) for id, name, arguments in calls.values()]
    return "".join(d.get("content") or "" for d in deltas), "".join(d.get("reasoning_content") or "" for d in deltas), tools


@pytest.mark.parametrize("model", CLEAN)
def test_a_clean_stream_comes_of_it(stack, model):
    answer = stack.chat(model, TEXT, stream=True, stream_options={"include_usage": True})
    assert answer.status == 200, answer.body
    *records, done = read_stream(answer)
    assert done == "[DONE]"
    chunks = [json.loads(record) for record in records]
    assert check_chunks(chunks, model) == ("tool_calls" if CLEAN[model][2] else "stop")
    assert joined([choice["delta"] for c in chunks for choice in c["choices"]]) == CLEAN[model]


@pytest.mark.parametrize("model", CLEAN)
def test_a_clean_whole_answer_comes_of_it(stack, model):
    answer = stack.chat(model, TEXT)
    assert answer.status == 200 and answer.headers["content-type"].startswith("application/json"), answer.body
    body = answer.json
    choice, = body["choices"]
    assert isinstance(body["created"], int) and body["object"] == "chat.completion" and body["id"] and body["model"] == model
    assert choice["index"] == 0 and choice["message"]["role"] == "assistant"
    assert choice["finish_reason"] == ("tool_calls" if CLEAN[model][2] else "stop")
    assert joined([choice["message"]]) == CLEAN[model]
    check_usage(body["usage"])


@pytest.mark.parametrize("model", WRONG)
def test_a_stream_says_what_went_wrong(stack, model):
    answer = stack.chat(model, TEXT, stream=True)
    if answer.status != 200:
        assert answer.status in WRONG[model], answer.body
        check_error(answer.json["error"])
        return
    *records, last = [record for record in read_stream(answer) if record != "[DONE]"]
    check_error(json.loads(last)["error"])
    chunks = [json.loads(record) for record in records]
    assert all(choice["finish_reason"] is None for c in chunks for choice in c["choices"])
    assert FIXED.startswith(joined([choice["delta"] for c in chunks for choice in c["choices"]])[0])


@pytest.mark.parametrize("model", WRONG)
def test_a_whole_answer_is_an_error_and_never_half_of_one(stack, model):
    answer = stack.chat(model, TEXT)
    assert answer.status in WRONG[model], answer.body
    check_error(answer.json["error"])


def test_every_turn_has_one_outcome_on_record(stack):
    """Whatever was asked above."""
    answer = stack.chat("echo", "the last one")
    stack.until_event("chat.completed")
    asked, ended = {}, {}
    for event in stack.events():
        kind = asked if event["topic"] == "chat.request" else ended
        kind.setdefault(event["correlationid"], []).append(event["topic"])
    assert answer.headers["x-request-id"] in asked
    assert {request: len(topics) for request, topics in ended.items()} == {request: 1 for request in asked}
