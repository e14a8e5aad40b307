/* SPDX-License-Identifier: Apache-2.0 */
/* The tracker as the views ask it: MLflow's REST API. Every answer is a promise that may fail with ApiError. */

const ROOT = "/api/2.0/mlflow";
const HISTORY_PAGE = 25000;

/* A run as the views want it: info, and its data by key. */
function plain({ info, data })
{
    const byKey = (list) => new Map((list ?? []).map((item) => [item.key, item]));
    return {
        id: info.run_id, name: info.run_name || info.run_id, experiment: info.experiment_id, status: info.status,
        start: info.start_time ?? null, end: info.end_time || null,
        metrics: byKey(data?.metrics), params: byKey(data?.params), tags: byKey(data?.tags),
    };
}

const quoted = (text) => `'${text.replaceAll("'", "''")}'`;

/* searchKey names a metric or parameter in a search or an order. */
export const searchKey = (entity, key) => `${entity}.\`${key}\``;

const QUALITY = /loss|perplexity|accuracy|error|score|auc|f1|rmse|mae|reward/i;

/* columns chooses `count` keys of "params" or "metrics" for a table of runs: first those that at least half of them have, of these
 * those that tell runs apart, then what tells how good a model is, then those that most runs have. */
export function columns(runs, which, count)
{
    const seen = new Map();
    for (const run of runs) {
        for (const [key, item] of run[which]) {
            const entry = seen.get(key) ?? { key, runs: 0, values: new Set() };
            entry.runs++;
            entry.values.add(item.value);
            seen.set(key, entry);
        }
    }
    const merits = ({ key, runs: filled, values }) => [filled * 2 >= runs.length, values.size > 1, QUALITY.test(key), filled];
    const order = (a, b) => merits(b).map((merit, i) => merit - merits(a)[i]).find((difference) => difference !== 0) ?? 0;
    return [...seen.values()].sort(order).slice(0, count).map((entry) => entry.key);
}

/* labels names runs so that no two are the same: those that share a name have the end of their id with it. Map id -> text. */
export function labels(runs)
{
    const shared = (run) => runs.filter((other) => other.name === run.name).length > 1;
    return new Map(runs.map((run) => [run.id, shared(run) ? `${run.name} …${run.id.slice(-5)}` : run.name]));
}

export class Tracker {
    constructor(call)
    {
        this.call = call;
    }

    async get(path, query)
    {
        const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
        return (await this.call(`${ROOT}/${path}?${new URLSearchParams(given)}`)).json();
    }

    async send(method, path, body)
    {
        const headers = { "content-type": "application/json" };
        return (await this.call(`${ROOT}/${path}`, { method, headers, body: JSON.stringify(body) })).json();
    }

    /* pages calls take(page) for every page that ask(token) gives. */
    async pages(ask, take)
    {
        for (let token; ;) {
            const page = await ask(token);
            take(page);
            token = page.next_page_token;
            if (!token)
                return;
        }
    }

    async all(ask, list)
    {
        const found = [];
        await this.pages(ask, (page) => found.push(...page[list] ?? []));
        return found;
    }

    experiments()
    {
        return this.all((token) => this.send("POST", "experiments/search", { max_results: 1000, page_token: token }), "experiments");
    }

    /* runs finds one page: {runs, next}. `order` is as in MLflow: "metrics.`loss` ASC". */
    async runs({ experiments, filter, order, token, count })
    {
        const page = await this.send("POST", "runs/search", { experiment_ids: experiments, filter, order_by: order ? [order] : [],
                                                              max_results: count, page_token: token });
        return { runs: (page.runs ?? []).map(plain), next: page.next_page_token ?? null };
    }

    async run(id)
    {
        return plain((await this.get("runs/get", { run_id: id })).run);
    }

    /* history calls grow(points) for each page of a metric's points. */
    history(id, metric, grow)
    {
        const ask = (token) => this.get("metrics/get-history", { run_id: id, metric_key: metric, max_results: HISTORY_PAGE,
                                                                 page_token: token });
        return this.pages(ask, (page) => grow(page.metrics ?? []));
    }

    /* hasLine: the metric has more than one point. */
    async hasLine(id, metric)
    {
        const page = await this.get("metrics/get-history", { run_id: id, metric_key: metric, max_results: 2 });
        return (page.metrics ?? []).length > 1;
    }

    /* files lists one folder of a run's artifacts: {root, files}. */
    async files(id, path)
    {
        const found = { root: "", files: [] };
        await this.pages((token) => this.get("artifacts/list", { run_id: id, path, page_token: token }), (page) => {
            found.root = page.root_uri ?? "";
            found.files.push(...page.files ?? []);
        });
        return found;
    }

    models()
    {
        return this.all((token) => this.get("registered-models/search", { max_results: 1000, page_token: token }), "registered_models");
    }

    async model(name)
    {
        return (await this.get("registered-models/get", { name })).registered_model;
    }

    versions(name)
    {
        return this.versionsBy(`name = ${quoted(name)}`);
    }

    versionsOf(runId)
    {
        return this.versionsBy(`run_id = ${quoted(runId)}`);
    }

    versionsBy(filter)
    {
        return this.all((token) => this.get("model-versions/search", { filter, max_results: 1000, page_token: token }), "model_versions");
    }

    setAlias(name, alias, version)
    {
        return this.send("POST", "registered-models/alias", { name, alias, version });
    }

    deleteAlias(name, alias)
    {
        return this.send("DELETE", "registered-models/alias", { name, alias });
    }
}
