/* SPDX-License-Identifier: Apache-2.0 */
/* The console's view Events: a tail with filters that shows text as text, and keeps up with a burst. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { launch, publish, shot, skip, withPage } from "./harness.mjs";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const rows = (page, text) => page.locator(".row", { hasText: text });

/* Follows new events of a topic; body runs when the latest of those that ask whether it does is there. */
const following = (browser, topic, body) => withPage(browser, { path: `console#/events/${topic}//new` }, async (page) => {
    await page.waitForSelector("#link[data-state=open]");
    for (let i = 0; ; i++) {
        await publish({ topic, data: { mark: `m${i}.` } });
        if (await rows(page, `mark=m${i}.`).waitFor({ timeout: 2000 }).then(() => true, () => false))
            break;
    }
    await body(page);
});

describe("the tail in the console", { skip }, () => {
    let browser;
    before(async () => { browser = await launch(); });
    after(async () => { await browser?.close(); });

    test("shows what comes, what was stored before, and one event whole", () =>
        withPage(browser, { path: "console#/events/tale.>" }, async (page) => {
            await publish({ topic: "tale.told", subject: "s1", data: { words: "once upon a time", run_id: "run77" } });
            const row = rows(page, "once upon");
            await row.waitFor();
            assert.match(await row.innerText(), /\d\d:\d\d:\d\d\.\d{3}\s+tale\.told\s+s1\s+words="once upon a time" run_id=run77/);
            await row.locator(".row-head").click();
            assert.match(await row.locator(".whole").innerText(), /stream\s+events[^]*"words": "once upon a time"/);
            assert.equal(await row.getByRole("link", { name: "run run77" }).getAttribute("href"), "#/runs/run77");
            await shot(page, "console-events");
            await page.reload();
            await rows(page, "once upon").waitFor();
        }));

    test("what an event says is text, whatever it says", () =>
        withPage(browser, { path: "console#/events/nasty.>" }, async (page) => {
            const markup = "<img src=x onerror=\"window.__pwned=1\"><script>window.__pwned=2</script>";
            await publish({ topic: "nasty.text", subject: markup, source: "browser\u202etest",
                            data: { [markup]: markup, deep: [markup] } });
            const row = rows(page, "onerror");
            await row.locator(".row-head").click();
            assert.ok((await row.locator("pre").innerText()).includes("<script>window.__pwned=2</script>"));
            assert.equal(await page.locator("#view img, #view script").count(), 0);
        }));

    test("an event whose data are no object, or none, has its row", () =>
        withPage(browser, { path: "console#/events/odd.>" }, async (page) => {
            const events = [{ topic: "odd.text", data: "just words" }, { topic: "odd.number", data: 17 }, { topic: "odd.none" },
                            { topic: "odd.list", data: [1, 2] }];
            await publish(events);
            for (const { topic } of events) {
                const row = rows(page, topic);
                await row.locator(".row-head").click();
                await row.locator(".whole").waitFor();
            }
        }));

    test("a body that is no JSON is text, and found as such", () =>
        withPage(browser, { path: "console#/events/raw.>/no json" }, async (page) => {
            const row = rows(page, '"{ no JSON"');
            await row.locator(".row-head").click();
            assert.equal(await row.locator("pre").innerText(), "{ no JSON");
        }));

    test("what the broker itself stores is reached by its name, alone and with others", async () => {
        for (const patterns of ["$sys.rejected", ">,$sys.>"])
            await withPage(browser, { path: `console#/events/${encodeURIComponent(patterns)}//all` },
                           (page) => rows(page, "$sys.rejected").first().waitFor());
    });

    test("its trace is one click away", () => withPage(browser, { path: "console#/events/trace.>" }, async (page) => {
        const traceparent = `00-${TRACE}-b7ad6b7169203331-01`;
        await publish([{ topic: "trace.one", traceparent }, { topic: "trace.other" }, { topic: "elsewhere.two", traceparent }]);
        await rows(page, "trace.one").locator(".row-head").click();
        await rows(page, "trace.one").getByRole("link", { name: "Its trace" }).click();
        await rows(page, "elsewhere.two").first().waitFor();
        assert.equal(await page.inputValue("#words"), TRACE);
        assert.equal(await rows(page, "trace.other").count(), 0);
    }));

    test("a wrong pattern is explained, a right one followed", () => withPage(browser, { path: "console#/events" }, async (page) => {
        await page.fill("#patterns", "Run.>.x");
        await page.keyboard.press("Enter");
        await page.getByRole("alert").getByText("is no pattern").waitFor();
        await page.fill("#patterns", "sought.*, other.>");
        await page.keyboard.press("Enter");
        await page.waitForFunction(() => location.hash.startsWith("#/events/sought.*%2Cother.%3E/"));
        await publish([{ topic: "sought.here" }, { topic: "unsought.here" }]);
        await rows(page, "sought.here").first().waitFor();
        assert.equal(await rows(page, "unsought.here").count(), 0);
    }));

    test("text filters what is shown, and gives it back", () => following(browser, "sieve.test", async (page) => {
        await publish([{ topic: "sieve.test", data: { colour: "green" } }, { topic: "sieve.test", data: { colour: "brass" } }]);
        await rows(page, "colour=brass").waitFor();
        await page.fill("#words", "GREEN");
        await rows(page, "colour=brass").waitFor({ state: "hidden" });
        assert.equal(await rows(page, "colour=green").isVisible(), true);
        await page.fill("#words", "");
        await rows(page, "colour=brass").waitFor();
    }));

    test("paused it shows nothing new, but counts what passes by", () => following(browser, "pause.test", async (page) => {
        await page.getByRole("button", { name: "Pause", exact: true }).click();
        const before = await page.locator(".row").count();
        await publish(Array.from({ length: 5 }, (_, i) => ({ topic: "pause.test", data: { i } })));
        await page.getByText("paused, 5 passed by").waitFor();
        assert.equal(await page.locator(".row").count(), before);
        await page.getByRole("button", { name: "Go on", exact: true }).click();
        await publish({ topic: "pause.test", data: { after: "it" } });
        await rows(page, "after=it").waitFor();
    }));

    test("arrows go from row to row, Enter opens one", () => following(browser, "keys.test", async (page) => {
        await publish([{ topic: "keys.test", data: { nr: "one" } }, { topic: "keys.test", data: { nr: "two" } }]);
        await rows(page, "nr=two").waitFor();
        await page.locator(".row-head[tabindex='0']").focus();
        await page.keyboard.press("End");
        await page.keyboard.press("ArrowUp");
        assert.match(await page.evaluate(() => document.activeElement.innerText), /nr=one/);
        await page.keyboard.press("Enter");
        await rows(page, "nr=one").locator(".whole").waitFor();
        assert.equal(await page.locator(".row-head[tabindex='0']").count(), 1);
    }));

    test("a burst neither freezes the page nor fills it", () => following(browser, "burst.test", async (page) => {
        const batch = Array.from({ length: 1000 }, (_, i) => ({ topic: "burst.test", data: { i, text: "x".repeat(100) } }));
        await Promise.all(Array.from({ length: 20 }, () => publish(batch)));
        await publish({ topic: "burst.test", data: { last: "one" } });
        await rows(page, "last=one").waitFor();
        const count = await page.locator(".view-events > .count").innerText();
        assert.match(count.replaceAll("\u202f", ""), /of 200[0-9]{2}\b/);   /* 20,001, and the marks before */
        assert.ok(await page.locator(".row").count() <= 2000);
    }));
});
