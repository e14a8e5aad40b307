/* SPDX-License-Identifier: Apache-2.0 */
/* The page of one workflow: the grid of its runs by tasks, and beside it what was chosen there (task.js). */
import { columnsOf, moved, rowsOf } from "/assets/cells.js";
import { h, icon } from "/assets/dom.js";
import { empty, facts, hash, problem, soon } from "/assets/parts.js";
import { pauseSwitch, runSheet, startsBy } from "/assets/scheduler.js";
import { Details } from "/assets/task.js";
import { distance, duration, sign, time } from "/assets/words.js";

const RUNS = 25;
const RUNS_MAX = 200;
const OVER = ["success", "failed"];

class Page {
    constructor(ctx, scheduler, parts)
    {
        Object.assign(this, { ctx, scheduler, id: parts[0], limit: RUNS, runs: [], known: new Map(), dirty: new Set(),
            closed: false, loading: null });
        this.heading = h("div", { class: "screen-head" });
        this.about = h("div");
        this.trouble = h("div");
        this.area = h("div", { class: "runs-by-tasks scroll-x", role: "region", "aria-label": "Runs by tasks" });
        this.more = h("button", { type: "button", class: "button", hidden: true, onclick: () => this.showMore() }, "Older runs");
        this.details = new Details(ctx, scheduler, this.id, () => this.reload());
        this.element = h("section", { class: "screen", "aria-busy": "true" },
            h("nav", { class: "crumbs", "aria-label": "Where this is" }, h("a", { href: "#/workflows" }, "Workflows")),
                this.heading, this.about, this.trouble,
            h("div", { class: "halves" }, h("section", { class: "sheet" }, this.area,
                h("div", { class: "tools" }, this.legend(), this.more)), this.details.element));
        this.area.addEventListener("keydown", (event) => this.onKey(event));
        this.reload = soon(() => this.load(), 300);
        this.unwatch = ctx.watch(["workflow.>", "task.>"], "new", (event) => this.onEvent(event));
        this.turn(parts);
        this.load();
    }

    close()
    {
        this.closed = true;
        this.unwatch();
        this.reload.stop();
        this.details.close();
    }

    turn([id, run = null, task = null])
    {
        if (id !== this.id)
            return false;
        this.chosen = { run, task };
        if (this.runs.length > 0)
            this.draw();
        this.choose();
        return true;
    }

    onEvent(event)
    {
        if (event.data?.workflow !== this.id)
            return;
        this.dirty.add(event.data.workflow_run_id);
        this.details.onEvent(event);
        if (event.topic !== "task.progress")
            this.reload();
    }

    showMore()
    {
        this.limit = Math.min(RUNS_MAX, this.limit * 2);
        this.load();
    }

    /* One load at a time; what happens meanwhile is loaded by the next. */
    async load()
    {
        if (this.loading) {
            this.reload();
            return;
        }
        this.loading = this.fetch();
        try {
            await this.loading;
            if (!this.closed) {
                this.trouble.replaceChildren();
                this.draw();
                this.choose();
            }
        } catch (error) {
            if (!this.closed)
                this.trouble.replaceChildren(problem(error, error.status === 404 ? null : () => this.load()));
        }
        this.loading = null;
        this.element.removeAttribute("aria-busy");
    }

    /* Runs that are over and did not change since are not asked for again. */
    async fetch()
    {
        const [{ workflows }, runs] = await Promise.all([this.scheduler.list(), this.scheduler.runs(this.id, this.limit)]);
        const dirty = this.dirty;
        this.dirty = new Set();
        this.workflow = workflows.find((workflow) => workflow.id === this.id) ?? null;
        const fresh = await Promise.all(runs.map((run) => {
            const known = this.known.get(run.workflow_run_id);
            const same = known && OVER.includes(run.state) && known.state === run.state && known.end_date === run.end_date;
            return same && !dirty.has(run.workflow_run_id) ? known : this.scheduler.show(this.id, run.workflow_run_id);
        }));
        this.known = new Map(fresh.map((run) => [run.workflow_run_id, run]));
        this.runs = fresh;
    }

    /* Without a choice it is the newest run that is shown beside the grid. */
    choose()
    {
        const run = this.chosen.run ?? this.runs[0]?.workflow_run_id ?? null;
        if (run !== null)
            this.details.show(run, this.chosen.task, this.known.get(run));
    }

    draw()
    {
        this.drawHead();
        this.more.hidden = this.runs.length < this.limit || this.limit >= RUNS_MAX;
        if (this.runs.length === 0) {
            this.area.replaceChildren(empty("It has not run yet. Start it here, or by:", `lineshaft workflow run ${this.id} --follow`));
            return;
        }
        const atEnd = this.area.scrollLeft + this.area.clientWidth >= this.area.scrollWidth - 40;
        const focused = this.area.contains(document.activeElement) ? document.activeElement.dataset : null;
        const columns = columnsOf(this.runs, Date.now());
        const rows = rowsOf(this.runs);
        this.area.replaceChildren(this.table(rows, columns));
        if (atEnd)
            this.area.scrollLeft = this.area.scrollWidth;
        if (focused)
            this.cell({ row: Number(focused.row), column: Number(focused.column) })?.focus({ preventScroll: true });
    }

    drawHead()
    {
        const workflow = this.workflow;
        this.heading.replaceChildren(h("h1", {}, this.id), ...workflow ? [
            pauseSwitch(this.ctx, this.scheduler, workflow, () => this.load()),
            h("button", { type: "button", class: "button primary", onclick: () => runSheet(this.ctx, this.scheduler, workflow) },
                icon("right"), "Run")] : []);
        this.about.replaceChildren(workflow ? facts([
            ["What it does", workflow.description], ["Starts", startsBy(workflow)],
            ["Next", workflow.paused ? "paused" : workflow.next && h("span", { title: time(workflow.next) }, distance(workflow.next))],
            ["File", h("code", {}, workflow.file)]]) : h("p", { class: "hint" }, "Its file is gone; these are the runs it left."));
    }

    table(rows, columns)
    {
        const shown = this.chosen.run ?? this.runs[0].workflow_run_id;
        const isHere = (run, task) => run.workflow_run_id === shown && this.chosen.task === task;
        const tab = { run: columns.some(({ run }) => run.workflow_run_id === shown) ? shown : this.runs[0].workflow_run_id,
            task: this.chosen.task };
        const button = (row, column, run, task, properties, ...children) => h("button", {
            type: "button", "data-row": row, "data-column": column, "aria-current": isHere(run, task) ? "true" : null,
            tabindex: run.workflow_run_id === tab.run && task === tab.task ? 0 : -1,
            onclick: () => this.ctx.go(hash("workflows", this.id, run.workflow_run_id, ...task ? [task] : [])), ...properties }, children);
        const bar = ({ run, lasted, height }, column) => {
            const { kind, mark, word } = sign(run.state);
            const fill = h("span", { class: `bar is-${kind}` });
            fill.style.height = `${Math.max(4, Math.round(height * 100))}%`;
            const told = [word, lasted ? duration(lasted) : null, time(run.start_date ?? run.queued_at)].filter(Boolean).join(", ");
            const label = `run ${run.workflow_run_id}: ${told}`;
            return h("th", { scope: "col" }, button(-1, column, run, null, { class: "bar-button", "aria-label": label, title: label },
                h("span", { class: "bar-room" }, fill), h("span", { class: `bar-mark is-${kind}` }, mark),
                    h("span", { class: "bar-time" }, this.tick(run))));
        };
        const cell = ({ run, tasks }, row, column, name) => {
            const task = tasks.get(name);
            if (!task)
                return h("td", {});
            const { kind, mark, word } = sign(task.state);
            const took = task.duration_ms === null ? "" : `, ${duration(task.duration_ms)}`;
            const label = `${name} in run ${run.workflow_run_id}: ${word}${took}`;
            return h("td", {}, button(row, column, run, name, { class: `cell is-${kind}`, "aria-label": label, title: label }, mark));
        };
        return h("table", { class: "by-tasks" }, h("thead", {},
            h("tr", {}, h("th", { scope: "col", class: "hint" }, "Task"), columns.map(bar))),
            h("tbody", {}, rows.map((name, row) => h("tr", {}, h("th", { scope: "row", title: name }, name),
                columns.map((column, i) => cell(column, row, i, name))))));
    }

    tick(run)
    {
        const text = time(run.start_date ?? run.queued_at);
        return text.length > 8 ? text.slice(5, 10) : text.slice(0, 5);
    }

    cell({ row, column })
    {
        return this.area.querySelector(`[data-row="${row}"][data-column="${column}"]`);
    }

    onKey(event)
    {
        const { row, column } = event.target.dataset;
        const to = row === undefined ? null : moved(event.key, { row: Number(row), column: Number(column) },
            rowsOf(this.runs).length, this.runs.length);
        if (!to)
            return;
        event.preventDefault();
        this.cell(to)?.focus();
    }

    legend()
    {
        const states = ["success", "running", "queued", "up_for_retry", "failed", "upstream_failed", "skipped"];
        return h("p", { class: "legend hint", "aria-hidden": "true" }, states.map((state) => {
            const { kind, mark, word } = sign(state);
            return h("span", {}, h("span", { class: `cell small is-${kind}` }, mark), word);
        }));
    }
}

export const workflowPage = (ctx, scheduler, parts) => new Page(ctx, scheduler, parts);
