/* SPDX-License-Identifier: Apache-2.0 */
/* From the model's markdown to elements. What a model says is not trusted: HTML in it is shown as text, pictures become
 * links, and DOMPurify lets through only the list below. Nothing here assigns HTML to a page's element. */
import { Marked } from "/assets/marked.esm.js";
import DOMPurify from "/assets/purify.es.mjs";
import { copyText, h, icon } from "/assets/dom.js";

const TAGS = ["a", "b", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "kbd", "li",
              "mark", "ol", "p", "pre", "strong", "sub", "sup", "table", "tbody", "td", "th", "thead", "tr", "u", "ul"];
const PURIFY = {
    ALLOWED_TAGS: TAGS,
    ALLOWED_ATTR: ["align", "class", "href", "start", "title"],
    ADD_URI_SAFE_ATTR: ["align", "start"],  /* their values are no addresses */
    ALLOWED_URI_REGEXP: /^(?:https?:\/\/|mailto:)/i,
    ALLOW_ARIA_ATTR: false,
    ALLOW_DATA_ATTR: false,
    RETURN_DOM_FRAGMENT: true,
};
const HARMLESS = /^<\/?(?:br|sub|sup|kbd|mark|b|i|u)\s*\/?>$/i;

const escapes = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const escape = (text) => text.replace(/[&<>"']/g, (character) => escapes[character]);

/* HTML in an answer is shown, not obeyed, but for a few tags without attributes that models like to use in tables. */
function foreignHtml({ text, block })
{
    if (HARMLESS.test(text.trim()))
        return text;
    return block ? `<p>${escape(text.trim()).replaceAll("\n", "<br>")}</p>` : escape(text);
}

const marked = new Marked({ gfm: true, breaks: true });
marked.use({
    tokenizer: {
        /* indented text is far more often a poem's or an attribution's indent than code: fences mark code */
        code: () => undefined,
    },
    renderer: {
        html: foreignHtml,
        image: ({ href, text }) => `<a href="${escape(href)}">picture: ${escape(text || href)}</a>`,
        checkbox: ({ checked }) => checked ? "☑ " : "☐ ",
    },
});

/* The only class that passes is the language which marked puts on a block of code. */
DOMPurify.addHook("uponSanitizeAttribute", (node, data) => {
    if (data.attrName === "class" && !(node.nodeName === "CODE" && /^language-[\w+#.-]{1,30}$/.test(data.attrValue)))
        data.keepAttr = false;
});

/* sanitise makes a fragment of HTML that may be hostile. Exported for its test. */
export function sanitise(html)
{
    const fragment = DOMPurify.sanitize(html, PURIFY);
    for (const link of fragment.querySelectorAll("a"))
        mendLink(link);
    for (const pre of fragment.querySelectorAll("pre"))
        frameCode(pre);
    for (const table of fragment.querySelectorAll("table")) {
        const frame = h("div", { class: "table", tabindex: "0", role: "group", "aria-label": "Table" });
        table.replaceWith(frame);
        frame.append(table);
    }
    return fragment;
}

function mendLink(link)
{
    const href = link.getAttribute("href");
    if (!href) {
        link.replaceWith(...link.childNodes);
        return;
    }
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
    link.title = href;
}

function frameCode(pre)
{
    const code = pre.querySelector("code");
    const language = code?.className.replace("language-", "") || "text";
    const copy = h("button", { type: "button", class: "plain small", onclick: () => copyText(pre.textContent) },
                   icon("copy"), "Copy code");
    const frame = h("div", { class: "code" }, h("div", { class: "code-head" }, h("span", {}, language), copy));
    pre.replaceWith(frame);
    pre.tabIndex = 0;
    frame.append(pre);
}

const DEFINITION = /^ {0,3}\[[^\]\n]+\]:/m;

/* A Markdown view shows a text that only grows. update() parses from the last block on: what stands before it cannot change
 * any more, save by link definitions, for which finish() parses all once again. */
export class MarkdownView {
    constructor()
    {
        this.element = h("div", { class: "prose" });
        this.#clear();
    }

    update(text)
    {
        text = text.replace(/\r\n?/g, "\n");  /* as marked does: its tokens must add up to the text's length */
        if (text === this.text)
            return;
        if (!text.startsWith(this.text))
            this.#clear();
        this.text = text;
        const tokens = marked.lexer(text.slice(this.openAt));
        let at = this.openAt;
        for (const token of tokens) {
            if (token.type !== "space")
                this.#place(token, at, tokens.links);
            at += token.raw.length;
        }
    }

    finish(text)
    {
        if (DEFINITION.test(text))
            this.#clear();
        this.update(text);
    }

    /* place draws the block that starts at `at`: in the place of its shorter self, or after all others. */
    #place(token, at, links)
    {
        const again = this.openNode !== null && at === this.openAt;
        if (again && token.type === "code" && token.lang === this.openLanguage) {
            this.openNode.querySelector("pre > code").textContent = token.text + "\n";
            return;
        }
        const tokens = Object.assign([token], { links });
        const node = h("div", { class: "block" }, sanitise(marked.parser(tokens)));
        if (again)
            this.openNode.replaceWith(node);
        else
            this.element.append(node);
        this.openNode = node;
        this.openAt = at;
        this.openLanguage = token.type === "code" ? token.lang : null;
    }

    #clear()
    {
        this.element.replaceChildren();
        this.text = "";
        this.openAt = 0;           /* where the last block starts in text */
        this.openNode = null;      /* its element */
        this.openLanguage = null;  /* of a fence that is still growing */
    }
}
