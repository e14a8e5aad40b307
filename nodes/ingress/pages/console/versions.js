/* SPDX-License-Identifier: Apache-2.0 */
/* The page of a registered model: its versions, who serves them, and moving an alias from one to another (promote.js). */
import { h, icon } from "/assets/dom.js";
import { artifactPath, storeKey } from "/assets/files.js";
import { columns } from "/assets/mlflow.js";
import { badge, empty, facts, head, link, problem, soon, wide } from "/assets/parts.js";
import { askAlias, DEFAULT_ALIAS, dropAlias, Move } from "/assets/promote.js";
import { byVersion, workersOf } from "/assets/serving.js";
import { brief, distance, number, time } from "/assets/words.js";

const METRICS_SHOWN = 3;
const RUNS_ASKED = 50;   /* the newest versions whose runs are asked for their metrics */

class Page {
    constructor(ctx, tracker, name)
    {
        Object.assign(this, { ctx, tracker, name, model: null, versions: [], runs: new Map(), move: null, served: "", closed: false });
        this.about = h("div");
        this.trouble = h("div");
        this.moves = h("div");
        this.area = h("div");
        this.element = h("section", { class: "screen", "aria-busy": "true" },
            h("nav", { class: "crumbs", "aria-label": "Where this is" }, h("a", { href: "#/models" }, "Models")),
            h("div", { class: "screen-head" }, h("h1", {}, name)), this.about, this.trouble, this.moves, this.area);
        this.reload = soon(() => this.load(), 300);
        this.unwatch = ctx.watch(["model.>"], "new", (event) => this.onEvent(event));
        this.load();
    }

    close()
    {
        this.closed = true;
        this.unwatch();
        this.reload.stop();
    }

    onEvent(event)
    {
        if (event.data?.name !== this.name)
            return;
        this.move?.onEvent(event);
        this.reload();
    }

    state(snapshot)
    {
        this.move?.state(snapshot);
        if (this.model && JSON.stringify(workersOf(snapshot, this.name)) !== this.served)
            this.draw();
    }

    async load()
    {
        try {
            const [model, versions] = await Promise.all([this.tracker.model(this.name), this.tracker.versions(this.name)]);
            if (this.closed)
                return;
            this.model = model;
            this.versions = versions.sort((a, b) => Number(b.version) - Number(a.version));
            this.trouble.replaceChildren();
            this.draw();
            await this.loadRuns();
        } catch (error) {
            if (!this.closed)
                this.trouble.replaceChildren(problem(error, () => this.load()));
        }
        this.element.removeAttribute("aria-busy");
    }

    /* A version whose run was deleted for good has no metrics to show, which is no trouble. */
    async loadRuns()
    {
        const ids = [...new Set(this.versions.slice(0, RUNS_ASKED).map((version) => version.run_id).filter(Boolean))];
        const over = (id) => this.runs.get(id)?.status !== "RUNNING" && this.runs.get(id);
        const runs = await Promise.all(ids.map((id) => over(id) || this.tracker.run(id).catch((error) => {
            if (error.status === 404)
                return null;
            throw error;
        })));
        if (this.closed)
            return;
        this.runs = new Map(runs.filter(Boolean).map((run) => [run.id, run]));
        this.draw();
    }

    draw()
    {
        const workers = workersOf(this.ctx.snapshot(), this.name);
        this.served = JSON.stringify(workers);
        this.about.replaceChildren(facts([
            ["What it is", this.model.description],
            ["Aliases", (this.model.aliases ?? []).length > 0 && h("span", {}, this.model.aliases.map((alias) => this.alias(alias)))],
            ["Served by", workers.length > 0 ? workers.map((worker) => worker.member).join(", ") : "no worker now"]]));
        const focused = document.activeElement?.dataset?.focus;
        this.area.replaceChildren(this.versions.length === 0
            ? empty("It has no version yet. This trains one and registers it:",
                `lineshaft workflow run train --input model=${this.name} --follow`)
            : wide("Table of versions", this.table(byVersion(workers))));
        if (focused)
            this.area.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus();
    }

    alias({ alias, version })
    {
        return h("span", { class: "alias" }, `${alias}: version ${version}`,
            h("button", { type: "button", class: "plain small", title: `Remove ${alias}`,
            "aria-label": `Remove the alias ${alias}`, onclick: () => dropAlias(this.tracker, this.name, alias, version,
                this.reload) }, icon("close")));
    }

    table(served)
    {
        const metrics = columns([...this.runs.values()], "metrics", METRICS_SHOWN);
        return h("table", { class: "table roomy" }, head("Version", "State", "Aliases",
            h("th", { scope: "col" }, h("span", { class: "unseen" }, "Move an alias")), "Served by",
                ...metrics.map((key) => h("th", { scope: "col", class: "number" }, key)),
                "Run", "File", "Created"),
            h("tbody", {}, this.versions.map((version) => this.row(version, served, metrics))));
    }

    row(version, served, metrics)
    {
        const run = this.runs.get(version.run_id);
        const values = metrics.map((key) => h("td", { class: "number" },
            run?.metrics.has(key) ? number(Number(run.metrics.get(key).value)) : ""));
        const tags = (version.tags ?? []).map((tag) => `${tag.key}: ${tag.value}`).join("\n");
        return h("tr", {}, h("th", { scope: "row", title: tags || null }, version.version), h("td", {}, badge(version.status)),
            h("td", {}, (version.aliases ?? []).map((alias) => h("span", { class: "alias" }, alias))),
            h("td", {}, (version.aliases ?? []).includes(DEFAULT_ALIAS) ? h("span", { class: "hint" }, `is the ${DEFAULT_ALIAS}`)
                : h("button", { type: "button", class: "button", "data-focus": `promote ${version.version}`,
                                onclick: () => this.promote(version) }, "Promote")),
            h("td", {}, (served.get(version.version) ?? []).join(", ")), values,
            h("td", {}, version.run_id && link(run?.name ?? brief(version.run_id), "runs", version.run_id)),
                h("td", {}, this.source(version)),
            h("td", { title: distance(version.creation_timestamp) }, time(version.creation_timestamp)));
    }

    /* A file in the artifact store can be had; of any other place the name has to do. */
    source({ source })
    {
        const file = source?.split("/").at(-1);
        const key = storeKey(source);
        return key !== null && file.includes(".") ? h("a", { href: artifactPath(key), download: file, title: source }, file)
                      : h("span", { class: "clip", title: source }, file);
    }

    async promote(version)
    {
        try {
            const chosen = await askAlias(this.tracker, this.name, version.version, workersOf(this.ctx.snapshot(), this.name));
            if (chosen)
                this.follow(chosen);
        } catch (error) {
            this.ctx.notify(error.message);
        }
    }

    /* follow shows the move of an alias as it happens, with the way back. */
    follow(chosen)
    {
        this.move = new Move(this.name, chosen, workersOf(this.ctx.snapshot(), this.name), {
            back: () => this.back(chosen),
            dismiss: () => { this.move = null; this.moves.replaceChildren(); },
        });
        this.moves.replaceChildren(this.move.element);
        this.reload();
    }

    async back({ alias, version, previous })
    {
        try {
            if (previous === null)
                await this.tracker.deleteAlias(this.name, alias);
            else
                await this.tracker.setAlias(this.name, alias, previous);
        } catch (error) {
            this.ctx.notify(`The alias stays where it is: ${error.message}`);
            return;
        }
        if (previous === null) {
            this.moves.replaceChildren();
            this.move = null;
            this.reload();
        } else {
            this.follow({ alias, version: previous, previous: version });
        }
    }
}

export const modelPage = (ctx, tracker, name) => new Page(ctx, tracker, name);
