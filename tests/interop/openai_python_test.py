# SPDX-License-Identifier: Apache-2.0
"""openai-python: what a program does with it, through ingress and inference to a mock of a model server that tells what reached it."""
import asyncio
import hashlib
import json

import openai
import pydantic
import pytest

from cli import wait_until
from sdk import PATIENCE_S, TEXT, ask, client, collect, raised
from stack import Http, Mock, Stack, free_port

KEY = "ls_test_python"
TOKENS = "tok0 tok1 tok2 tok3"
SLOW = {"mock": {"tokens": 100000, "pace_ms": 20}}
NODES = """
  door:    {{ kind: ingress, listen: "{http}" }}
  guarded: {{ kind: ingress, listen: "127.0.0.1:%d", keys: {{ tester: "sha256:%s" }} }}
  patient: {{ kind: ingress, listen: "127.0.0.1:%d", hold: 0s, keep_alive: 200ms }}
  model:   {{ kind: inference, backend: openai, url: "{mock}" }}
  named:   {{ kind: inference, backend: openai, url: "{mock}", model: org/named, backend_model: fixed, serves: [chat.generate.named] }}
"""


def answers(port, key=None):
    try:
        return "echo" in Http(port, key).get("/v1/models").body.decode()
    except OSError:
        return False


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    mock = Mock("--tokens", 4)
    guarded, patient = free_port(), free_port()
    stack = Stack(tmp_path_factory.mktemp("stack"), NODES % (guarded, hashlib.sha256(KEY.encode()).hexdigest(), patient), mock)
    stack.guarded, stack.patient = guarded, patient
    wait_until(lambda: answers(guarded, KEY) and answers(patient), "answered by the other two doors")
    yield stack.with_model("echo", "org/named")
    stack.close()
    mock.close()
    print("--- what `up` showed ---", *stack.up.seen, *stack.up.lines.queue, sep="\n")


@pytest.fixture
def mock(stack):
    """The mock with its counters at zero."""
    Http(stack.mock.port).post("/mock/reset", {})
    return stack.mock


@pytest.fixture
def ai(stack, mock):
    with client(stack.port) as ai:
        yield ai


# ---- answers

def test_a_whole_answer(ai):
    answer = ai.chat.completions.create(**ask("echo", TEXT))
    choice, = answer.choices
    assert (choice.message.content, choice.message.role, choice.finish_reason) == (TEXT, "assistant", "stop")
    assert (answer.object, answer.model) == ("chat.completion", "echo") and isinstance(answer.created, int)
    assert answer.usage.prompt_tokens == 11
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer._request_id


def test_the_raw_response_has_our_headers(ai):
    raw = ai.chat.completions.with_raw_response.create(**ask("fixed"))
    assert raw.headers["x-lineshaft-model"] == "fixed" and raw.headers["x-lineshaft-worker"].startswith("model")
    assert raw.headers["x-request-id"] and raw.headers["content-type"].startswith("application/json")
    assert raw.parse().choices[0].message.content == TOKENS


def test_a_stream_by_its_iterator(ai):
    chunks = list(ai.chat.completions.create(**ask("echo", TEXT, stream=True)))
    assert collect(chunks)[:2] == (TEXT, "stop")
    assert len({(chunk.id, chunk.created, chunk.model, chunk.object) for chunk in chunks}) == 1
    first = chunks[0].choices[0].delta
    assert (first.role, first.content) == ("assistant", "")
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)


def test_a_stream_by_the_helper_with_its_events(ai):
    with ai.chat.completions.stream(**ask("echo", TEXT, extra_body={"mock": {"pace_ms": 20}})) as stream:
        events = list(stream)
        final = stream.get_final_completion()
    assert final.choices[0].message.content == TEXT and final.choices[0].finish_reason == "stop"
    pieces = [event.delta for event in events if event.type == "content.delta"]
    assert "".join(pieces) == TEXT and len(pieces) > 1
    assert [event.content for event in events if event.type == "content.done"] == [TEXT]


def test_usage_comes_in_a_chunk_of_its_own_when_asked_for(ai):
    chunks = list(ai.chat.completions.create(**ask("fixed", stream=True, stream_options={"include_usage": True},
                                                   extra_body={"mock": {"tokens": 5}})))
    usage = chunks[-1].usage
    assert chunks[-1].choices == [] and all(chunk.usage is None for chunk in chunks[:-1])
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (11, 5, 16)
    assert usage.prompt_tokens_details.cached_tokens == 3


def test_reasoning_is_told_apart_from_the_answer(ai):
    message = ai.chat.completions.create(**ask("reasoning")).choices[0].message
    assert (message.content, message.reasoning_content) == (TOKENS, "think0 think1 think2")


def test_two_choices_stay_two(ai):
    with ai.chat.completions.stream(**ask("two-choices", n=2)) as stream:
        choices = stream.get_final_completion().choices
    assert [choice.message.content for choice in choices] == [TOKENS, "~tok0~ tok1~ tok2~ tok3"]


def test_fields_that_nobody_knows_reach_the_backend_untouched(ai, mock):
    odd = {"top_k": 7, "chat_template_kwargs": {"thinking": False}}
    ai.chat.completions.create(**ask("fixed", TEXT, temperature=0.25, stop=["a", "b"], metadata={"ä": "ö"}, extra_body=odd))
    sent = mock.state()["last_body"]
    expected = {"temperature": 0.25, "stop": ["a", "b"], "metadata": {"ä": "ö"}, **odd}
    assert {key: sent.get(key) for key in expected} == expected
    assert sent["messages"] == [{"role": "user", "content": TEXT}]


def test_completions_the_old_way(ai):
    whole = ai.completions.create(model="echo", prompt=TEXT)
    assert (whole.object, whole.choices[0].text, whole.choices[0].finish_reason) == ("text_completion", TEXT, "stop")
    chunks = list(ai.completions.create(model="echo", prompt=TEXT, stream=True))
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == TEXT


def test_models_the_list_and_each(ai):
    found = {model.id: model for model in ai.models.list()}
    assert {"echo", "fixed", "org/named"} <= set(found)
    assert all(model.object == "model" and isinstance(model.created, int) and model.owned_by for model in found.values())
    assert ai.models.retrieve("echo").id == "echo"
    assert raised(lambda: ai.models.retrieve("nobody")).code == "model_not_found"


def test_a_model_with_a_slash_in_its_name(ai):
    assert ai.models.retrieve("org/named").id == "org/named"
    assert ai.chat.completions.create(**ask("org/named")).model == "org/named"


def test_what_is_not_served_says_so(ai):
    for call in (lambda: ai.responses.create(model="echo", input="hello"), lambda: ai.embeddings.create(model="echo", input="hello")):
        error = raised(call)
        assert isinstance(error, openai.NotFoundError)


# ---- tools, and answers of a form

class Weather(pydantic.BaseModel):
    """Weather of a city."""
    city: str


class Time(pydantic.BaseModel):
    """Time of a zone."""
    zone: str


TOOLS = [openai.pydantic_function_tool(Weather, name="get_weather"), openai.pydantic_function_tool(Time, name="get_time")]
CALLS = [("call_1", "get_weather", {"city": "Zürich"}), ("call_2", "get_time", {"zone": "CET"})]


def calls_of(message):
    return [(call.id, call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls]


def test_tool_calls_in_a_stream(ai, mock):
    with ai.chat.completions.stream(**ask("tools", tools=TOOLS)) as stream:
        choice = stream.get_final_completion().choices[0]
    assert choice.finish_reason == "tool_calls" and calls_of(choice.message) == CALLS
    assert [call.function.parsed_arguments for call in choice.message.tool_calls] == [Weather(city="Zürich"), Time(zone="CET")]
    assert [tool["function"]["name"] for tool in mock.state()["last_body"]["tools"]] == ["get_weather", "get_time"]


def test_tool_calls_in_a_whole_answer_and_the_turn_that_answers_them(ai, mock):
    choice = ai.chat.completions.create(**ask("tools", tools=TOOLS)).choices[0]
    assert choice.finish_reason == "tool_calls" and choice.message.content is None and calls_of(choice.message) == CALLS
    messages = [{"role": "user", "content": "?"}, choice.message, {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
                {"role": "tool", "tool_call_id": "call_2", "content": "noon"}]
    assert ai.chat.completions.create(model="tools", messages=messages, tools=TOOLS).choices[0].message.content == "noon"
    assert mock.state()["last_body"]["messages"][2:] == messages[2:]


def test_an_answer_parsed_into_a_class(ai, mock):
    answer = ai.chat.completions.parse(**ask("echo", '{"city": "Zürich"}'), response_format=Weather)
    assert answer.choices[0].message.parsed == Weather(city="Zürich")
    assert mock.state()["last_body"]["response_format"]["json_schema"]["name"] == "Weather"
    with ai.chat.completions.stream(**ask("echo", '{"city": "Zürich"}'), response_format=Weather) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == Weather(city="Zürich")


# ---- errors: the class, and how often the backend was asked

@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("model, kind, code, calls", [
    ("400", openai.BadRequestError, "context_length_exceeded", 1),
    ("nobody", openai.NotFoundError, "model_not_found", 0),
    ("429", openai.RateLimitError, None, 3),
    ("503", openai.InternalServerError, None, 3),
    ("error-int-code", openai.BadRequestError, None, 1),
    ("flat-error", openai.BadRequestError, None, 1),
])
def test_an_error_has_its_class_and_its_number_of_tries(ai, mock, stream, model, kind, code, calls):
    error = raised(lambda: ai.chat.completions.create(**ask(model, stream=stream)))
    assert type(error) is kind and error.request_id
    assert code is None or error.code == code
    assert mock.state()["calls"] == calls


@pytest.mark.parametrize("model", ["500", "401", "no-finish", "bad-json"])
def test_a_backend_that_fails_is_a_server_error(ai, mock, model):
    """As often as x-should-retry says: never again once tokens were spent."""
    error = raised(lambda: ai.chat.completions.create(**ask(model)))
    assert isinstance(error, openai.InternalServerError)
    assert mock.state()["calls"] == (1 if error.response.headers.get("x-should-retry") == "false" else 3)
    Http(mock.port).post("/mock/reset", {})
    assert isinstance(raised(lambda: ai.with_options(max_retries=0).chat.completions.create(**ask(model))), openai.InternalServerError)
    assert mock.state()["calls"] == 1


@pytest.mark.parametrize("model", ["error-mid-stream", "cut-after-3"])
def test_an_error_in_the_middle_of_a_stream_raises(ai, model):
    text = ""
    with pytest.raises(openai.APIError):
        for chunk in ai.chat.completions.create(**ask(model, stream=True)):
            text += chunk.choices[0].delta.content or ""
            assert chunk.choices[0].finish_reason is None
    assert TOKENS.startswith(text)
    with pytest.raises(openai.APIError), ai.chat.completions.stream(**ask(model)) as stream:
        stream.until_done()


def test_a_wrong_key_is_an_authentication_error(stack):
    wrong = client(stack.guarded, api_key="wrong")
    for call in (wrong.models.list, lambda: wrong.chat.completions.create(**ask("echo"))):
        error = raised(call)
        assert type(error) is openai.AuthenticationError and error.code == "invalid_api_key"
    right = client(stack.guarded, api_key=KEY)
    assert right.chat.completions.create(**ask("echo", TEXT)).choices[0].message.content == TEXT


def test_a_wrong_field_is_refused_with_its_place(ai, mock):
    error = raised(lambda: ai.chat.completions.create(model="echo", messages=[{"role": "user", "content": 5}]))
    assert type(error) is openai.BadRequestError and error.param.startswith("messages[0]")
    assert mock.state()["calls"] == 0


# ---- time

def test_a_timeout_ends_the_work_and_is_tried_again(ai, mock):
    impatient = ai.with_options(timeout=0.5, max_retries=1)
    with pytest.raises(openai.APITimeoutError):
        impatient.chat.completions.create(**ask("hang"))
    mock.until("aborts", 2)
    assert mock.state()["calls"] == 2 and mock.until("aborts_before_answer", 2)["open"] == 0


def test_a_timeout_before_the_first_token_of_a_stream(ai, mock):
    with pytest.raises(openai.APITimeoutError):
        ai.with_options(timeout=0.5, max_retries=0).chat.completions.create(**ask("hang-after-0", stream=True))
    assert mock.until("aborts", 1)["aborts_before_token"] == 1


def test_comment_lines_of_a_long_prefill_do_not_disturb_the_decoder(stack, mock):
    """They come before the first token, and the caller's read timeout does not pass while they come."""
    late = ask("echo", TEXT, stream=True, extra_body={"mock": {"first_ms": 2500}})
    with client(stack.patient, timeout=1.5, max_retries=0) as ai:
        with ai.chat.completions.with_streaming_response.create(**late) as raw:
            lines = [line for line in raw.iter_lines() if line]
        comments = [line.startswith(":") for line in lines]
        assert all(comments[:3]) and not all(comments), lines
        assert collect(ai.chat.completions.create(**late))[:2] == (TEXT, "stop")
        with ai.chat.completions.stream(**ask("echo", TEXT, extra_body={"mock": {"first_ms": 2500}})) as stream:
            assert stream.get_final_completion().choices[0].message.content == TEXT
    assert mock.state()["completed"] == 3 and mock.state()["calls"] == 3


def test_an_error_behind_comment_lines_is_raised(stack, mock):
    """The response has begun with status 200, so the error is a record of the stream."""
    with client(stack.patient) as ai:
        for model in ("400", "503", "nobody"):
            raised(lambda: ai.chat.completions.create(**ask(model, stream=True)))


# ---- giving up

def test_leaving_a_stream_ends_the_work(ai, mock):
    with ai.chat.completions.create(**ask("fixed", stream=True, extra_body=SLOW)) as stream:
        next(chunk for chunk in stream if chunk.choices[0].delta.content)
    state = mock.until("aborts", 1)
    assert (state["aborts_mid_stream"], state["completed"], state["open"]) == (1, 0, 0)


def test_leaving_the_helper_ends_the_work(ai, mock):
    with ai.chat.completions.stream(**ask("fixed", extra_body=SLOW)) as stream:
        next(event for event in stream if event.type == "content.delta")
    assert mock.until("aborts", 1)["aborts_mid_stream"] == 1


def test_leaving_while_only_comments_come_ends_the_work(stack, mock):
    with client(stack.patient) as ai, ai.chat.completions.with_streaming_response.create(**ask("hang-after-0", stream=True)) as raw:
        lines = raw.iter_lines()
        assert next(lines).startswith(":")
        mock.until("open", 1)  # else there may be nothing yet to end
    assert mock.until("aborts", 1)["aborts_before_token"] == 1


# ---- the client of asyncio

def of_asyncio(stack, work, **more):
    """Runs work(client) in a loop of its own."""
    async def run():
        async with client(stack.port, openai.AsyncOpenAI, **more) as ai:
            return await work(ai)

    return asyncio.run(asyncio.wait_for(run(), 2 * PATIENCE_S))


async def text_of(stream):
    return "".join([choice.delta.content or "" async for chunk in stream for choice in chunk.choices])


def test_async_whole_stream_and_helper(stack, mock):
    async def work(ai):
        whole = await ai.chat.completions.create(**ask("echo", TEXT))
        text = await text_of(await ai.chat.completions.create(**ask("echo", TEXT, stream=True)))
        async with ai.chat.completions.stream(**ask("echo", TEXT)) as stream:
            final = await stream.get_final_completion()
        return whole.choices[0].message.content, text, final.choices[0].message.content, [model.id async for model in ai.models.list()]

    *texts, models = of_asyncio(stack, work)
    assert texts == [TEXT] * 3 and "echo" in models


def test_async_fifty_streams_at_once_each_its_own_text(stack, mock):
    async def work(ai):
        streams = [ai.chat.completions.create(**ask("echo", f"number {i}: {TEXT}", stream=True, extra_body={"mock": {"pace_ms": 1}}))
                   for i in range(50)]
        return await asyncio.gather(*[text_of(stream) for stream in await asyncio.gather(*streams)])

    assert of_asyncio(stack, work) == [f"number {i}: {TEXT}" for i in range(50)]
    assert mock.until("completed", 50)["aborts"] == 0


@pytest.mark.parametrize("model, stream, window", [("hang", False, "aborts_before_answer"), ("hang-after-0", True, "aborts_before_token"),
                                                   ("hang-after-3", True, "aborts_mid_stream")])
def test_async_a_cancelled_task_ends_the_work(stack, mock, model, stream, window):
    """In each window: while a whole answer is awaited, before the first token, and in the middle."""
    async def work(ai):
        begun = asyncio.Event()

        async def read():
            answer = await ai.chat.completions.create(**ask(model, stream=stream))
            async for chunk in answer:
                if "tok1" in (chunk.choices[0].delta.content or ""):
                    begun.set()

        task = asyncio.create_task(read())
        if window == "aborts_mid_stream":
            await asyncio.wait_for(begun.wait(), PATIENCE_S)
        else:
            await asyncio.to_thread(mock.until, "open", 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    of_asyncio(stack, work)
    state = mock.until("aborts", 1)
    assert (state[window], state["completed"], state["calls"]) == (1, 0, 1)


def test_async_errors_have_their_class(stack, mock):
    async def work(ai):
        with pytest.raises(openai.RateLimitError):
            await ai.chat.completions.create(**ask("429"))
        with pytest.raises(openai.APITimeoutError):
            await ai.with_options(timeout=0.5, max_retries=0).chat.completions.create(**ask("hang"))

    of_asyncio(stack, work)
    assert mock.until("aborts", 1)["calls"] == 4
