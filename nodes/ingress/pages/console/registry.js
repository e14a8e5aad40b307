/* SPDX-License-Identifier: Apache-2.0 */
/* The view of models: the registry's list, and the files of the artifact store. One model: versions.js. */
import { h, icon } from "/assets/dom.js";
import { storeFiles, tree } from "/assets/files.js";
import { Tracker } from "/assets/mlflow.js";
import { empty, head, link, problem, soon, stage, wide } from "/assets/parts.js";
import { byVersion, workersOf } from "/assets/serving.js";
import { modelPage } from "/assets/versions.js";
import { distance, time } from "/assets/words.js";

/* servedText says who serves which version, in words. */
function servedText(workers)
{
    const who = (members) => (members.length <= 3 ? members.join(", ") : `${members.length} workers`);
    const groups = [...byVersion(workers)].map(([version, members]) =>
        `${version === null ? "a file" : `version ${version}`} by ${who(members)}`);
    return groups.join("; ") || "by none";
}

class List {
    constructor(ctx, tracker)
    {
        Object.assign(this, { ctx, tracker, models: null, served: "", closed: false });
        this.area = h("div", { "aria-busy": "true" });
        const files = tree(ctx.call, storeFiles(ctx.call));
        this.element = h("section", { class: "screen" }, h("div", { class: "screen-head" }, h("h1", {}, "Models")), this.area,
            h("section", { class: "sheet" }, h("div", { class: "screen-head" }, h("h2", {}, "Files in the artifact store"),
                h("button", { type: "button", class: "plain small", "aria-label": "Look again", title: "Look again",
                    onclick: files.refill }, icon("retry"))),
              files.element));
        this.reload = soon(() => this.load(), 300);
        this.unwatch = ctx.watch(["model.>"], "new", this.reload);
        this.load();
    }

    close()
    {
        this.closed = true;
        this.unwatch();
        this.reload.stop();
    }

    state(snapshot)
    {
        const served = (this.models ?? []).map((model) => servedText(workersOf(snapshot, model.name))).join("|");
        if (this.models && served !== this.served)
            this.draw();
    }

    async load()
    {
        try {
            const models = await this.tracker.models();
            if (this.closed)
                return;
            this.models = models;
            this.draw();
        } catch (error) {
            this.area.replaceChildren(problem(error, () => this.load()));
        }
        this.area.setAttribute("aria-busy", "false");
    }

    draw()
    {
        const snapshot = this.ctx.snapshot();
        this.served = this.models.map((model) => servedText(workersOf(snapshot, model.name))).join("|");
        this.area.replaceChildren(this.models.length === 0
            ? empty("No model is registered yet. This trains the small one and registers it:", "lineshaft workflow run train --follow")
            : wide("Table of models", h("table", { class: "table roomy" },
                head("Model", "Newest version", "Aliases", "Served now", "Changed"),
                h("tbody", {}, this.models.map((model) => this.row(model, snapshot))))));
    }

    row(model, snapshot)
    {
        const newest = (model.latest_versions ?? []).map((version) => Number(version.version)).sort((a, b) => b - a)[0];
        return h("tr", {}, h("th", { scope: "row" }, link(model.name, "models", model.name),
            model.description && h("p", { class: "hint" }, model.description)),
            h("td", {}, newest ? String(newest) : "none"),
            h("td", {}, (model.aliases ?? []).map(({ alias, version }) => h("span", { class: "alias" }, `${alias}: ${version}`))),
            h("td", {}, snapshot ? servedText(workersOf(snapshot, model.name)) : "…"),
            h("td", { title: distance(model.last_updated_timestamp) }, time(model.last_updated_timestamp)));
    }
}

export const view = {
    id: "models", title: "Models",
    mount(root, ctx)
    {
        const tracker = new Tracker(ctx.call);
        const screens = stage(root);
        return {
            path: ([name]) => screens.show(name ? modelPage(ctx, tracker, name) : new List(ctx, tracker)),
            state: screens.state,
            unmount: () => screens.show(null),
        };
    },
};
