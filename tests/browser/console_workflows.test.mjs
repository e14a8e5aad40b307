/* SPDX-License-Identifier: Apache-2.0 */
/* What a person does with workflows in the console: browser_test.py tells which there are. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { columnsOf, moved, rowsOf } from "../../nodes/ingress/pages/console/cells.js";
import { launch, shot, skip, url, withPage } from "./harness.mjs";

const EVIL = `<img src=x onerror="window.__pwned=1">`;

test("the grid has the newest run's tasks first, its newest run last", () => {
    const run = (id, tasks, more = {}) => ({ workflow_run_id: id, tasks: tasks.map((task) => ({ task })), duration_ms: 1,
        start_date: null, ...more });
    const runs = [run("new", ["a", "c"], { duration_ms: null, start_date: new Date(1000).toISOString() }),
        run("old", ["a", "b"], { duration_ms: 500 })];
    assert.deepEqual(rowsOf(runs), ["a", "c", "b"]);
    assert.deepEqual(columnsOf(runs, 3000).map(({ run: { workflow_run_id: id }, height }) => [id, height]), [["old", 0.25], ["new", 1]]);
});

test("arrows stay within the grid", () => {
    assert.deepEqual(moved("ArrowUp", { row: 0, column: 1 }, 3, 2), { row: -1, column: 1 });
    assert.deepEqual(moved("ArrowRight", { row: 2, column: 1 }, 3, 2), { row: 2, column: 1 });
    assert.deepEqual(moved("Home", { row: 2, column: 1 }, 3, 2), { row: 2, column: 0 });
    assert.equal(moved("Tab", { row: 0, column: 0 }, 3, 2), null);
});

async function start(workflow, run, inputs = {})
{
    const response = await fetch(`${url}api/workflows/${workflow}/runs`, { method: "POST", headers: { "content-type": "application/json" },
                                                                          body: JSON.stringify({ workflow_run_id: run, inputs }) });
    assert.ok(response.ok, await response.text());
}

const cell = (page, task, run, state) => page.getByRole("button", { name: new RegExp(`^${task} in run ${run}: ${state}`) });

describe("workflows in the console", { skip }, () => {
    let browser;
    before(async () => { browser = await launch(); });
    after(async () => { await browser?.close(); });

    test("a run is started with its inputs and watched to its end",
        () => withPage(browser, { path: "console#/workflows" }, async (page) => {
        await page.getByRole("row", { name: /demo/ }).getByRole("button", { name: "Run" }).click();
        await page.getByLabel("word").fill(`'${EVIL}'`);
        await page.getByRole("dialog").getByRole("button", { name: "Run", exact: true }).click();
        await page.waitForURL(/#\/workflows\/demo\/.+/);
        const run = decodeURIComponent(page.url().split("/").at(-1)).replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
        await cell(page, "after", run, "upstream failed").waitFor();
        await page.getByText("1 of 3 succeeded, 1 failed, 1 upstream failed").waitFor();
        await cell(page, "say", run, "success").click();
        await page.locator("pre.log", { hasText: "a second line" }).waitFor();
        assert.ok((await page.locator("pre.log").textContent()).startsWith("<img src=x"));
        await shot(page, "workflow");
    }));

    test("a failed task says why, has the logs of its tries, and runs again", () => withPage(browser, {}, async (page) => {
        await start("demo", "breaks");
        await page.goto(`${url}console#/workflows/demo/breaks`);
        await cell(page, "break", "breaks", "failed").click();
        const details = page.getByRole("region", { name: "What was chosen" });
        await details.getByText("it failed after 2 tries: exit code 3").waitFor();
        await details.locator("pre.log", { hasText: "it breaks" }).waitFor();
        await details.getByRole("radio", { name: "failed 1" }).check();
        await details.getByText(/attempt=1\.log/).waitFor();
        await details.getByRole("button", { name: "Run again" }).click();
        await page.getByRole("dialog").waitFor();
        assert.deepEqual(await page.getByRole("dialog").getByRole("listitem").allInnerTexts(), ["break", "after"]);
        await page.getByRole("dialog").getByRole("button", { name: "Run again" }).click();
        await details.getByRole("radio", { name: "3" }).waitFor();
    }));

    test("the log of a running try is followed, and its run cancelled", () => withPage(browser, {}, async (page) => {
        await start("ticker", "long");
        await page.goto(`${url}console#/workflows/ticker/long/tick`);
        await page.locator("pre.log", { hasText: "tick 15\n" }).waitFor();
        const numbers = (await page.locator("pre.log").textContent()).match(/\d+/g).map(Number);
        assert.deepEqual(numbers, numbers.map((_, i) => i + 1), "nothing twice, nothing left out");
        await page.getByRole("link", { name: "Run long" }).click();
        await page.getByRole("button", { name: "Cancel", exact: true }).click();
        await page.getByRole("dialog").getByRole("button", { name: "Cancel the run" }).click();
        await cell(page, "tick", "long", "failed").waitFor();
    }));

    test("the grid is walked by keyboard", () => withPage(browser, {}, async (page) => {
        await start("demo", "keys");
        await page.goto(`${url}console#/workflows/demo/keys`);
        await cell(page, "after", "keys", "upstream failed").waitFor();
        await page.locator('.by-tasks button[tabindex="0"]').focus();
        await page.keyboard.press("ArrowDown");
        await page.keyboard.press("ArrowDown");
        await page.keyboard.press("Enter");
        await page.waitForURL(/#\/workflows\/demo\/keys\/break$/);
        assert.match(await page.evaluate(() => document.activeElement.ariaLabel), /^break in run keys/);
    }));

    test("a workflow is paused and let go on", () => withPage(browser, { path: "console#/workflows" }, async (page) => {
        const toggle = page.getByRole("row", { name: /ticker/ }).getByRole("switch");
        await toggle.click();
        await page.getByRole("switch", { name: "ticker is switched off" }).click();
        await page.getByRole("switch", { name: "ticker is switched on" }).waitFor();
    }));
});
