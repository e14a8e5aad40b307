# SPDX-License-Identifier: Apache-2.0
"""openai-python as a program uses it, and how its streams are put together."""
import openai

PATIENCE_S = 30
TEXT = "Grüß dich, 日本語 \"quoted\"\nand more 🎉"


def client(port, kind=openai.OpenAI, **more):
    return kind(**{"base_url": f"http://127.0.0.1:{port}/v1", "api_key": "any", "timeout": PATIENCE_S, **more})


def ask(model, text="hello", **more):
    """The arguments of create(); what openai-python does not know goes by `extra_body`."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def collect(chunks):
    """(text, finish reason, usage, number of chunks) of a stream read by its iterator."""
    text, finish, usage, count = "", None, None, 0
    for chunk in chunks:
        count += 1
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
    return text, finish, usage, count


def raised(call):
    """The openai.APIError that the call, or reading its stream, must end in."""
    try:
        answer = call()
        if isinstance(answer, openai.Stream):
            collect(answer)
    except openai.APIError as error:
        assert len(error.message) > 4 and "no body" not in error.message, error.message
        return error
    raise AssertionError("it was a success")
