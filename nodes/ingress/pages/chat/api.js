/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP interface of ingress as the page uses it: the models, one streamed chat turn, feedback. */
import { ApiError, call } from "/assets/http.js";
import { sseParser } from "/assets/sse.js";

/* models resolves with {list, waits}: waits is what a worker without a model says it waits for, or null. */
export async function models()
{
    const answer = await (await call("/v1/models")).json();
    return { list: Array.isArray(answer.data) ? answer.data : [], waits: answer.lineshaft?.waits ?? null };
}

/* streamChat sends one turn and calls on.start(headers), then on.chunk(object) for each record. It returns at the end of a
 * complete answer; everything else throws: ApiError, or AbortError when `signal` was used. */
export async function streamChat(body, { chatId, signal, on })
{
    const response = await call("/v1/chat/completions", {
        method: "POST",
        headers: { "content-type": "application/json", "x-lineshaft-chat": chatId },
        body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
        signal,
    });
    const requestId = response.headers.get("x-request-id");
    on.start({
        requestId,
        model: response.headers.get("x-lineshaft-model"),
        worker: response.headers.get("x-lineshaft-worker"),
        trace: response.headers.get("traceparent"),
        event: response.headers.get("x-lineshaft-event"),
    });
    const state = { finished: false, done: false };
    const feed = sseParser((data) => record(data, state, on, requestId));
    await readAll(response.body, feed, requestId);
    if (!state.finished && !state.done)
        throw new ApiError("The answer broke off before its end.", { code: "incomplete", requestId });
}

function record(data, state, on, requestId)
{
    if (state.done)
        return;
    if (data === "[DONE]") {
        state.done = true;
        return;
    }
    let chunk;
    try {
        chunk = JSON.parse(data);
    } catch {
        throw new ApiError("The server sent a record that is not JSON.", { code: "bad_record", requestId });
    }
    if (chunk.error)
        throw new ApiError(chunk.error.message ?? "The answer failed.",
                           { code: chunk.error.code, type: chunk.error.type, requestId });
    if (chunk.choices?.some((choice) => choice.finish_reason))
        state.finished = true;
    on.chunk(chunk);
}

async function readAll(stream, feed, requestId)
{
    const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
    try {
        for (;;) {
            const { value, done } = await reader.read();
            if (done)
                return;
            feed(value);
        }
    } catch (error) {
        reader.cancel().catch(() => {});
        if (error instanceof ApiError || error.name === "AbortError")
            throw error;
        throw new ApiError("The connection broke in the middle of the answer.", { code: "connection_lost", requestId });
    }
}

/* sendFeedback publishes one chat.feedback event in the trace of the answer; a later one for the same request replaces it in
 * meaning. */
export async function sendFeedback(chatId, { trace, event }, data)
{
    const links = { ...(trace ? { traceparent: trace } : {}), ...(event ? { causationid: event } : {}) };
    await call("/api/events", {
        method: "POST",
        headers: { "content-type": "application/json", "x-lineshaft-chat": chatId },
        body: JSON.stringify({ topic: "chat.feedback", subject: chatId, ...links, data: { ...data, chat_id: chatId } }),
    });
}
