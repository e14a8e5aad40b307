// SPDX-License-Identifier: Apache-2.0
// node pictures.mjs HTTP-ADDRESS TRACE-PAGE FOLDER: the pictures of the README, from the running quick start (pictures.py).
import { launch } from "./harness.mjs";

const [address, trace, folder] = process.argv.slice(2);
const browser = await launch();

async function picture(name, url, viewport, prepare) {
    const page = await (await browser.newContext({ viewport, colorScheme: "light" })).newPage();
    await page.goto(url);
    await prepare(page);
    await page.screenshot({ path: `${folder}/${name}.png`, animations: "disabled" });
    await page.close();
}

await picture("chat", address, { width: 1100, height: 760 }, async (page) => {
    await page.waitForSelector("html[data-ready]");
    await page.fill("#question", "Tell me a fortune");
    await page.press("#question", "Enter");
    await page.waitForFunction(() => document.querySelector(".answer:last-child")?.getAttribute("aria-busy") === "false");
});

/* What the runs are called, and a little traffic for the belts. */
async function post(path, body) {
    const options = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
    return (await fetch(`${address}${path}`, options)).json();
}
const chat = () => post("/v1/chat/completions", { model: "fortunes", messages: [{ role: "user", content: "And another?" }] });
const measured = (i) => ({ topic: "sensors.hall-3.temperature", data: { celsius: 19 + i % 7 / 10 } });
const measure = (i) => post("/api/events", Array(6).fill(measured(i)));

await picture("console-flow", `${address}/console#/flow`, { width: 1280, height: 800 }, async (page) => {
    await page.waitForSelector(".station");
    for (let i = 0; i < 40; i++) {
        if (i === 24)
            await post("/api/requests/scheduler.run", { workflow: "train", inputs: { order: 2 } });
        await Promise.all([chat(), measure(i), page.waitForTimeout(200)]);
    }
    await page.locator(".strand.gives.moving").first().waitFor({ state: "attached" });
});
const experiments = (await post("/api/2.0/mlflow/experiments/search", { max_results: 100 })).experiments;
const { runs } = await post("/api/2.0/mlflow/runs/search", { experiment_ids: experiments.map((one) => one.experiment_id),
                                                             filter: "metrics.perplexity > 0 and attributes.status = 'FINISHED'",
                                                             max_results: 4 });
const ids = encodeURIComponent(runs.map((run) => run.info.run_id).join(","));
await picture("console-runs", `${address}/console#/runs/${ids}`, { width: 1280, height: 800 },
              (page) => page.locator(".uplot canvas").nth(1).waitFor());
await picture("trace", trace, { width: 1180, height: 760 }, (page) => page.addStyleTag({ content: "pre { font-size: 12px; margin: 12px }" }));
await browser.close();
