/* SPDX-License-Identifier: Apache-2.0 */
/* The view of runs: the list, its search, and which runs to compare. One run, or several beside each other: run.js. */
import { h, icon } from "/assets/dom.js";
import { columns, searchKey, Tracker } from "/assets/mlflow.js";
import { badge, empty, hash, head, link, problem, soon, stage, wide } from "/assets/parts.js";
import { runPage } from "/assets/run.js";
import { brief, distance, duration, number, time } from "/assets/words.js";

const PAGE = 50;
const METRICS_SHOWN = 5;
const PARAMS_SHOWN = 4;
const RUNNING_MS = 3000;   /* running runs are asked for again so often */

const CHAT = "chat";       /* the experiment of chat turns: many runs, which are no trainings */
const ALL = "all";

/* What was looked for, so that the list is as it was when one comes back to it. `experiment`: an id, ALL, or "" for all but CHAT. */
const wanted = { experiment: "", filter: "", order: "", down: true };
const chosen = new Set();

const orderText = () => (wanted.order ? `${wanted.order} ${wanted.down ? "DESC" : "ASC"}` : null);

class List {
    constructor(ctx, tracker)
    {
        Object.assign(this, { ctx, tracker, experiments: [], runs: [], next: null, asked: 0 });
        this.select = h("select", { class: "input", id: "runs-experiment", onchange: () => this.choose() });
        this.filter = h("input", { class: "input", id: "runs-filter", type: "search", autocomplete: "off", spellcheck: "false",
                                   placeholder: "metrics.loss < 0.5 and params.order = '5'", value: wanted.filter,
                                   "aria-describedby": "runs-trouble" });
        this.trouble = h("div", { id: "runs-trouble" });
        this.compare = h("button", { type: "button", class: "button primary", onclick: () => ctx.go(hash("runs", [...chosen].join(","))) });
        this.area = h("div", { class: "runs-area", "aria-busy": "true" });
        this.element = h("section", { class: "screen" }, h("div", { class: "screen-head" }, h("h1", {}, "Runs"), this.compare),
            h("form", { class: "tools", role: "search", onsubmit: (event) => this.search(event) },
              h("div", { class: "field" }, h("label", { for: "runs-experiment" }, "Experiment"), this.select),
              h("div", { class: "field grow" }, h("label", { for: "runs-filter" }, "Search"), this.filter),
              h("button", { type: "submit", class: "button" }, icon("search"), "Search")), this.trouble, this.area);
        this.reload = soon(() => this.load(), 400);
        this.unwatch = ctx.watch(["run.created", "run.updated", "run.deleted", "experiment.created"], "new", this.reload);
        this.timer = setInterval(() => this.runs.some((run) => run.status === "RUNNING") && !document.hidden && this.load(), RUNNING_MS);
        this.drawCompare();
        this.load();
    }

    close()
    {
        this.unwatch();
        this.reload.stop();
        clearInterval(this.timer);
        this.asked++;  /* an answer that comes later is nobody's */
    }

    choose()
    {
        wanted.experiment = this.select.value;
        history.replaceState(null, "", wanted.experiment ? hash("runs", "of", wanted.experiment) : hash("runs"));
        chosen.clear();
        this.drawCompare();
        this.load();
    }

    search(event)
    {
        event.preventDefault();
        wanted.filter = this.filter.value.trim();
        this.load();
    }

    sortBy(order)
    {
        wanted.down = wanted.order === order ? !wanted.down : order === "attributes.start_time";
        wanted.order = order;
        this.load();
    }

    /* load asks for as many runs as are shown, or for more. */
    async load(more = false)
    {
        const mine = ++this.asked;
        try {
            this.experiments = await this.tracker.experiments();
            const page = await this.tracker.runs({
                experiments: this.chosenExperiments(), filter: wanted.filter, order: orderText(),
                token: more ? this.next : undefined, count: more ? PAGE : Math.max(PAGE, this.runs.length),
            });
            if (mine !== this.asked)
                return;
            this.runs = more ? [...this.runs, ...page.runs] : page.runs;
            this.next = page.next;
            this.trouble.replaceChildren();
            this.draw();
        } catch (error) {
            if (mine !== this.asked)
                return;
            this.trouble.replaceChildren(problem(error, error.status === 400 ? null : () => this.load()));
            this.filter.setAttribute("aria-invalid", String(error.status === 400));
        }
        this.area.setAttribute("aria-busy", "false");
    }

    hasChats()
    {
        return this.experiments.some(({ name }) => name === CHAT);
    }

    chosenExperiments()
    {
        const idsOf = (list) => list.map((experiment) => experiment.experiment_id);
        const all = idsOf(this.experiments);
        if (all.includes(wanted.experiment))
            return [wanted.experiment];
        if (wanted.experiment !== ALL)
            wanted.experiment = "";
        return wanted.experiment ? all : idsOf(this.experiments.filter(({ name }) => name !== CHAT));
    }

    draw()
    {
        this.filter.removeAttribute("aria-invalid");
        this.drawExperiments();
        const focused = document.activeElement?.dataset?.focus;
        const left = this.area.firstElementChild?.scrollLeft ?? 0;
        if (this.runs.length === 0) {
            this.area.replaceChildren(wanted.filter ? empty("No run matches this search.")
                : empty("No runs yet. Train a model, or point an MLflow client here:",
                    `MLFLOW_TRACKING_URI=${location.origin} python train.py`),
                ...wanted.filter ? [] : [empty("", "lineshaft workflow run train --follow")],
                ...this.hasChats() && !wanted.experiment ? [empty("Chats are runs too: choose “All experiments” to see them.")] : []);
            return;
        }
        this.area.replaceChildren(wide("Table of runs", this.table()), h("p", { class: "tools" },
            h("span", { class: "hint" }, `${this.runs.length} ${this.runs.length === 1 ? "run" : "runs"}`),
            this.next && h("button", { type: "button", class: "button", "data-focus": "more", onclick: () => this.load(true) },
                "More runs")));
        this.area.firstElementChild.scrollLeft = left;
        if (focused)
            this.area.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus();
    }

    /* An open list would close if its entries were made anew. */
    drawExperiments()
    {
        const names = JSON.stringify(this.experiments.map((experiment) => [experiment.experiment_id, experiment.name]));
        if (this.names !== names)
            this.select.replaceChildren(h("option", { value: "" }, this.hasChats() ? "All but chats" : "All experiments"),
                ...this.hasChats() ? [h("option", { value: ALL }, "All experiments")] : [], ...this.experiments.map((experiment) =>
                h("option", { value: experiment.experiment_id }, experiment.name)));
        this.names = names;
        this.select.value = wanted.experiment;
    }

    table()
    {
        const params = columns(this.runs, "params", PARAMS_SHOWN);
        const metrics = columns(this.runs, "metrics", METRICS_SHOWN);
        const names = new Map(this.experiments.map((experiment) => [experiment.experiment_id, experiment.name]));
        const all = new Set(this.runs.map((run) => run.experiment)).size > 1;
        const headers = head(h("th", { scope: "col" }, h("span", { class: "unseen" }, "Compare")), "State",
            this.header("Name", "attributes.run_name"), ...all ? ["Experiment"] : [], this.header("Start", "attributes.start_time"),
                "Duration",
            ...params.map((key) => this.header(key, searchKey("params", key))),
            ...metrics.map((key) => this.header(key, searchKey("metrics", key), "number")));
        return h("table", { class: "table" }, headers, h("tbody", {}, this.runs.map((run) => h("tr", {},
            h("td", {}, this.box(run)), h("td", {}, badge(run.status)), h("th", { scope: "row", class: "clip", title: run.name },
                link(run.name, "runs", run.id)),
            all && h("td", {}, names.get(run.experiment)), h("td", { title: run.start ? distance(run.start) : null }, time(run.start)),
            h("td", {}, duration((run.end ?? (run.status === "RUNNING" ? Date.now() : null)) - run.start)),
            params.map((key) => h("td", { class: "clip" }, run.params.get(key)?.value ?? "")),
            metrics.map((key) => h("td", { class: "number" }, run.metrics.has(key) ? number(Number(run.metrics.get(key).value)) : ""))))));
    }

    header(text, order, kind = null)
    {
        const sorted = (wanted.order || "attributes.start_time") === order;
        return h("th", { scope: "col", class: kind, "aria-sort": sorted ? (wanted.down ? "descending" : "ascending") : null },
                 h("button", { type: "button", class: "sort", "data-focus": order, onclick: () => this.sortBy(order) }, text));
    }

    box(run)
    {
        const box = h("input", { type: "checkbox", "aria-label": `Compare ${run.name} (${brief(run.id)})`, "data-focus": run.id,
            onchange: () => {
            chosen[box.checked ? "add" : "delete"](run.id);
            this.drawCompare();
        } });
        box.checked = chosen.has(run.id);
        return box;
    }

    drawCompare()
    {
        this.compare.disabled = chosen.size < 2;
        this.compare.textContent = chosen.size < 2 ? "Compare: choose two or more" : `Compare ${chosen.size} runs`;
    }
}

export const view = {
    id: "runs", title: "Runs",
    mount(root, ctx)
    {
        const tracker = new Tracker(ctx.call);
        const screens = stage(root);
        return {
            path([ids, experiment])
            {
                if (ids === "of")
                    wanted.experiment = experiment ?? "";
                screens.show(ids && ids !== "of" ? runPage(ctx, tracker, ids.split(",").filter(Boolean)) : new List(ctx, tracker));
            },
            unmount: () => screens.show(null),
        };
    },
};
