/* SPDX-License-Identifier: Apache-2.0 */
/* The console's shell and its view Flow: what an operator sees of the bus, by pointer and by keyboard. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { launch, publish, shot, skip, url, withPage } from "./harness.mjs";

const FLOW = { path: "console" };
const box = (page, name) => page.locator(".station").filter({ has: page.locator(".station-name", { hasText: new RegExp(`^${name}$`) }) });

describe("the console", { skip }, () => {
    let browser;
    before(async () => { browser = await launch(); });
    after(async () => { await browser?.close(); });

    test("shows every node, the broker and the streams, with what they cost", () => withPage(browser, FLOW, async (page) => {
        for (const name of ["door", "model", "files", "track", "clock", "hands"])
            await box(page, name).locator(".station-state", { hasText: "running" }).waitFor({ state: "attached" });
        await box(page, "hands").getByText(/CPU .*MiB/).waitFor();
        await box(page, "events").waitFor();
        assert.equal(await page.locator("h1").innerText(), "stack");
        assert.match(await box(page, "events").innerText(), /\d+ events?\n/, "and not the size of a segment that is empty yet");
        assert.equal(await page.locator("#link").innerText(), "Live");
        await shot(page, "console-flow");
    }));

    test("a topic that flows is in the table with its count, and leads to its events", () => withPage(browser, FLOW, async (page) => {
        await publish(Array.from({ length: 7 }, (_, i) => ({ topic: "shed.counted", data: { i } })));
        const row = page.locator(".topics tr", { hasText: "shed.counted" });
        await row.locator("td:nth-child(5)", { hasText: /^7$/ }).waitFor();
        await row.getByRole("link").click();
        await page.locator(".row-topic", { hasText: "shed.counted" }).nth(6).waitFor();
        assert.equal(await page.inputValue("#patterns"), "shed.counted");
    }));

    test("belts move while events flow, but not for those who want no motion", async () => {
        const traffic = setInterval(() => publish({ topic: "shed.moving" }), 200);
        const moving = ".strand.moving";
        try {
            await withPage(browser, FLOW, async (page) => {
                await page.waitForSelector(moving, { state: "attached" });
                await page.waitForFunction(() => document.getAnimations().some((one) => one.effect.target.classList.contains("strand")));
            });
            await withPage(browser, { ...FLOW, reducedMotion: "reduce" }, async (page) => {
                await page.waitForSelector(moving, { state: "attached" });
                assert.equal(await page.evaluate(() => document.getAnimations().length), 0);
            });
        } finally {
            clearInterval(traffic);
        }
    });

    test("a box opens its panel by keyboard, and Esc leads back to it", () => withPage(browser, FLOW, async (page) => {
        await box(page, "hands").focus();
        await page.keyboard.press("Enter");
        await page.waitForSelector(".panel h2:focus");
        assert.match(await page.locator(".panel").innerText(), /hands[^]*Consumers[^]*task\.queued[^]*Processes[^]*pid \d+/);
        assert.equal(await box(page, "hands").getAttribute("aria-expanded"), "true");
        await page.keyboard.press("Escape");
        assert.equal(await page.evaluate(() => document.activeElement.querySelector(".station-name")?.textContent), "hands");
        assert.equal(await page.locator(".panel").isVisible(), false);
    }));

    test("a focused box brings out those it works with", () => withPage(browser, FLOW, async (page) => {
        await box(page, "clock").focus();
        await page.waitForFunction(() => document.querySelector(".marking .station.marked"));
        const marked = await page.locator(".station.marked .station-name").allInnerTexts();
        assert.ok(marked.includes("clock") && marked.includes("hands") && !marked.includes("model"), marked.join());
    }));

    test("the table sorts by its heads, and says so", () => withPage(browser, FLOW, async (page) => {
        await publish([{ topic: "shelf.a" }, { topic: "shelf.b" }]);
        await page.fill(".topics input", "shelf.");
        await page.locator(".topics tr", { hasText: "shelf.b" }).waitFor();
        const head = page.locator(".topics th").first();
        const first = () => page.locator(".topics tbody tr td:first-child").first().innerText();
        await head.getByRole("button").focus();
        await page.keyboard.press("Enter");
        assert.equal(await head.getAttribute("aria-sort"), "ascending");
        assert.equal(await first(), "shelf.a");
        await page.keyboard.press("Enter");
        assert.equal(await head.getAttribute("aria-sort"), "descending");
        assert.equal(await first(), "shelf.b");
        await page.fill(".topics input", "shelf.a");
        assert.equal(await page.locator(".topics tbody tr").count(), 1);
    }));

    test("tabs are links: the address names the view, and back leads back", () => withPage(browser, FLOW, async (page) => {
        const current = () => page.locator("#tabs [aria-current=page]").innerText();
        assert.equal(await current(), "Flow");
        await page.locator("#tabs a", { hasText: "Events" }).focus();
        await page.keyboard.press("Enter");
        await page.waitForSelector("#patterns");
        assert.equal(await current(), "Events");
        assert.equal(await page.title(), "Events · lineshaft");
        await page.goBack();
        await page.waitForSelector(".board");
        assert.equal(await current(), "Flow");
    }));

    test("a view that there is not is said so", () => withPage(browser, { path: "console#/nonsense" }, async (page) => {
        await page.getByText("There is no view “#/nonsense”").waitFor();
        assert.equal(await page.locator("#tabs [aria-current]").count(), 0);
        await page.goto(`${url}console#/flow`);
        await page.waitForSelector(".board");
    }));

    test("a phone has a list in place of the diagram, and no page is wider than it", () =>
        withPage(browser, { ...FLOW, viewport: { width: 390, height: 800 } }, async (page) => {
            await page.waitForSelector(".board.list .station");
            for (const view of ["flow", "events", "runs", "workflows", "models"]) {
                await page.goto(`${url}console#/${view}`);
                await page.waitForSelector(`.view-${view} > *`);
                assert.ok(await page.getByRole("link", { name: "Chat" }).isVisible());
                assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), view);
            }
        }));

    test("a tab has one long connection, whatever is looked at, and none when it is hidden", () =>
        withPage(browser, FLOW, async (page) => {
            const open = new Set();
            const isLong = (request) => new URL(request.url()).pathname === "/api/console";
            page.on("request", (request) => isLong(request) && open.add(request));
            page.on("requestfailed", (request) => open.delete(request));
            page.on("requestfinished", (request) => open.delete(request));
            await page.reload();
            for (const view of ["runs", "events", "workflows", "models", "events/a.>", "workflows/demo", "flow"]) {
                const titles = page.waitForSelector(`.view-${view.split("/")[0]} > *`);
                await page.goto(`${url}console#/${view}`);
                await titles;
            }
            await page.waitForFunction(() => document.documentElement.dataset.link === "open");
            assert.equal(open.size, 1);
            const turn = (hidden) => page.evaluate((value) => {
                Object.defineProperty(document, "hidden", { value, configurable: true });
                document.dispatchEvent(new Event("visibilitychange"));
            }, hidden);
            await page.clock.install();
            const ended = page.waitForEvent("requestfailed", isLong);
            await turn(true);
            await page.clock.fastForward(30000);
            await ended;
            assert.equal(open.size, 0);
            const begun = page.waitForEvent("request", isLong);
            await turn(false);
            await begun;
            assert.equal(open.size, 1);
        }));

    test("it says that the bus is away, and lives again when the connection does", () => withPage(browser, FLOW, async (page) => {
        await page.waitForSelector('#link[data-state="open"]');
        let times = 1;
        await page.route("**/api/console*", (route) => (times-- > 0
            ? route.fulfill({ contentType: "text/event-stream", body: 'event: away\ndata: {"text":"no broker"}\n\n' }) : route.continue()));
        const seen = page.evaluate(() => new Promise((resolve) => {
            const texts = [];
            new MutationObserver(() => {
                texts.push(document.querySelector("#link").textContent);
                if (texts.at(-1) === "Live")
                    resolve(texts);
            }).observe(document.querySelector("#link"), { childList: true, characterData: true, subtree: true });
        }));
        await page.goto(`${url}console#/events/shed.none`);   /* another filter: a new connection */
        assert.deepEqual(await seen, ["The bus is away", "Connection lost, trying again", "Live"]);
    }));

    test("what was before the connection broke is grey", () => withPage(browser, FLOW, async (page) => {
        await page.waitForSelector(".station");
        const colours = () => page.evaluate(() => ["open", "away", "lost"].map((state) => {
            document.documentElement.dataset.link = state;
            return getComputedStyle(document.querySelector(".flow-stage")).filter;
        }));
        assert.deepEqual(await colours(), ["none", "grayscale(1)", "grayscale(1)"]);
    }));

    test("a server with keys is asked with one, which is kept for the tab", async () => {
        const context = await browser.newContext();
        const page = await context.newPage();
        page.setDefaultTimeout(20000);
        await page.route("**/api/console*", (route) => (route.request().headers().authorization === "Bearer ls_right" ? route.continue()
            : route.fulfill({ status: 401, json: { error: { message: "a key is wanted", code: "invalid_api_key" } } })));
        await page.goto(`${url}console`);
        await page.waitForSelector("#ask[open]");
        await page.keyboard.press("Escape");
        await page.getByText("A key is wanted").waitFor();
        await page.getByRole("button", { name: "Enter key" }).click();
        await page.fill("#ask-value", "ls_right");
        await page.keyboard.press("Enter");
        await page.waitForSelector("#link[data-state=open]");
        assert.equal(await page.evaluate(() => JSON.stringify(localStorage).includes("ls_right")), false);
        await context.close();
    });
});
