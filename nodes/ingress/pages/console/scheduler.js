/* SPDX-License-Identifier: Apache-2.0 */
/* The scheduler as the views ask it, and what all of them show of a workflow: its switch, what starts it, the form that starts a run. */
import { h } from "/assets/dom.js";
import { hash, sheet } from "/assets/parts.js";

const ROOT = "/api/workflows";

/* The scheduler as the views ask it. Every answer is a promise that may fail with ApiError. */
export class Scheduler {
    constructor(call)
    {
        this.call = call;
    }

    async ask(method, path, body)
    {
        const options = body === undefined ? { method } : { method, headers: { "content-type": "application/json" },
            body: JSON.stringify(body) };
        return (await this.call(`${ROOT}${path.map((part) => `/${encodeURIComponent(part)}`).join("")}`, options)).json();
    }

    list = () => this.ask("GET", []);
    next = (workflow) => this.ask("GET", [workflow, "next"]);
    pause = (workflow, paused) => this.ask("PATCH", [workflow], { paused });
    run = (workflow, inputs) => this.ask("POST", [workflow, "runs"], { inputs });
    show = (workflow, run) => this.ask("GET", [workflow, "runs", run]);
    explain = (workflow, run, task) => this.ask("GET", [workflow, "runs", run, "tasks", task]);
    cancel = (workflow, run) => this.ask("POST", [workflow, "runs", run, "cancel"], { reason: "cancelled in the console" });
    clear = (workflow, run, body) => this.ask("POST", [workflow, "runs", run, "clear"], body);

    async runs(workflow, limit)
    {
        return (await (await this.call(`${ROOT}/${encodeURIComponent(workflow)}/runs?limit=${limit}`)).json()).runs;
    }
}

const asText = (value) => (value === null || value === undefined ? "" : typeof value === "string" ? value : JSON.stringify(value));

/* One field for each input a workflow declares. What is written is sent as text, which the scheduler reads as the declared type;
 * a field left as it was is not sent, so that the default holds. */
function inputFields(declared)
{
    const fields = declared.map((input, i) => {
        const long = input.type === "object" || input.type === "array";
        const field = h(long ? "textarea" : "input", { class: "input", id: `input-${i}`, required: input.required, autocomplete: "off",
                                                      spellcheck: "false", "aria-describedby": `input-hint-${i}` });
        field.value = asText(input.default);
        return { input, field, element: h("div", { class: "field" }, h("label", { for: field.id }, input.name), field,
            h("p", { class: "hint", id: `input-hint-${i}` },
                [input.type, input.required && "required", input.description].filter(Boolean).join(" · "))) };
    });
    const values = () => Object.fromEntries(fields.filter(({ input, field }) => field.value !== asText(input.default))
        .map(({ input, field }) => [input.name, field.value]));
    return { elements: fields.map((entry) => entry.element), values };
}

/* runSheet starts a run, after asking for its inputs if there are any; it goes to the run. */
export async function runSheet(ctx, scheduler, workflow)
{
    const { elements, values } = inputFields(workflow.inputs ?? []);
    const content = elements.length > 0 ? elements : [h("p", {}, "This workflow takes no inputs.")];
    const run = await sheet({ title: `Run ${workflow.id}`, yes: "Run", submit: () => scheduler.run(workflow.id, values()),
        content: [workflow.paused && h("p", { class: "hint" }, "It is paused: the run waits until it is switched on."), ...content]
            .filter(Boolean) });
    if (run)
        ctx.go(hash("workflows", workflow.id, run.workflow_run_id));
}

/* What starts it besides people, in words. */
export function startsBy(workflow)
{
    const times = workflow.schedule.map((text) => (workflow.timezone === "UTC" ? text : `${text} (${workflow.timezone})`));
    return [...times, ...workflow.triggers.map((topic) => `on ${topic}`)].join(", ") || "by hand only";
}

/* A switch: on lets the schedule and events start runs. */
export function pauseSwitch(ctx, scheduler, workflow, changed)
{
    return h("button", { type: "button", class: "switch", role: "switch", "aria-checked": String(!workflow.paused),
        "data-focus": `switch ${workflow.id}`,
                         "aria-label": `${workflow.id} is switched ${workflow.paused ? "off" : "on"}`,
                         title: workflow.paused ? "Paused: nothing starts until it is switched on" : "On: switch off to pause it",
                         onclick: async () => {
        try {
            await scheduler.pause(workflow.id, !workflow.paused);
            ctx.notify(workflow.paused ? `${workflow.id} is on` : `${workflow.id} is paused`);
        } catch (error) {
            ctx.notify(`${workflow.id} stays as it was: ${error.message}`);
        }
        changed();
    } }, h("span", { "aria-hidden": "true" }));
}
