// SPDX-License-Identifier: Apache-2.0
// openai-node: everything a program does with it, and that it sees just what the model server sent.
"use strict";
const { test, beforeEach } = require("node:test");
const assert = require("node:assert/strict");
const { OpenAI, through, TEXT, reset, until, state, client, ask, fixed, TOOLS, CALLS } = require("./mock.js");

const openai = client();
beforeEach(reset);

async function collect(stream) {
    const all = { text: "", reasoning: "", finish: null, usage: null, chunks: [] };
    for await (const chunk of stream) {
        all.chunks.push(chunk);
        all.usage = chunk.usage ?? all.usage;
        for (const choice of chunk.choices) {
            if (choice.index !== 0) continue;
            all.text += choice.delta.content ?? "";
            all.reasoning += choice.delta.reasoning_content ?? choice.delta.reasoning ?? "";
            all.finish = choice.finish_reason ?? all.finish;
        }
    }
    return all;
}

test("a stream by its iterator", async () => {
    const got = await collect(await openai.chat.completions.create(ask("echo", TEXT, { stream: true })));
    assert.equal(got.text, TEXT);
    assert.equal(got.finish, "stop");
    const first = got.chunks[0];
    assert.equal(first.object, "chat.completion.chunk");
    assert.ok(Number.isInteger(first.created));
    for (const chunk of got.chunks) {
        assert.equal(chunk.id, first.id);
        assert.equal(chunk.created, first.created);
        assert.equal(chunk.model, "echo");
    }
    assert.deepEqual(first.choices[0].delta, { role: "assistant", content: "" });
});

test("a stream by the helper, with its events", async () => {
    const pieces = [];
    const stream = openai.chat.completions.stream(ask("echo", TEXT, { mock: { pace_ms: 5 } })).on("content", (piece) => pieces.push(piece));
    const message = (await stream.finalChatCompletion()).choices[0];
    assert.equal(message.message.content, TEXT);
    assert.equal(message.finish_reason, "stop");
    assert.equal(pieces.join(""), TEXT);
    assert.ok(pieces.length > 5, "it came in pieces");
});

test("a whole answer", async () => {
    const { data, response } = await openai.chat.completions.create(ask("echo", TEXT)).withResponse();
    assert.equal(data.choices[0].message.content, TEXT);
    assert.equal(data.choices[0].message.role, "assistant");
    assert.equal(data.choices[0].finish_reason, "stop");
    assert.equal(data.object, "chat.completion");
    assert.equal(data.model, "echo");
    assert.equal(data.usage.prompt_tokens, 11);
    assert.equal(data.usage.total_tokens, data.usage.prompt_tokens + data.usage.completion_tokens);
    assert.match(response.headers.get("content-type"), /^application\/json/);
    assert.ok(data._request_id, "x-request-id");
});

test("fields that nobody knows reach the model server untouched", async () => {
    const odd = { top_k: 7, chat_template_kwargs: { thinking: false }, min_p: 0.05, metadata: { ä: "ö" } };
    await openai.chat.completions.create(ask("fixed", TEXT, { temperature: 0.25, stop: ["a", "b"], ...odd }));
    const { last_body: sent } = await state();
    for (const [key, value] of Object.entries({ temperature: 0.25, stop: ["a", "b"], ...odd })) assert.deepEqual(sent[key], value, key);
    assert.deepEqual(sent.messages, [{ role: "user", content: TEXT }]);
});

test("content in parts", async () => {
    const content = [{ type: "text", text: "one " }, { type: "text", text: "two" }];
    assert.equal((await openai.chat.completions.create(ask("echo", content))).choices[0].message.content, "one two");
});

test("tool calls in a stream", async () => {
    const stream = openai.chat.completions.stream(ask("tools", "?", { tools: TOOLS }));
    const choice = (await stream.finalChatCompletion()).choices[0];
    assert.equal(choice.finish_reason, "tool_calls");
    assert.deepEqual(choice.message.tool_calls.map((c) => [c.function.name, JSON.parse(c.function.arguments)]), CALLS);
    assert.deepEqual(choice.message.tool_calls.map((c) => [c.id, c.type]), [["call_1", "function"], ["call_2", "function"]]);
    assert.deepEqual((await state()).last_body.tools, TOOLS);
});

test("tool calls in a whole answer, and the turn that answers them", async () => {
    const first = await openai.chat.completions.create(ask("tools", "?", { tools: TOOLS }));
    const { message, finish_reason } = first.choices[0];
    assert.equal(finish_reason, "tool_calls");
    assert.equal(message.content, null);
    assert.deepEqual(message.tool_calls.map((c) => [c.function.name, JSON.parse(c.function.arguments)]), CALLS);
    const messages = [{ role: "user", content: "?" }, message, { role: "tool", tool_call_id: "call_1", content: "rain" },
        { role: "tool", tool_call_id: "call_2", content: "noon" }];
    const second = await openai.chat.completions.create({ model: "tools", messages, tools: TOOLS });
    assert.equal(second.choices[0].message.content, "noon");
    assert.deepEqual((await state()).last_body.messages.slice(2), messages.slice(2));
});

test("usage comes in a chunk of its own when it is asked for, else not", async () => {
    const asked = await collect(await openai.chat.completions.create(
        ask("fixed", "x", { stream: true, stream_options: { include_usage: true }, mock: { tokens: 5 } })));
    const last = asked.chunks.at(-1);
    assert.deepEqual(last.choices, []);
    assert.equal(last.usage.prompt_tokens, 11);
    assert.equal(last.usage.completion_tokens, 5);
    assert.equal(last.usage.total_tokens, 16);
    assert.equal(last.usage.prompt_tokens_details.cached_tokens, 3);
    assert.equal(asked.text, fixed(5));
    const plain = await collect(await openai.chat.completions.create(ask("fixed", "x", { stream: true })));
    assert.equal(plain.usage, null);
    assert.ok(plain.chunks.every((chunk) => chunk.choices.length > 0));
});

test("reasoning is told apart from the answer", async () => {
    for (const model of ["reasoning", "reasoning_content"]) {
        const got = await collect(await openai.chat.completions.create(ask(model, "x", { stream: true, mock: { tokens: 2 } })));
        assert.equal(got.reasoning, "think0 think1 think2");
        assert.equal(got.text, fixed(2));
    }
});

test("two choices stay two", async () => {
    const stream = openai.chat.completions.stream(ask("two-choices", "x", { n: 2, mock: { tokens: 3 } }));
    const { choices } = await stream.finalChatCompletion();
    assert.deepEqual(choices.map((c) => c.message.content), [fixed(3), "~tok0~ tok1~ tok2"]);
    const whole = await openai.chat.completions.create(ask("two-choices", "x", { n: 2, mock: { tokens: 3 } }));
    assert.deepEqual(whole.choices.map((c) => c.message.content), [fixed(3), "~tok0~ tok1~ tok2"]);
});

test("a text of 100 kB in one piece", async () => {
    const got = await collect(await openai.chat.completions.create(ask("big", "x", { stream: true })));
    const whole = await openai.chat.completions.create(ask("big"));
    assert.ok(got.text.length >= 100000);
    assert.equal(got.text, whole.choices[0].message.content);
});

test("models: the list, and each", async () => {
    const ids = [];
    for await (const model of openai.models.list()) {
        assert.deepEqual([model.object, typeof model.created, typeof model.owned_by], ["model", "number", "string"]);
        ids.push(model.id);
    }
    assert.ok(ids.includes("echo") && ids.includes("fixed"));
    assert.equal((await openai.models.retrieve("echo")).id, "echo");
    await assert.rejects(openai.models.retrieve("no/such"), OpenAI.NotFoundError);
});

test("completions, the old way", async () => {
    const whole = await openai.completions.create({ model: "echo", prompt: TEXT });
    assert.equal(whole.object, "text_completion");
    assert.equal(whole.choices[0].text, TEXT);
    assert.equal(whole.choices[0].finish_reason, "stop");
    let text = "", finish;
    for await (const chunk of await openai.completions.create({ model: "echo", prompt: TEXT, stream: true })) {
        assert.equal(chunk.object, "text_completion");
        text += chunk.choices[0]?.text ?? "";
        finish = chunk.choices[0]?.finish_reason ?? finish;
    }
    assert.equal(text, TEXT);
    assert.equal(finish, "stop");
});

// ---- errors

async function refused(model, stream, options) {
    try {
        const answer = await client(options).chat.completions.create(ask(model, "x", { stream }));
        if (stream) await collect(answer);
    } catch (error) {
        assert.ok(error instanceof OpenAI.APIError, error.stack);
        assert.ok(error.message.length > 4 && !error.message.includes("(no body)"), error.message);
        return error;
    }
    return assert.fail(`${model} was a success`);
}

for (const stream of [false, true]) {
    const how = stream ? "stream" : "plain";
    test(`400 is BadRequestError with the server's code, and is not repeated (${how})`, async () => {
        const error = await refused("400", stream);
        assert.ok(error instanceof OpenAI.BadRequestError);
        assert.equal(error.code, "context_length_exceeded");
        assert.equal((await state()).calls, 1);
    });

    test(`404 is NotFoundError and names the model (${how})`, async () => {
        const error = await refused("nobody", stream);
        assert.ok(error instanceof OpenAI.NotFoundError);
        assert.equal(error.code, "model_not_found");
    });

    test(`429 is RateLimitError and is tried three times (${how})`, async () => {
        assert.ok(await refused("429", stream) instanceof OpenAI.RateLimitError);
        assert.equal((await state()).calls, 3);
        await reset();
        assert.ok(await refused("429", stream, { maxRetries: 0 }) instanceof OpenAI.RateLimitError);
        assert.equal((await state()).calls, 1);
    });

    test(`500 is InternalServerError; how often it is tried is as x-should-retry says (${how})`, async () => {
        const error = await refused("500", stream);
        assert.ok(error instanceof OpenAI.InternalServerError);
        assert.equal((await state()).calls, error.headers.get("x-should-retry") === "false" ? 1 : 3);
    });

    test(`what a model server says in its own form is an error with a text (${how})`, { skip: !through && "the mock is that server" }, async () => {
        for (const model of ["error-int-code", "flat-error"]) {
            const error = await refused(model, stream, { maxRetries: 0 });
            assert.ok(error instanceof OpenAI.BadRequestError, model);
            assert.ok(error.requestID);
        }
    });
}

test("401 is AuthenticationError", async () => {
    const base = process.env.OPENAI_KEYED_BASE_URL;
    const wrong = client({ baseURL: base, apiKey: "wrong" });
    await assert.rejects(wrong.models.list(), (error) => error instanceof OpenAI.AuthenticationError && error.code === "invalid_api_key");
    await assert.rejects(wrong.chat.completions.create(ask("echo")), OpenAI.AuthenticationError);
    const right = client({ baseURL: base, apiKey: process.env.OPENAI_KEY });
    assert.equal((await right.chat.completions.create(ask("echo", TEXT))).choices[0].message.content, TEXT);
});

test("a request that is wrong is refused with the place", { skip: !through && "the mock does not check" }, async () => {
    const bad = { model: "echo", messages: [{ role: "user", content: "a" }, { role: "user", content: 5 }] };
    await assert.rejects(openai.chat.completions.create(bad), (error) => {
        assert.ok(error instanceof OpenAI.BadRequestError);
        assert.match(error.param, /^messages\[1\]/);
        return true;
    });
    await assert.rejects(openai.chat.completions.create({ model: "echo" }), (error) => error.param === "messages");
    await assert.rejects(openai.chat.completions.create({ messages: [] }), OpenAI.BadRequestError);
    assert.equal((await state()).calls, 0);
});

test("an error in the middle raises, by the iterator and by the helper", async () => {
    for (const model of ["error-mid-stream", "cut-after-3"]) {
        const seen = [];
        await assert.rejects(async () => {
            for await (const chunk of await openai.chat.completions.create(ask(model, "x", { stream: true })))
                seen.push(chunk.choices[0]?.delta?.content ?? "");
        });
        assert.ok("tok0 tok1 tok2".startsWith(seen.join("")));
        await assert.rejects(openai.chat.completions.stream(ask(model)).finalChatCompletion());
    }
});

// ---- giving up

const slow = { tokens: 100000, pace_ms: 20 };

async function given_up(model, stream, window, begun) {
    const gone = new AbortController();
    const options = { signal: gone.signal, maxRetries: 0 };
    const asked = openai.chat.completions.create(ask(model, "x", { stream, mock: slow }), options);
    const outcome = (async () => {
        if (!stream) return asked;
        for await (const chunk of await asked) if (chunk.choices[0]?.delta?.content) begun(gone);
    })().catch((error) => error);
    if (!begun) {
        await until((now) => now.open === 1);
        gone.abort();
    }
    assert.ok(!(await outcome instanceof Error) || (await outcome) instanceof OpenAI.APIUserAbortError, String(await outcome));
    const now = await until((s) => s.aborts === 1 && s.open === 0);
    assert.equal(now[window], 1, JSON.stringify(now));
    assert.equal(now.completed, 0);
}

test("giving up while a whole answer is awaited ends the work", () => given_up("hang", false, "aborts_before_answer"));
test("giving up before the first token ends the work", () => given_up("hang-after-0", true, "aborts_before_token"));
test("giving up in the middle ends the work", () => given_up("fixed", true, "aborts_mid_stream", (gone) => gone.abort()));

test("breaking out of the loop ends the work", async () => {
    for await (const chunk of await openai.chat.completions.create(ask("fixed", "x", { stream: true, mock: slow })))
        if (chunk.choices[0]?.delta?.content) break;
    assert.equal((await until((now) => now.aborts === 1)).aborts_mid_stream, 1);
});

test("fifty streams at once, each its own text", async () => {
    const texts = Array.from({ length: 50 }, (_, i) => `number ${i}: ${TEXT}`);
    const got = await Promise.all(texts.map(async (text) => collect(await openai.chat.completions.create(
        ask("echo", text, { stream: true, mock: { pace_ms: 1 } })))));
    assert.deepEqual(got.map((one) => one.text), texts);
    assert.equal((await until((now) => now.completed === 50)).aborts, 0);
});
