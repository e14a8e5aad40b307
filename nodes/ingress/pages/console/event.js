/* SPDX-License-Identifier: Apache-2.0 */
/* An event in words: its one line, its trace, the places of the console that it is about. Pure. */
const LINE_MAX = 300;
const VALUE_MAX = 120;

const short = (text) => (text.length > VALUE_MAX ? `${text.slice(0, VALUE_MAX)}…` : text);

function valueText(value)
{
    return short(typeof value === "string" && /^\S+$/.test(value) ? value : JSON.stringify(value));
}

/* lineOf writes an event's data as one line: `run_id=r1 key=loss value=0.7`. */
export function lineOf({ data })
{
    if (data === undefined || data === null)
        return "";
    if (typeof data !== "object" || Array.isArray(data))
        return valueText(data);
    let line = "";
    for (const [key, value] of Object.entries(data)) {
        line += `${line ? " " : ""}${key}=${valueText(value)}`;
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

const two = (n) => String(n).padStart(2, "0");

/* clockOf writes the time of an event in the time of this browser, to the millisecond. */
export function clockOf({ time })
{
    const date = new Date(time);
    if (Number.isNaN(date.getTime()))
        return "";
    return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}
