// SPDX-License-Identifier: Apache-2.0
// The AI SDK (ai 6 with @ai-sdk/openai-compatible 2): strict about what it reads, and it runs tools by itself.
"use strict";
const { test, beforeEach } = require("node:test");
const assert = require("node:assert/strict");
const { generateText, streamText, jsonSchema, stepCountIs, tool } = require("ai");
const { createOpenAICompatible } = require("@ai-sdk/openai-compatible");
const { baseURL, TEXT, reset, until, state, fixed, TOKENS, TOOLS } = require("./mock.js");

const provider = createOpenAICompatible({ name: "lineshaft", baseURL, apiKey: "any", includeUsage: true });
beforeEach(reset);

const called = [];
const tools = Object.fromEntries(TOOLS.map(({ function: f }) => [f.name, tool({
    description: f.description,
    inputSchema: jsonSchema(f.parameters),
    execute: async (input) => { called.push([f.name, input]); return `${f.name}: fine`; },
})]));

// streamText tells errors by a callback; a test wants them thrown.
async function streamed(options) {
    const errors = [];
    const result = streamText({ maxRetries: 0, onError: ({ error }) => errors.push(error), ...options });
    let text = "";
    for await (const piece of result.textStream) text += piece;
    if (errors.length) throw errors[0];
    return { text, finishReason: await result.finishReason, usage: await result.usage, reasoning: await result.reasoningText };
}

test("generateText", async () => {
    const { text, finishReason, usage } = await generateText({ model: provider("echo"), prompt: TEXT });
    assert.equal(text, TEXT);
    assert.equal(finishReason, "stop");
    assert.equal(usage.inputTokens, 11);
    assert.equal(usage.totalTokens, usage.inputTokens + usage.outputTokens);
});

test("streamText, with usage", async () => {
    const { text, finishReason, usage } = await streamed({ model: provider("echo"), prompt: TEXT });
    assert.equal(text, TEXT);
    assert.equal(finishReason, "stop");
    assert.equal(usage.inputTokens, 11);
    assert.ok(usage.outputTokens > 5);
    assert.deepEqual((await state()).last_body.messages, [{ role: "user", content: TEXT }]);
});

test("reasoning is told apart", async () => {
    for (const model of ["reasoning", "reasoning_content"]) {
        const { text, reasoning } = await streamed({ model: provider(model), prompt: "x" });
        assert.equal(text, fixed(TOKENS));
        assert.equal(reasoning, "think0 think1 think2");
    }
});

for (const how of ["generateText", "streamText"]) {
    test(`${how} runs the tools and goes on with what they gave`, async () => {
        called.length = 0;
        const options = { model: provider("tools"), prompt: "weather and time?", tools, stopWhen: stepCountIs(3) };
        const { text } = how === "generateText" ? await generateText(options) : await streamed(options);
        assert.deepEqual(called, [["get_weather", { city: "Zürich" }], ["get_time", { zone: "CET" }]]);
        assert.equal(text, "get_time: fine");
        const { calls, last_body: sent } = await state();
        assert.equal(calls, 2);
        assert.deepEqual(sent.messages.map((m) => m.role), ["user", "assistant", "tool", "tool"]);
        assert.deepEqual(sent.messages[1].tool_calls.map((c) => [c.id, c.function.name]), [["call_1", "get_weather"], ["call_2", "get_time"]]);
    });
}

test("errors are errors", async () => {
    for (const [model, status] of [["400", 400], ["nobody", 404], ["429", 429]]) {
        const options = { model: provider(model), prompt: "x", maxRetries: 0 };
        await assert.rejects(generateText(options), (error) => error.statusCode === status, model);
        await assert.rejects(streamed(options), (error) => error.statusCode === status, model);
    }
    for (const model of ["error-mid-stream", "cut-after-3"]) await assert.rejects(streamed({ model: provider(model), prompt: "x" }), model);
});

test("giving up in the middle ends the work", async () => {
    const gone = new AbortController();
    const result = streamText({ model: provider("hang-after-3"), prompt: "x", abortSignal: gone.signal });
    for await (const piece of result.textStream) {
        assert.ok(piece);
        gone.abort();
    }
    assert.equal((await until((now) => now.aborts === 1)).aborts_mid_stream, 1);
});
