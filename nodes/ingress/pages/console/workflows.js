/* SPDX-License-Identifier: Apache-2.0 */
/* The view of workflows: the list of them. One workflow: grid.js. */
import { h, icon } from "/assets/dom.js";
import { workflowPage } from "/assets/grid.js";
import { badge, empty, head, link, problem, soon, stage, wide } from "/assets/parts.js";
import { pauseSwitch, runSheet, Scheduler, startsBy } from "/assets/scheduler.js";
import { distance, duration, time } from "/assets/words.js";

class List {
    constructor(ctx, scheduler)
    {
        Object.assign(this, { ctx, scheduler, closed: false });
        this.area = h("div", { "aria-busy": "true" });
        this.element = h("section", { class: "screen" }, h("div", { class: "screen-head" }, h("h1", {}, "Workflows")), this.area);
        this.reload = soon(() => this.load(), 300);
        this.unwatch = ctx.watch(["workflow.>"], "new", this.reload);
        this.load();
    }

    close()
    {
        this.closed = true;
        this.unwatch();
        this.reload.stop();
    }

    async load()
    {
        try {
            const list = await this.scheduler.list();
            if (!this.closed)
                this.draw(list);
        } catch (error) {
            this.area.replaceChildren(problem(error, () => this.load()));
        }
        this.area.setAttribute("aria-busy", "false");
    }

    draw({ workflows, problems })
    {
        const focused = document.activeElement?.dataset?.focus;
        const mistakes = problems.length > 0 && h("section", { class: "sheet" }, h("h2", {}, "Mistakes in workflow files"),
            h("ul", { class: "plain-list" }, problems.map((item) => h("li", {},
                h("code", {}, `${item.file}:${item.line}:${item.column}`), ` ${item.text}`,
                                                               item.hint && h("p", { class: "hint" }, item.hint)))));
        this.area.replaceChildren(...[mistakes, workflows.length === 0
            ? empty("There are no workflows. Put a YAML file into the scheduler's folder; this one shows how:",
                "cat config/workflows/train.yaml")
            : wide("Table of workflows", this.table(workflows))].filter(Boolean));
        if (focused)
            this.area.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus();
    }

    table(workflows)
    {
        return h("table", { class: "table roomy" }, head("On", "Workflow", "Last run",
            h("th", { scope: "col" }, h("span", { class: "unseen" }, "Run it")), "Starts", "Next"),
            h("tbody", {}, workflows.map((workflow) => h("tr", {},
                h("td", {}, pauseSwitch(this.ctx, this.scheduler, workflow, () => this.load())),
                h("th", { scope: "row" }, link(workflow.id, "workflows", workflow.id), h("p", { class: "hint" }, workflow.description)),
                h("td", {}, this.lastRun(workflow)),
                h("td", {}, h("button", { type: "button", class: "button", "data-focus": `run ${workflow.id}`,
                                          onclick: () => runSheet(this.ctx, this.scheduler, workflow) }, icon("right"), "Run")),
                h("td", {}, startsBy(workflow)),
                h("td", { title: time(workflow.next) }, workflow.paused ? "paused" : workflow.next ? distance(workflow.next) : "–")))));
    }

    lastRun({ id, last_run: run, active_runs: active })
    {
        if (!run)
            return "never";
        return [badge(run.state), " ", link(run.start_date ? time(run.start_date) : "waits", "workflows", id, run.workflow_run_id),
                h("span", { class: "hint" }, run.duration_ms === null ? "" : ` ${duration(run.duration_ms)}`,
                    active > 1 ? `, ${active} active` : "")];
    }
}

export const view = {
    id: "workflows", title: "Workflows",
    mount(root, ctx)
    {
        const scheduler = new Scheduler(ctx.call);
        const screens = stage(root);
        return {
            path(parts)
            {
                if (!screens.turn(parts))
                    screens.show(parts[0] ? workflowPage(ctx, scheduler, parts) : new List(ctx, scheduler));
            },
            unmount: () => screens.show(null),
        };
    },
};
