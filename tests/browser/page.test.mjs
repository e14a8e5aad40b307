/* SPDX-License-Identifier: Apache-2.0 */
/* What a person does on the chat page. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, describe, test } from "node:test";
import { hasModel, launch, open, send, settled, shot, skip, slowModel, url, withPage } from "./harness.mjs";

describe("the chat page", { skip }, () => {
    let browser;
    before(async () => { browser = await launch(); });
    after(async () => { await browser?.close(); });

    test("is sent with a policy that lets nothing inline run", async () => {
        const policy = (await fetch(url)).headers.get("content-security-policy");
        for (const part of ["default-src 'none'", "script-src 'self'", "style-src 'self'", "require-trusted-types-for 'script'"])
            assert.ok(policy.includes(part), part);
        assert.ok(!policy.includes("unsafe"));
    });

    test("greets, and an example is one click", () => withPage(browser, {}, async (page) => {
        assert.equal(await page.locator(".example").count(), 3);
        await shot(page, "empty");
        await page.selectOption("#model", "echo");
        await page.click(".example >> nth=0");
        const answer = await settled(page);
        assert.match(await answer.innerText(), /Tell me a fortune/);
    }));

    test("without a model says what it waits for, and what brings one", () => withPage(browser, {}, async (page) => {
        let body = { data: [], lineshaft: { waits: "it waits for <b>a version</b>" } };
        await page.route("**/v1/models", (route) => (body ? route.fulfill({ json: body }) : route.continue()));
        await open(page);
        const lack = page.locator("#lack");
        assert.match(await lack.innerText(), /^No model is ready: a worker says it waits for <b>a version<\/b>\.[^]*lineshaft workflow run train/);
        assert.equal(await lack.getByRole("link", { name: "models" }).getAttribute("href"), "/console#/models");
        await shot(page, "no-model");
        body = null;
        await page.waitForFunction(() => document.querySelector("#lack").hidden);
        assert.equal(await hasModel(page, "echo"), true);
    }));

    test("an address that MLflow's clients print leads to the run in the console", () => withPage(browser, {}, async (page) => {
        const nothing = { experiments: [], runs: [], run: { info: {} } };
        await page.route("**/api/2.0/mlflow/**", (route) => route.fulfill({ json: nothing }));
        for (const [theirs, ours] of [["experiments/1/runs/ab12", "runs/ab12"], ["experiments/77", "runs/of/77"]]) {
            await page.goto(`${url}#/${theirs}`);
            await page.waitForURL(`${url}console#/${ours}`);
        }
    }));

    test("streams an answer and says what it cost", () => withPage(browser, {}, async (page) => {
        const [request] = await Promise.all([
            page.waitForRequest("**/v1/chat/completions"),
            send(page, "# A title\n\nSome **bold** words.\n\n```python\nprint(1)\n```\n\n| a | b |\n|--|--:|\n| 1 | 2 |"),
        ]);
        const answer = page.locator(".answer").last();
        assert.match(request.headers()["x-lineshaft-chat"], /^[0-9a-f-]{36}$/);
        assert.equal(request.postDataJSON().stream_options.include_usage, true);
        assert.equal(await answer.locator("h1").innerText(), "A title");
        assert.equal(await answer.locator("strong").innerText(), "bold");
        assert.equal(await answer.locator(".code-head span").first().innerText(), "python");
        assert.equal(await answer.locator("td[align=right]").innerText(), "2");
        const measures = await answer.locator(".measures").innerText();
        assert.match(measures, /\d+ tokens?/);
        assert.match(measures, /first after \d+\.\d\d s/);
        assert.match(measures, /echo/);
        assert.ok((await answer.locator(".request").innerText()).length > 3);
        await page.waitForFunction(() => document.querySelector("#log").textContent.includes("Some bold words."));
        await shot(page, "answer");
    }));

    test("copies code and answers", () => withPage(browser, { permissions: ["clipboard-read", "clipboard-write"] },
        async (page) => {
            const answer = await send(page, "Here:\n\n```\nlet there = 'light';\n```");
            await answer.getByRole("button", { name: "Copy code" }).click();
            await page.waitForSelector("#notice.shown");
            assert.equal((await page.evaluate(() => navigator.clipboard.readText())).trim(), "let there = 'light';");
            await answer.getByRole("button", { name: "Copy answer" }).click();
            await page.waitForFunction(async () => (await navigator.clipboard.readText()).startsWith("Here:"));
        }));

    test("stops, by button and by Esc, and goes on afterwards", (t) => withPage(browser, {}, async (page) => {
        if (!await hasModel(page, slowModel)) {
            t.skip(`no model ${slowModel}`);
            return;
        }
        for (const stop of [() => page.click("#stop"), () => page.keyboard.press("Escape")]) {
            await page.selectOption("#model", slowModel);
            await page.fill("#question", "Take your time");
            await page.press("#question", "Enter");
            await page.waitForSelector(".answer:last-child[data-state=streaming] .block");
            await shot(page, "streaming");
            const failed = page.waitForEvent("requestfailed");
            await stop();
            await failed;
            const answer = await settled(page);
            assert.match(await answer.locator(".measures").innerText(), /^stopped/);
        }
        const answer = await send(page, "still here");
        assert.match(await answer.innerText(), /still here/);
    }));

    test("gives another answer and lets one turn back to the first", () => withPage(browser, {}, async (page) => {
        await send(page, "again, please");
        await page.getByRole("button", { name: "Another answer" }).click();
        const answer = await settled(page);
        assert.equal(await page.locator(".answer").count(), 1);
        assert.match(await answer.locator(".branches").innerText(), /2\/2/);
        await answer.getByRole("button", { name: "Previous version" }).click();
        assert.match(await page.locator(".answer .branches").innerText(), /1\/2/);
    }));

    test("an edited question is another branch; the first is kept", () => withPage(browser, {}, async (page) => {
        await send(page, "first words");
        await send(page, "a follow-up");
        await page.locator(".question").first().hover();
        await page.getByRole("button", { name: "Edit and send again" }).first().click();
        await page.getByLabel("Edit your message").fill("second words");
        await page.keyboard.press("Enter");
        await page.waitForFunction(() => document.querySelector(".answer .prose")?.textContent.includes("second words"));
        await settled(page);
        assert.equal(await page.locator(".question").count(), 1);
        await page.getByRole("button", { name: "Previous version" }).first().click();
        assert.equal(await page.locator(".question").count(), 2);
        assert.match(await page.locator(".question").first().innerText(), /first words/);
    }));

    test("feedback becomes an event with request, chat and comment", () => withPage(browser, {}, async (page) => {
        const answer = await send(page, "rate me");
        const requestId = await answer.locator(".request").innerText();
        const rated = page.waitForResponse("**/api/events");
        await answer.getByRole("button", { name: "Good answer" }).click();
        const first = (await rated).request().postDataJSON();
        assert.ok((await rated).ok());
        assert.equal(first.topic, "chat.feedback");
        assert.equal(first.data.chat_id, first.subject);
        assert.equal(first.data.request_id, requestId);
        assert.equal(first.data.rating, "up");
        const commented = page.waitForResponse("**/api/events");
        await page.getByLabel("Comment").fill("to the point");
        await page.keyboard.press("Enter");
        assert.equal((await commented).request().postDataJSON().data.comment, "to the point");
        await page.waitForSelector(".answer [aria-label='Good answer'][aria-pressed=true]");
    }));

    test("settings go with the next request", () => withPage(browser, {}, async (page) => {
        await page.click("#settings-open");
        await page.fill("#set-temperature", "9");
        await page.click("#settings button[type=submit]");
        await page.waitForSelector("#settings-problem:not([hidden])");
        await page.fill("#set-temperature", "0.5");
        await page.fill("#set-system", "Be brief.");
        await page.fill("#set-tokens", "64");
        await page.fill("#set-seed", "7");
        await shot(page, "settings");
        await page.click("#settings button[type=submit]");
        const [request] = await Promise.all([page.waitForRequest("**/v1/chat/completions"), send(page, "hello")]);
        const body = request.postDataJSON();
        assert.deepEqual([body.temperature, body.max_tokens, body.seed], [0.5, 64, 7]);
        assert.deepEqual(body.messages.map((message) => message.role), ["system", "user"]);
    }));

    test("the theme has three states and outlives a reload", () => withPage(browser, { colorScheme: "light" }, async (page) => {
        const ground = () => page.evaluate(() => getComputedStyle(document.body.querySelector(".main")).backgroundColor);
        const light = await ground();
        await page.getByLabel("Dark").check({ force: true });
        const dark = await ground();
        assert.notEqual(dark, light);
        await open(page);
        assert.equal(await ground(), dark);
        await shot(page, "dark");
        await page.getByLabel("Light", { exact: true }).check({ force: true });
        await page.emulateMedia({ colorScheme: "dark" });
        assert.equal(await ground(), light);
        await page.getByLabel("Auto").check({ force: true });
        assert.equal(await ground(), dark);
    }));

    test("fits a phone", () => withPage(browser,
        { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true }, async (page) => {
            await send(page, `${"averylongwordwithoutabreak".repeat(8)}\n\n\`\`\`\n${"x".repeat(300)}\n\`\`\`\n\n`
                       + `|${" column |".repeat(9)}\n|${"---|".repeat(9)}\n|${" a_long_cell |".repeat(9)}`);
            const size = await page.evaluate(() => ({ content: document.documentElement.scrollWidth, window: innerWidth,
                thread: document.querySelector("#scroll").scrollWidth - document.querySelector("#scroll").clientWidth }));
            assert.equal(size.content, size.window);
            assert.equal(size.thread, 0);
            const composer = await page.locator("#composer").boundingBox();
            assert.ok(composer.y > 0 && composer.y + composer.height <= 844);
            await shot(page, "phone");
            await page.click("#side-open");
            await page.getByRole("button", { name: "New chat" }).waitFor();
            await page.keyboard.press("Escape");
            await page.locator("#side").waitFor({ state: "hidden" });
        }));

    test("keeps, finds, renames, exports and deletes chats", () => withPage(browser, {}, async (page) => {
        await send(page, "the first chat is about pulleys");
        await page.click("#new-chat");
        await send(page, "the second is about belts");
        await open(page);
        assert.match(await page.locator(".question").innerText(), /belts/);
        assert.equal(await page.locator(".chat").count(), 2);
        await page.fill("#search", "PULLEYS first");
        assert.equal(await page.locator(".chat").count(), 1);
        await page.click(".chat-open");
        assert.match(await page.locator(".question").innerText(), /pulleys/);
        await page.fill("#search", "");

        await page.click("#chat-menu");
        await page.getByRole("menuitem", { name: "Rename" }).click();
        await page.fill("#ask-value", "Pulleys");
        await page.keyboard.press("Enter");
        await page.waitForFunction(() => document.title === "Pulleys · lineshaft");

        for (const [item, pattern] of [["Export as JSON", /"title": "Pulleys"/], ["Export as Markdown", /^# Pulleys/]]) {
            await page.click("#chat-menu");
            const [file] = await Promise.all([page.waitForEvent("download"), page.getByRole("menuitem", { name: item }).click()]);
            assert.match(await readFile(await file.path(), "utf8"), pattern);
        }

        await page.click("#chat-menu");
        await page.getByRole("menuitem", { name: "Delete" }).click();
        await page.click("#ask-yes");
        await page.waitForFunction(() => document.querySelectorAll(".chat").length === 1);
        await open(page);
        assert.equal(await page.locator(".chat").count(), 1);
    }));

    test("a temporary chat leaves nothing", () => withPage(browser, {}, async (page) => {
        await page.click("#temporary");
        await page.getByText("this browser will not keep it").waitFor();
        await send(page, "a secret");
        assert.equal(await page.locator(".chat").count(), 0);
        await open(page);
        assert.equal(await page.locator(".message").count(), 0);
        assert.equal(await page.locator(".chat").count(), 0);
    }));

    test("an error says its code and offers another try", () => withPage(browser, {}, async (page) => {
        let calls = 0;
        await page.route("**/v1/chat/completions", (route) => {
            calls += 1;
            return calls > 1 ? route.continue() : route.fulfill({
                contentType: "text/event-stream",
                body: 'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":"Half an"}}]}\n\n'
                    + 'data: {"error":{"message":"the worker went away","type":"server_error","param":null,"code":"worker_lost"}}\n\n',
            });
        });
        const answer = await send(page, "will it break?");
        assert.match(await answer.locator(".problem").innerText(), /worker_lost[^]*the worker went away/);
        assert.match(await answer.locator(".prose").innerText(), /Half an/);
        await shot(page, "error");
        await page.getByRole("button", { name: "Try again" }).click();
        assert.match(await (await settled(page)).innerText(), /will it break\?/);
    }));

    test("a stream that ends too early is an error", () => withPage(browser, {}, async (page) => {
        await page.route("**/v1/chat/completions", (route) => route.fulfill({
            contentType: "text/event-stream", body: 'data: {"choices":[{"index":0,"delta":{"content":"Half"}}]}\n\n',
        }));
        const answer = await send(page, "hello");
        assert.match(await answer.locator(".problem").innerText(), /incomplete/);
    }));

    test("reasoning is folded away, and no part of the answer", () => withPage(browser, {}, async (page) => {
        const piece = (delta, finish) => `data: ${JSON.stringify({ choices: [{ index: 0, delta, finish_reason: finish }] })}\n\n`;
        await page.route("**/v1/chat/completions", (route) => route.fulfill({
            contentType: "text/event-stream",
            body: piece({ reasoning_content: "Let me think." }) + piece({ content: "Yes." }) + piece({}, "stop") + "data: [DONE]\n\n",
        }));
        const answer = await send(page, "hello");
        assert.equal(await answer.locator(".thought").isVisible(), false);
        await answer.getByText("Reasoning").click();
        assert.equal(await answer.locator(".thought").innerText(), "Let me think.");
        assert.equal(await answer.locator(".prose").innerText(), "Yes.");
    }));

    test("everything can be done from the keyboard", () => withPage(browser, {}, async (page) => {
        const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.getAttribute("aria-label")
                                                  || document.activeElement.className);
        const tabTo = async (name) => {
            for (let n = 0; n < 60; n++) {
                if (await focused() === name)
                    return;
                await page.keyboard.press("Tab");
            }
            assert.fail(`Tab does not reach ${name}`);
        };
        await tabTo("skip");
        await page.keyboard.press("Enter");
        await tabTo("question");
        await page.selectOption("#model", "echo");
        await page.keyboard.type("line one");
        await page.keyboard.press("Shift+Enter");
        await page.keyboard.type("line two");
        await page.keyboard.press("Enter");
        const answer = await settled(page);
        assert.match(await answer.locator(".prose").innerText(), /line one\nline two/);
        assert.equal(await focused(), "question");
        await tabTo("Another answer");
        const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
        assert.equal(outline, "solid");
        await page.keyboard.press("Enter");
        await page.waitForFunction(() => document.querySelector(".answer .branches"));
        await settled(page);
        await tabTo("chat-menu");
        await page.keyboard.press("Enter");
        await page.keyboard.press("End");
        await page.keyboard.press("Enter");
        await page.waitForSelector("#ask[open]");
        await page.keyboard.press("Escape");
        assert.equal(await focused(), "chat-menu");
        await tabTo("settings-open");
        await page.keyboard.press("Enter");
        await page.waitForSelector("#settings[open]");
        await page.keyboard.press("Escape");
        await page.waitForSelector("#settings", { state: "hidden" });
    }));
});
