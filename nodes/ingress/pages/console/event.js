/* SPDX-License-Identifier: Apache-2.0 */
/* An event in words: its one line, its trace, the places of the console that it is about. Pure. */
import { pad } from "./words.js";   /* relative, so that node can test it */

const LINE_MAX = 300;
const VALUE_MAX = 120;

/* Marks that turn the direction of writing, and control characters, would write into what stands beside them. */
const CONTROLS = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;
const seen = (text) => text.replace(CONTROLS, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`);

const short = (text) => (text.length > VALUE_MAX ? `${text.slice(0, VALUE_MAX)}…` : text);

function valueText(value)
{
    return short(seen(typeof value === "string" && /^\S+$/.test(value) ? value : JSON.stringify(value)));
}

/* dataOf is what an event carries: its data, the text of a body that is no JSON, or how many bytes it is. */
export function dataOf({ data, data_base64: bytes })
{
    if (data !== undefined || typeof bytes !== "string")
        return data;
    const body = Uint8Array.from(atob(bytes), (sign) => sign.charCodeAt(0));
    try {
        const text = new TextDecoder("utf-8", { fatal: true }).decode(body);
        if (!text.includes("\0"))
            return text;
    } catch {
        /* no text */
    }
    return `${body.length} bytes`;
}

/* lineOf writes an event's data as one line: `run_id=r1 key=loss value=0.7`. */
export function lineOf(event)
{
    const data = dataOf(event);
    if (data === undefined || data === null)
        return "";
    if (typeof data !== "object" || Array.isArray(data))
        return valueText(data);
    let line = "";
    for (const [key, value] of Object.entries(data)) {
        line += `${line ? " " : ""}${short(seen(key))}=${valueText(value)}`;
        if (line.length > LINE_MAX)
            return `${line.slice(0, LINE_MAX)}…`;
    }
    return line;
}

/* traceOf is the trace id in traceparent (W3C: version-trace-parent-flags), or null. */
export function traceOf({ traceparent })
{
    return /^[0-9a-f]{2}-([0-9a-f]{32})-/.exec(traceparent ?? "")?.[1] ?? null;
}

/* placesOf lists what the event is about, as {text, path}: path is the parts of the console's address. */
export function placesOf({ topic, data })
{
    const places = [];
    const text = (value) => (typeof value === "string" && value !== "" ? value : null);
    const { workflow, workflow_run_id: run, task, run_id: tracked, name } = data ?? {};
    if (text(workflow) && text(run) && text(task))
        places.push({ text: `task ${task} of ${workflow} ${run}`, path: ["workflows", workflow, run, task] });
    if (text(workflow))
        places.push(text(run) ? { text: `workflow run ${workflow} ${run}`, path: ["workflows", workflow, run] }
                              : { text: `workflow ${workflow}`, path: ["workflows", workflow] });
    if (text(tracked))
        places.push({ text: `run ${tracked}`, path: ["runs", tracked] });
    if (topic.startsWith("model.") && text(name))
        places.push({ text: `model ${name}`, path: ["models", name] });
    return places;
}

/* clockOf writes the time of an event in the time of this browser, to the millisecond. */
export function clockOf({ time })
{
    const date = new Date(time);
    if (Number.isNaN(date.getTime()))
        return "";
    const clock = [date.getHours(), date.getMinutes(), date.getSeconds()].map(pad).join(":");
    return `${clock}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}
