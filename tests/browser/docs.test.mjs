/* SPDX-License-Identifier: Apache-2.0 */
/* What a person does on the page of the API, /docs. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { launch, skip, url, withPage } from "./harness.mjs";

/* The form of one route, unfolded. */
async function unfold(page, method, path)
{
    const route = page.locator(".route").filter({ has: page.locator(".method", { hasText: new RegExp(`^${method}$`) }) })
        .filter({ has: page.locator(".path", { hasText: new RegExp(`^${path.replace(/[{}]/g, "\\$&")}$`) }) });
    await route.locator("summary").click();
    return route.locator("form");
}

async function sent(form)
{
    await form.getByRole("button", { name: "Send" }).click();
    await form.locator("pre", { hasText: "\n\n" }).waitFor();
    return form.locator("pre").innerText();
}

describe("the page of the API", { skip }, () => {
    let browser;
    before(async () => { browser = await launch(); });
    after(async () => { await browser?.close(); });

    test("sends a file to a key with folders, and gets it back", () => withPage(browser, {}, async (page) => {
        await page.goto(`${url}docs`);
        const put = await unfold(page, "PUT", "/api/artifacts/{path}");
        await put.locator("input.input").fill("notes/of today/a?b.txt");
        await put.locator("input[type=file]").setInputFiles({ name: "a.txt", mimeType: "text/plain", buffer: Buffer.from("three epochs") });
        const [request] = await Promise.all([page.waitForRequest("**/api/artifacts/**"), sent(put)]);
        assert.equal(new URL(request.url()).pathname, "/api/artifacts/notes/of%20today/a%3Fb.txt");

        const list = await unfold(page, "GET", "/api/artifacts");
        assert.match(await sent(list), /"notes\/"/);
        const get = await unfold(page, "GET", "/api/artifacts/{path}");
        await get.locator("input.input").fill("notes/of today/a?b.txt");
        assert.match(await sent(get), /^200[^]*three epochs$/);
    }));
});
