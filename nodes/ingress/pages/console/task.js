/* SPDX-License-Identifier: Apache-2.0 */
/* What was chosen in the grid of a workflow: a run, or a task of it with its tries, why it is in its state, and its log. */
import { h, icon, iconButton, copyText } from "/assets/dom.js";
import { badge, facts, hash, link, problem, sheet, when } from "/assets/parts.js";
import { TryLog } from "/assets/trylog.js";
import { duration, tally } from "/assets/words.js";

const json = (value) => h("pre", { class: "data", tabindex: "0" }, JSON.stringify(value, null, 2));
const filled = (value) => value && typeof value === "object" && Object.keys(value).length > 0;

export class Details {
    constructor(ctx, scheduler, workflow, changed)
    {
        Object.assign(this, { ctx, scheduler, workflow, changed, run: null, task: null, tryId: null, log: null, closed: false, asked: 0 });
        this.top = h("div", { class: "stack" });
        this.bottom = h("div");
        this.element = h("section", { class: "sheet details", "aria-label": "What was chosen" }, this.top, this.bottom);
    }

    close()
    {
        this.closed = true;
        this.log?.close();
    }

    onEvent(event)
    {
        this.log?.onEvent(event);
    }

    /* show draws run (its id), or task of it; `known` is RUN with its tasks if the caller has it already. */
    async show(run, task, known)
    {
        if (run !== this.run || task !== this.task) {
            this.log?.close();
            this.log = null;
            this.tryId = null;
            this.bottom.replaceChildren();
        }
        Object.assign(this, { run, task });
        const mine = ++this.asked;
        try {
            const found = task === null ? known ?? await this.scheduler.show(this.workflow, run)
                : await this.scheduler.explain(this.workflow, run, task);
            if (mine !== this.asked || this.closed)
                return;
            if (task === null)
                this.drawRun(found);
            else
                this.drawTask(found);
        } catch (error) {
            if (mine === this.asked && !this.closed)
                this.top.replaceChildren(problem(error, () => this.show(run, task, undefined)));
        }
    }

    drawTop(...children)
    {
        const focused = this.top.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
        this.top.replaceChildren(...children.filter(Boolean));
        if (focused)
            this.top.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus();
    }

    drawRun(run)
    {
        const active = run.state === "queued" || run.state === "running";
        const lasted = run.duration_ms ?? (run.start_date ? Date.now() - new Date(run.start_date) : null);
        this.drawTop(
            h("div", { class: "screen-head" }, h("h2", {}, `Run ${run.workflow_run_id}`), badge(run.state)),
            h("div", { class: "tools" },
                active && h("button", { type: "button", class: "button", "data-focus": "cancel", onclick: () => this.cancel(run) },
                    icon("stop"), "Cancel"),
                run.state === "failed" && h("button", { type: "button", class: "button", "data-focus": "again",
                    onclick: () => this.again(null) },
                                            icon("retry"), "Run again what failed"),
                h("a", { class: "button", href: hash("events", "workflow.run.>,task.>", `${this.workflow}/${run.workflow_run_id}`,
                    "last:10000") }, "Events")),
            facts([["Started by", run.trigger === "event" ? `the event ${run.event_topic}` : run.trigger],
                ["Tasks", tally(run)],
                   ["Why", run.reason], ["Waits for", run.waits_for], ["Start", when(run.start_date)], ["Duration", duration(lasted)],
                   ["Logical date", when(run.logical_date)], ["Note", run.note]]),
            filled(run.inputs) && h("h3", {}, "Inputs"), filled(run.inputs) && json(run.inputs));
    }

    drawTask(task)
    {
        const tries = task.tries ?? [];
        const shown = tries.find((item) => item.try === this.tryId) ?? tries.at(-1) ?? null;
        const trackerRun = task.outputs?.run_id;
        this.drawTop(
            h("div", { class: "screen-head" }, h("h2", {}, task.task), badge(task.state)),
            h("div", { class: "tools" },
                h("a", { class: "button", href: hash("workflows", this.workflow, this.run) }, icon("left"), `Run ${this.run}`),
                task.end_date && h("button", { type: "button", class: "button", "data-focus": "again",
                                               onclick: () => this.again(task.task) }, icon("retry"), "Run again")),
            (task.why ?? []).length > 0 && h("ul", { class: "why", "aria-label": "Why it is so" },
                task.why.map((text) => h("li", {}, text))),
            facts([["Try", task.attempt ? `${task.attempt} of ${task.attempts_max}` : null], ["Runs as", task.type],
                   ["Start", when(task.start_date)], ["Duration", duration(task.duration_ms)], ["Next try", when(task.next_attempt_at)],
                   ["After", task.depends_on.join(", ")], ["Rule", task.depends_on.length > 1 ? task.trigger_rule : null],
                       ["Pool", task.pool === "default" ? null : task.pool],
                   ["Tracker's run", trackerRun && link(trackerRun, "runs", trackerRun)]]),
            tries.length > 1 && this.tryChoice(tries, shown, task),
            shown && facts([tries.length > 1 ? ["Try began", when(shown.start_date)] : ["", null], ["Runner", shown.runner],
                ["Exit code", shown.exit_code], ["Error", shown.error && h("span", { class: "alarm" }, shown.error)]]),
            filled(task.outputs) && h("details", {}, h("summary", {}, "Outputs"), json(task.outputs)));
        this.drawLog(task, shown);
    }

    tryChoice(tries, shown, task)
    {
        return h("fieldset", { class: "bare" }, h("legend", {}, "Tries"), h("div", { class: "segments" }, tries.map((item) =>
            h("label", {}, h("input", { type: "radio", name: "try", value: item.try, checked: item === shown,
                "data-focus": item.try, onchange: () => {
                this.tryId = item.try;
                this.drawTask(task);
            } }), badge(item.state, { small: true }), h("span", {}, String(item.attempt))))));
    }

    drawLog(task, shown)
    {
        if (task.type !== "command" || !shown?.runner) {
            this.log?.close();
            this.log = null;
            this.bottom.replaceChildren();
            return;
        }
        if (this.log?.id === shown.try) {
            this.log.update(shown);
            return;
        }
        this.log?.close();
        this.log = new TryLog(this.ctx.call, shown);
        this.bottom.replaceChildren(h("h3", { class: "log-head" }, "Log", shown.log && h("code", { class: "hint" }, shown.log),
            iconButton("copy", "Copy what is shown", () => copyText(this.log.text()))), this.log.element);
    }

    async cancel(run)
    {
        const done = await sheet({ title: `Cancel run ${run.workflow_run_id}?`, yes: "Cancel the run", danger: true,
            content: [h("p", {}, "Its running tasks are told to stop, what has not begun does not begin, and the run ends as failed.")],
            submit: () => this.scheduler.cancel(this.workflow, run.workflow_run_id) });
        if (done)
            this.changed();
    }

    /* again sets a task and what comes after it (null: all that failed) back, after saying which that are. */
    async again(task)
    {
        const what = task === null ? {} : { tasks: [task] };
        let tasks;
        try {
            ({ tasks } = await this.scheduler.clear(this.workflow, this.run, { ...what, dry_run: true }));
        } catch (error) {
            this.ctx.notify(error.message);
            return;
        }
        if (tasks.length === 0) {
            this.ctx.notify("There is nothing to run again");
            return;
        }
        const done = await sheet({ title: "Run again?", yes: "Run again",
            content: [h("p", {}, `Set back in run ${this.run}, to run anew:`),
                      h("ul", {}, tasks.map((name) => h("li", {}, name)))],
            submit: () => this.scheduler.clear(this.workflow, this.run, what) });
        if (done)
            this.changed();
    }
}
