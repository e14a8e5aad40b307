/* SPDX-License-Identifier: Apache-2.0 */
/* A server that wants a key: the page asks once, keeps it for the tab, and sends it. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { launch, skip, url } from "./harness.mjs";

describe("a server with keys", { skip }, () => {
    let browser;
    before(async () => { browser = await launch(); });
    after(async () => { await browser?.close(); });

    test("the page asks for the key and sends it", async () => {
        const page = await browser.newPage();
        page.setDefaultTimeout(20000);
        const refused = { error: { message: "a key is wanted", type: "invalid_request_error", param: null, code: "invalid_api_key" } };
        await page.route("**/v1/models", (route) => route.request().headers().authorization === "Bearer ls_right"
            ? route.fulfill({ json: { object: "list", data: [{ id: "m", object: "model", created: 1, owned_by: "x" }] } })
            : route.fulfill({ status: 401, json: refused }));
        await page.goto(url);
        await page.fill("#ask-value", "ls_right");
        await page.keyboard.press("Enter");
        await page.waitForFunction(() => document.querySelector("#model").value === "m");
        await page.reload();
        await page.waitForFunction(() => document.querySelector("#model").value === "m");
        assert.equal(await page.evaluate(() => JSON.stringify(localStorage).includes("ls_right")), false);
        await page.close();
    });
});
