# SPDX-License-Identifier: Apache-2.0
"""openai-python against the n-gram model of lineshaft's own, trained on Debian's fortunes."""
import asyncio

import openai
import pytest

from cli import ok, wait_until
from sdk import ask, client, collect, raised
from stack import Stack

NODES = """
  door:  {{ kind: ingress, listen: "{http}" }}
  model: {{ kind: inference, backend: ngram, file: fortunes.lsm, context_length: 4096 }}
  slow:  {{ kind: inference, backend: ngram, file: fortunes.lsm, model: slow, pace: 50ms, serves: [chat.generate.slow] }}
"""
SAMPLED = {"seed": 7, "temperature": 0.6, "top_p": 0.95}


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ngram")
    ok("train", "--order", 3, "-o", folder / "fortunes.lsm", "/usr/share/games/fortunes")
    stack = Stack(folder, NODES)
    yield stack.with_model("fortunes", "slow")
    stack.close()
    print("--- what `up` showed ---", *stack.up.seen, *stack.up.lines.queue, sep="\n")


@pytest.fixture
def ai(stack):
    with client(stack.port) as ai:
        yield ai


def numbers(stack):
    """The metrics of the slow node, as far as they are known yet."""
    lines = stack.get("/metrics").body.decode().splitlines()
    samples = [line.rpartition(" ") for line in lines if line.startswith("lineshaft_inference_") and "slow" in line]
    return {name.partition("{")[0].removeprefix("lineshaft_inference_"): float(value) for name, _, value in samples}


def test_whole_stream_and_helper_say_the_same_with_one_seed(ai):
    whole = ai.chat.completions.create(**ask("fortunes", "Tell me of computers", **SAMPLED))
    chunks = ai.chat.completions.create(**ask("fortunes", "Tell me of computers", stream=True, **SAMPLED,
                                              stream_options={"include_usage": True}))
    text, finish, usage, _ = collect(chunks)
    assert text and (text, finish) == (whole.choices[0].message.content, whole.choices[0].finish_reason)
    assert usage == whole.usage and usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    with ai.chat.completions.stream(**ask("fortunes", "Tell me of computers", **SAMPLED)) as stream:
        assert stream.get_final_completion().choices[0].message.content == text


def test_max_tokens_and_stop_and_seed(ai):
    short = ai.chat.completions.create(**ask("fortunes", max_completion_tokens=3, seed=1))
    assert (short.choices[0].finish_reason, short.usage.completion_tokens) == ("length", 3)
    long = ai.chat.completions.create(**ask("fortunes", max_tokens=60, seed=1)).choices[0]
    until = long.message.content.split()[4]
    stopped = ai.chat.completions.create(**ask("fortunes", max_tokens=60, seed=1, stop=[until])).choices[0]
    assert stopped.finish_reason == "stop" and until not in stopped.message.content
    assert long.message.content.startswith(stopped.message.content)
    several = [ai.chat.completions.create(**ask("fortunes", seed=seed, max_tokens=20)) for seed in range(5)]
    assert len({answer.choices[0].message.content for answer in several}) > 1


def test_a_completion_goes_on_where_the_prompt_ends(ai):
    whole = ai.completions.create(model="fortunes", prompt="It is not", max_tokens=12, seed=3)
    chunks = list(ai.completions.create(model="fortunes", prompt="It is not", max_tokens=12, seed=3, stream=True))
    assert whole.choices[0].text and "".join(choice.text for chunk in chunks for choice in chunk.choices) == whole.choices[0].text


def test_the_model_is_listed(ai):
    model = ai.models.retrieve("fortunes")
    assert (model.id, model.object, model.owned_by) == ("fortunes", "model", "lineshaft") and model.created > 0


def test_async_twenty_streams_equal_twenty_whole_answers(stack):
    async def run():
        async with client(stack.port, openai.AsyncOpenAI) as ai:
            async def text(seed):
                stream = await ai.chat.completions.create(**ask("fortunes", seed=seed, max_tokens=40, stream=True))
                return "".join([choice.delta.content or "" async for chunk in stream for choice in chunk.choices])

            async def whole(seed):
                answer = await ai.chat.completions.create(**ask("fortunes", seed=seed, max_tokens=40))
                return answer.choices[0].message.content

            return await asyncio.gather(*map(text, range(20))), await asyncio.gather(*map(whole, range(20)))

    streamed, whole = asyncio.run(run())
    assert streamed == whole and len(set(whole)) > 10


def test_leaving_a_stream_ends_the_work(stack, ai):
    with ai.chat.completions.create(**ask("slow", stream=True, max_tokens=4000, temperature=0)) as stream:
        next(chunk for chunk in stream if chunk.choices[0].delta.content)
    wait_until(lambda: numbers(stack).get("cancelled_total") == 1 and numbers(stack)["open"] == 0, "cancelled at the node")


def test_what_the_model_cannot_give_is_refused(ai):
    error = raised(lambda: ai.chat.completions.create(**ask("fortunes", temperature=7)))
    assert type(error) is openai.BadRequestError and error.param == "temperature"
