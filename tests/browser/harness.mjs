/* SPDX-License-Identifier: Apache-2.0 */
/* A browser at the pages. LINESHAFT_PAGE_URL: a running ingress with the models `echo` (says the last message again) and, for
 * stopping, `slow` (one word every few hundredths of a second, for many seconds; another name: LINESHAFT_SLOW_MODEL); for the console
 * also a tracker, artifacts, and a scheduler and a runner with the workflows of browser_test.py.
 * SHOTS: a folder for pictures. CHROMIUM: the browser, Debian's by default. */
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const ARGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking",
              "--disable-component-update", "--disable-sync", "--no-first-run"];
const DEADLINE_MS = 20000;

export const url = process.env.LINESHAFT_PAGE_URL ?? "";
export const slowModel = process.env.LINESHAFT_SLOW_MODEL ?? "slow";
export const skip = url === "" && "LINESHAFT_PAGE_URL is not set";

export function launch()
{
    return chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ARGS });
}

/* A guarded page notes all that must never happen; faults() lists it. */
async function guard(page)
{
    const faults = [];
    const origin = new URL(url).origin;
    page.on("console", (message) => {
        if (message.type() === "error" || /Content Security Policy/i.test(message.text()))
            faults.push(`console: ${message.text()}`);
    });
    page.on("pageerror", (error) => faults.push(`error: ${error.message}`));
    page.on("dialog", (dialog) => {
        faults.push(`dialog: ${dialog.message()}`);
        dialog.dismiss();
    });
    page.on("popup", (popup) => faults.push(`popup: ${popup.url()}`));
    page.on("request", (request) => {
        const target = new URL(request.url());
        if (target.origin !== origin && target.protocol !== "data:" && target.protocol !== "blob:")
            faults.push(`request off origin: ${request.url()}`);
    });
    await page.exposeFunction("__fault", (text) => faults.push(text));
    await page.addInitScript(() => {
        document.addEventListener("securitypolicyviolation", (event) =>
            window.__fault(`CSP: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
    });
    return async () => {
        if (await page.evaluate(() => window.__pwned !== undefined))
            faults.push("window.__pwned is set");
        return faults;
    };
}

/* withPage opens a page (`path`: the chat page, or "console#/flow") in a fresh profile, runs `body(page, context)`, and asserts that
 * nothing forbidden happened. `refusals: true` leaves out what the policy refused. */
export async function withPage(browser, { refusals = false, path = "", ...options }, body)
{
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
    context.setDefaultTimeout(DEADLINE_MS);
    try {
        const page = await context.newPage();
        const faults = await guard(page);
        await open(page, path);
        await body(page, context);
        const refused = /^CSP: |violates the following Content Security Policy/;
        assert.deepEqual((await faults()).filter((fault) => !refusals || !refused.test(fault)), []);
    } finally {
        await context.close();
    }
}

export async function open(page, path = "")
{
    await page.goto(url + path);
    await page.waitForSelector("html[data-ready]");
}

export const hasModel = (page, id) => page.evaluate((model) =>
    [...document.querySelectorAll("#model option")].some((option) => option.value === model), id);

/* send writes a message and waits for the end of its answer, whose element it returns. */
export async function send(page, text, model = "echo")
{
    await page.selectOption("#model", model);
    await page.fill("#question", text);
    const before = await page.locator(".question").count();
    await page.press("#question", "Enter");
    await page.locator(".question").nth(before).waitFor();
    return settled(page);
}

/* settled waits until no answer is under way and returns the last one. */
export async function settled(page)
{
    await page.waitForSelector("#send", { state: "visible" });
    await page.waitForFunction(() => document.querySelector(".answer:last-child")?.getAttribute("aria-busy") === "false");
    return page.locator(".answer").last();
}

/* publish puts an event, or an array of them, on the bus. */
export async function publish(events)
{
    const response = await fetch(`${url}api/events`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(events) });
    assert.equal(response.status, 200, await response.text());
}

export async function shot(page, name)
{
    if (process.env.SHOTS)
        await page.screenshot({ path: `${process.env.SHOTS}/${name}.png` });
}
