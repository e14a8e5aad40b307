/* SPDX-License-Identifier: Apache-2.0 */
/* What a person does with runs in the console; and the modules under it that need no browser. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { columns, labels } from "../../nodes/ingress/pages/console/mlflow.js";
import { line, Points, smooth, thin, told, within } from "../../nodes/ingress/pages/console/series.js";
import { duration, number, sign, size, tally } from "../../nodes/ingress/pages/console/words.js";
import { launch, shot, skip, url, withPage } from "./harness.mjs";

const EVIL = `<img src=x onerror="window.__pwned=1">`;
const point = (step, value, timestamp = step) => ({ step, timestamp, value });

test("a point that comes twice is one point, and late ones find their place", () => {
    const points = new Points();
    points.add([point(1, 5), point(3, 7)]);
    points.add([point(3, 7), point(2, 6), point(2, 6)]);
    assert.deepEqual(points.list.map((item) => item.step), [1, 2, 3]);
});

test("what is no number is a gap", () => {
    const points = [point(1, 1), point(2, "NaN"), point(3, 1.7976931348623157e308), point(4, 2)];
    assert.deepEqual(line(points, "step"), { xs: [1, 2, 3, 4], ys: [1, null, null, 2] });
    assert.deepEqual(line([point(1, 1, 3000), point(2, 2, 2000)], "since", 1000), { xs: [1, 2], ys: [2, 1] });
    assert.deepEqual(smooth([1, null, 1, 1], 0.9).map((y) => (y === null ? null : Number(y.toFixed(9)))), [1, null, 1, 1]);
});

test("a long line is thinned without losing a peak", () => {
    const xs = Array.from({ length: 100000 }, (_, i) => i);
    const ys = xs.map((x) => (x === 43210 ? 1000 : x === 87654 ? -1000 : Math.sin(x)));
    const few = thin({ xs, ys }, 500);
    assert.ok(few.xs.length <= 2000);
    assert.deepEqual([Math.max(...few.ys), Math.min(...few.ys), few.xs[0], few.xs.at(-1)], [1000, -1000, 0, 99999]);
    assert.deepEqual(few.xs, [...few.xs].sort((a, b) => a - b));
    assert.deepEqual(within({ xs: [1, 2, 3, 4, 5], ys: [1, 2, 3, 4, 5] }, 2.5, 3.5).xs, [2, 3, 4]);
    assert.match(told("loss", { ys: [3, null, 1, 2] }, number), /3 points, from 3 to 2, lowest 1, highest 3/);
});

test("numbers, sizes and durations are short", () => {
    assert.deepEqual([60.848121756, 0.00001234, 734817, 3, NaN, -1.7976931348623157e308].map(number),
                     ["60.8481", "1.234e-5", "734\u202f817", "3", "NaN", "−∞"]);
    assert.deepEqual([0, 1023, 1536, 22.5 * 1048576].map(size), ["0 B", "1023 B", "1.5 KiB", "22.5 MiB"]);
    assert.deepEqual([7, 2811, 59999, 61000, 3600e3 * 25].map((ms) => duration(ms)), ["7 ms", "2.8 s", "60 s", "1 min 1 s", "25 h 0 min"]);
    assert.deepEqual(sign("UPSTREAM_FAILED").word, "upstream failed");
    const run = { state: "failed", tasks_done: 3, tasks_total: 3, tasks: ["success", "failed", "upstream_failed"].map((state) => ({ state })) };
    assert.equal(tally(run), "1 of 3 succeeded, 1 failed, 1 upstream failed");
    assert.equal(tally({ ...run, state: "running", tasks_done: 1 }), "1 of 3 done");
});

test("a table of runs has the columns that tell them apart, and no two names alike", () => {
    const run = (id, name, metrics) => ({ id, name, metrics: new Map(Object.entries(metrics)
        .map(([key, value]) => [key, { key, value, step: 0 }])) });
    const runs = [run("aaaa11111", "a", { same: 1, loss: 1 }), run("aaaa22222", "a", { same: 1, loss: 2 }), run("c", "c", { same: 1 })];
    assert.deepEqual(columns(runs, "metrics", 1), ["loss"]);
    assert.deepEqual(columns([...runs, run("d", "d", { same: 1, rare: 7 }), run("e", "e", { same: 1, rare: 8 })], "metrics", 1), ["same"]);
    assert.deepEqual(columns([run("f", "f", { bytes: 9, perplexity: 5 })], "metrics", 2), ["perplexity", "bytes"], "how good it is");
    assert.deepEqual([...labels(runs).values()], ["a …11111", "a …22222", "c"]);
});

async function tracker(path, body)
{
    const response = await fetch(`${url}api/2.0/mlflow/${path}`,
        { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
    const answer = await response.json();
    assert.equal(response.status, 200, JSON.stringify(answer));
    return answer;
}

/* A run with parameters and a metric of some points; `end` closes it. */
async function newRun(experiment, name, { params = {}, losses = [], end = true } = {})
{
    const { run } = await tracker("runs/create", { experiment_id: experiment, run_name: name, start_time: Date.now() });
    const id = run.info.run_id;
    const pairs = Object.entries(params).map(([key, value]) => ({ key, value }));
    const metrics = losses.map((value, step) => ({ key: "loss", value, step: step + 1, timestamp: Date.now() + step }));
    await tracker("runs/log-batch", { run_id: id, params: pairs, metrics });
    if (end)
        await tracker("runs/update", { run_id: id, status: "FINISHED", end_time: Date.now() + 60000 });
    return { id, uri: run.info.artifact_uri };
}

const plotWords = (page, metric) => page.locator(`[data-metric="${metric}"] .unseen`);

const plotSays = (page, metric, pattern) => page.waitForFunction(([name, text]) =>
    new RegExp(text).test(document.querySelector(`[data-metric="${name}"] .unseen`)?.textContent), [metric, pattern]);

describe("runs in the console", { skip }, () => {
    let browser, experiment, slow, fast;
    before(async () => {
        browser = await launch();
        experiment = (await tracker("experiments/create", { name: `runs ${EVIL}` })).experiment_id;
        slow = await newRun(experiment, `slow ${EVIL}`, { params: { rate: "0.1", note: EVIL }, losses: [9, 8, 7] });
        fast = await newRun(experiment, "fast", { params: { rate: "0.5", note: EVIL }, losses: [9, 4, 1, 0.5] });
    });
    after(async () => { await browser?.close(); });

    test("the list is searched with MLflow's words and sorted by a metric", () =>
        withPage(browser, { path: "console#/runs" }, async (page) => {
            await page.selectOption("#runs-experiment", experiment);
            const names = page.locator("tbody th");
            await page.waitForFunction(() => document.querySelectorAll("tbody th").length === 2);
            await page.getByRole("button", { name: "loss" }).click();
            await page.waitForFunction(() => document.querySelector("tbody th").textContent === "fast");
            await page.getByRole("button", { name: "loss" }).click();
            await page.waitForFunction(() => document.querySelector("tbody th").textContent.startsWith("slow <img"));
            await shot(page, "runs");
            await page.fill("#runs-filter", "metrics.loss < 1");
            await page.press("#runs-filter", "Enter");
            await page.waitForFunction(() => document.querySelectorAll("tbody th").length === 1);
            assert.equal(await names.innerText(), "fast");
        }));

    test("chats are not among the runs unless one asks for them", () => withPage(browser, {}, async (page) => {
        const { experiments } = await tracker("experiments/search", { max_results: 100, filter: "name = 'chat'" });
        const chat = experiments?.[0]?.experiment_id ?? (await tracker("experiments/create", { name: "chat" })).experiment_id;
        await newRun(chat, "a turn of a chat");
        await page.goto(`${url}console#/runs`);
        await page.getByRole("link", { name: "fast" }).waitFor();
        assert.equal(await page.getByRole("link", { name: "a turn of a chat" }).count(), 0);
        await page.selectOption("#runs-experiment", "all");
        await page.getByRole("link", { name: "a turn of a chat" }).waitFor();
        await page.goto(`${url}console#/runs/of/${experiment}`);
        await page.waitForFunction((id) => document.querySelector("#runs-experiment").value === id, experiment);
        await page.getByRole("link", { name: "fast" }).waitFor();
        assert.equal(await page.getByRole("link", { name: "a turn of a chat" }).count(), 0);
    }));

    test("what is wrong is said where it is", async () => {
        const page = await browser.newPage();  /* not a guarded one: the browser notes refusals in its console */
        page.setDefaultTimeout(20000);
        await page.goto(`${url}console#/runs`);
        await page.fill("#runs-filter", "metrics.loss <");
        await page.press("#runs-filter", "Enter");
        await page.getByRole("alert").getByText("a number is missing").waitFor();
        await page.goto(`${url}console#/runs/nope`);
        await page.getByRole("alert").getByText("Run with id=nope not found").waitFor();
        await page.close();
    });

    test("two runs are compared: what differs stands out, and a plot has both",
        () => withPage(browser, { path: "console#/runs" }, async (page) => {
        await page.selectOption("#runs-experiment", experiment);
        await page.getByRole("checkbox", { name: /Compare fast/ }).check();
        await page.getByRole("checkbox", { name: /Compare slow/ }).check();
        await page.getByRole("button", { name: "Compare 2 runs" }).click();
        await page.waitForFunction(() => document.querySelector('[data-metric="loss"] canvas'));
        await plotSays(page, "loss", "highest.*highest");
        assert.match(await plotWords(page, "loss").textContent(), /fast: 4 points, from 9 to 0.5/);
        assert.deepEqual(await page.locator("td strong").allInnerTexts().then((texts) => texts.sort()), ["0.1", "0.5"]);
        await page.getByRole("radio", { name: "Time" }).check();
        await page.getByLabel("Logarithmic").check();
        await page.waitForFunction(() => document.querySelector('[data-metric="loss"] .u-legend').textContent.includes("time"));
        await shot(page, "runs-compared");
    }));

    test("the points of a run that goes on come by themselves", () => withPage(browser, {}, async (page) => {
        const { id } = await newRun(experiment, "live", { losses: [3, 2], end: false });
        await page.goto(`${url}console#/runs/${id}`);
        await plotSays(page, "loss", "loss: 2 points");
        await page.waitForSelector('#link[data-state="open"]');
        await tracker("runs/log-metric", { run_id: id, key: "loss", value: 1, step: 3, timestamp: Date.now() });
        await plotSays(page, "loss", "loss: 3 points, from 3 to 1");
        await tracker("runs/log-metric", { run_id: id, key: "accuracy", value: 0.5, step: 1, timestamp: Date.now() });
        await page.waitForSelector('[data-metric="accuracy"] canvas');
        await tracker("runs/update", { run_id: id, status: "FAILED", end_time: Date.now() });
        await page.getByText("failed", { exact: true }).waitFor();
    }));

    test("a long history comes in pages and is all there", () => withPage(browser, {}, async (page) => {
        const { id } = await newRun(experiment, "long");
        for (let from = 0; from < 30000; from += 1000) {
            const metrics = Array.from({ length: 1000 },
                (_, i) => ({ key: "long", value: from + i === 12345 ? -7 : 1, step: from + i, timestamp: from + i }));
            await tracker("runs/log-batch", { run_id: id, metrics });
        }
        await page.goto(`${url}console#/runs/${id}`);
        await plotSays(page, "long", "long: 30000 points.*lowest -7");
    }));

    test("files of a run are a tree with downloads", () => withPage(browser, {}, async (page) => {
        const { id, uri } = await newRun(experiment, "files");
        const key = uri.replace(/^mlflow-artifacts:\/+/, "");
        const put = await fetch(`${url}api/artifacts/${key}/notes/of%20today.txt`, { method: "PUT", body: "three epochs" });
        assert.ok(put.ok);
        await page.goto(`${url}console#/runs/${id}`);
        await page.getByRole("button", { name: "notes/" }).click();
        const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "of today.txt" }).click()]);
        assert.equal(download.suggestedFilename(), "of today.txt");
    }));
});
