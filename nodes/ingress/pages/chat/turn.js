/* SPDX-License-Identifier: Apache-2.0 */
/* One turn: asks the model and writes what comes into an answer message, with its measures. Knows no elements. */
import { streamChat } from "/assets/api.js";
import { turnMessages } from "/assets/thread.js";

/* States of an answer: "waiting" (nothing has come yet), "streaming", then "done", "stopped" or "error". */

function bodyOf(chat, question, model, values)
{
    const body = { model, messages: turnMessages(chat, question, values.system) };
    if (values.temperature !== null)
        body.temperature = values.temperature;
    if (values.maxTokens !== null)
        body.max_tokens = values.maxTokens;
    if (values.seed !== null)
        body.seed = values.seed;
    return body;
}

function take(answer, chunk, clock)
{
    if (chunk.model)
        answer.model = chunk.model;
    if (chunk.usage)
        answer.usage = chunk.usage;
    const choice = chunk.choices?.find((one) => (one.index ?? 0) === 0);
    if (!choice)
        return;
    const delta = choice.delta ?? {};
    const text = (delta.content ?? "") + (delta.refusal ?? "");
    const reasoning = delta.reasoning_content ?? "";
    if (text || reasoning) {
        clock.first ??= performance.now();
        clock.pieces += 1;
        answer.state = "streaming";
        answer.content += text;
        if (reasoning)
            answer.reasoning = (answer.reasoning ?? "") + reasoning;
    }
    if (choice.finish_reason)
        answer.finish = choice.finish_reason;
}

/* measure notes the time to the first token and tokens per second; without usage each piece counts as one, marked so. */
function measure(answer, clock)
{
    const end = performance.now();
    answer.totalMs = Math.round(end - clock.start);
    if (clock.first === null)
        return;
    answer.firstMs = Math.round(clock.first - clock.start);
    answer.tokens = answer.usage?.completion_tokens ?? clock.pieces;
    answer.estimated = !answer.usage || answer.usage.estimated === true;
    const seconds = (end - clock.first) / 1000;
    if (answer.tokens > 1 && seconds > 0.02)
        answer.perSecond = (answer.tokens - 1) / seconds;
}

/* runTurn fills `answer` and calls changed() whenever it is different; it never throws, a failure is a state too. */
export async function runTurn({ chat, question, answer, model, values, signal, changed })
{
    const clock = { start: performance.now(), first: null, pieces: 0 };
    try {
        await streamChat(bodyOf(chat, question, model.id, values), {
            chatId: chat.id,
            signal,
            on: {
                start(head)
                {
                    answer.requestId = head.requestId;
                    answer.model = head.model ?? model.id;
                    answer.worker = head.worker;
                    answer.trace = head.trace;
                    answer.event = head.event;
                    changed();
                },
                chunk(chunk)
                {
                    take(answer, chunk, clock);
                    changed();
                },
            },
        });
        answer.state = "done";
    } catch (error) {
        answer.state = signal.aborted ? "stopped" : "error";
        if (!signal.aborted) {
            const { message, code = null, type = null, status = null } = error;
            answer.error = { message, code, type, status };
            answer.requestId = error.requestId ?? answer.requestId;
        }
    }
    measure(answer, clock);
    chat.updated = Date.now();
    changed();
}
