/* SPDX-License-Identifier: Apache-2.0 */
/* How text becomes elements, and whether it can be read. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { launch, skip, withPage } from "./harness.mjs";

const TEXTS = [
    "# Title\n\nA paragraph\nof two lines with **bold *and italic* words**.\n\n- one\n\n  still one\n- two\n  1. a\n  2. b\n\nEnd.",
    "Setext\n===\n\ntext\n---\n\n| a | b |\n|:-:|--:|\n| 1 | 2 |\n| 3 | 4 |\n\nafter",
    "```js\nlet a = 1;\n\nlet b = `x`;\n```\n\n~~~\nplain\n~~~\n\n````md\n```\ninner\n```\n````\nend",
    "> quote\nlazy line\n>\n> second\n\n* * *\n\n<b>bold</b> <script>x</script>\n\n<div>\nblock\n</div>\n\n\ttabbed\n    spaced",
    "[later][ref] and `code` \\* &amp; &lt;\n\n[ref]: https://example.org/ 'title'\n\n~~gone~~ https://example.org/auto",
    "line one\r\nline two\r\n\r\n1) first\r\n2) second\r\n\r\n- [x] done\r\n- [ ] open\r\n",
];

const PAIRS = {
    ink: ["ground", "surface", "raised", "sunken", "accent-wash", "brass-wash", "alarm-wash"],
    "ink-soft": ["ground", "surface", "raised", "sunken"],
    accent: ["ground", "raised", "accent-wash"],
    "accent-ink": ["accent"],
    alarm: ["alarm-wash", "raised"],
    ground: ["ink"],
};

describe("rendering", { skip }, () => {
    let browser;
    before(async () => { browser = await launch(); });
    after(async () => { await browser?.close(); });

    test("a text that comes piece by piece ends as the text at once", () => withPage(browser, {}, async (page) => {
        for (const text of TEXTS) {
            for (const step of [1, 2, 7]) {
                const [pieces, whole] = await page.evaluate(async ([all, by]) => {
                    const { MarkdownView } = await import("/assets/markdown.js");
                    const grown = new MarkdownView();
                    for (let end = by; end < all.length; end += by)
                        grown.update(all.slice(0, end));
                    grown.finish(all);
                    const once = new MarkdownView();
                    once.finish(all);
                    return [grown.element.innerHTML, once.element.innerHTML];
                }, [text, step]);
                assert.equal(pieces, whole);
            }
        }
    }));

    test("finished blocks are left alone while the last one grows", () => withPage(browser, {}, async (page) => {
        const kept = await page.evaluate(async () => {
            const { MarkdownView } = await import("/assets/markdown.js");
            const view = new MarkdownView();
            view.update("first\n\nsecond\n\n```c\nint");
            const nodes = [...view.element.children];
            const code = view.element.querySelector("code");
            view.update("first\n\nsecond\n\n```c\nint main(void);\n");
            return [nodes.every((node, i) => node === view.element.children[i]), code === view.element.querySelector("code"),
                    code.textContent];
        });
        assert.deepEqual(kept, [true, true, "int main(void);\n"]);
    }));

    for (const colorScheme of ["light", "dark"]) {
        test(`text reaches a contrast of 4.5 in the ${colorScheme} scheme`, () => withPage(browser, { colorScheme }, async (page) => {
            const low = await page.evaluate((pairs) => {
                const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
                const probe = document.body.appendChild(document.createElement("i"));
                const luminance = (name) => {
                    probe.style.color = `var(--${name})`;
                    context.fillStyle = getComputedStyle(probe).color;
                    context.fillRect(0, 0, 1, 1);
                    const [r, g, b] = [...context.getImageData(0, 0, 1, 1).data].map((value) => value / 255)
                        .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
                    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
                };
                const contrast = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
                return Object.entries(pairs).flatMap(([text, grounds]) => grounds
                    .map((ground) => [text, ground, contrast(luminance(text), luminance(ground))])
                    .filter(([, , value]) => value < 4.5));
            }, PAIRS);
            assert.deepEqual(low, []);
        }));
    }
});
