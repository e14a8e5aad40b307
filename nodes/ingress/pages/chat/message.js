/* SPDX-License-Identifier: Apache-2.0 */
/* How one message is drawn: the question with its editor; the answer with reasoning, text, error, footer and feedback.
 * `actions` is what the page does: regenerate, resend, turnTo, rate. */
import { byId, copyText, h, icon, iconButton } from "/assets/dom.js";
import { MarkdownView } from "/assets/markdown.js";

const FINISH = { length: "cut at max tokens", content_filter: "cut by the content filter" };

/* branches is the "‹ 2/3 ›" of a message that has siblings. */
function branches(message, all, turnTo)
{
    if (all.length < 2)
        return null;
    const at = all.indexOf(message);
    return h("span", { class: "branches", role: "group", "aria-label": "Versions" },
             iconButton("left", "Previous version", () => turnTo(all[at - 1]), { disabled: at === 0 }),
             h("span", {}, `${at + 1}/${all.length}`),
             iconButton("right", "Next version", () => turnTo(all[at + 1]), { disabled: at === all.length - 1 }));
}

export function questionElement(message, all, actions)
{
    const text = h("div", { class: "said" }, message.content);
    const element = h("article", { class: "message question", "aria-label": "You" }, text, h("div", { class: "foot" },
        branches(message, all, actions.turnTo),
        iconButton("edit", "Edit and send again", () => edit(element, message, actions)),
        iconButton("copy", "Copy message", () => copyText(message.content))));
    return element;
}

function edit(element, message, actions)
{
    const area = h("textarea", { class: "input", "aria-label": "Edit your message", rows: "3" });
    const before = [...element.childNodes];
    const cancel = () => {
        element.replaceChildren(...before);
        element.querySelector(".foot button[aria-label^=Edit]").focus();
    };
    const form = h("form", {
        class: "editor",
        onsubmit: (event) => {
            event.preventDefault();
            if (area.value.trim())
                actions.resend(message, area.value.trim());
        },
        onkeydown: (event) => {
            if (event.key === "Escape") {
                event.stopPropagation();
                cancel();
            } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing && event.target === area) {
                event.preventDefault();
                form.requestSubmit();
            }
        },
    }, area, h("div", { class: "row end" },
        h("button", { type: "button", class: "button", onclick: cancel }, "Cancel"),
        h("button", { type: "submit", class: "button primary" }, "Send")));
    area.value = message.content;
    element.replaceChildren(form);
    area.focus();
}

/* An answer view draws its message at most once per frame, however often update() is called. */
export class AnswerView {
    constructor(message, actions)
    {
        this.message = message;
        this.all = [];  /* the versions of this answer, itself among them */
        this.actions = actions;
        this.frame = 0;
        this.markdown = new MarkdownView();
        this.mark = byId("mark").cloneNode(true);
        this.mark.removeAttribute("id");
        this.who = h("span", {});
        this.reasoning = h("div", { class: "thought" });
        this.reasoningBox = h("details", { class: "reasoning", hidden: true }, h("summary", {}, "Reasoning"), this.reasoning);
        this.problem = h("div", { class: "problem", hidden: true });
        this.foot = h("div", { class: "foot" });
        this.comment = h("div", {});
        this.element = h("article", { class: "message answer", "aria-label": "Answer" },
                         h("div", { class: "who" }, this.mark, this.who),
                         this.reasoningBox, this.markdown.element, this.problem, this.foot, this.comment);
        this.draw();
    }

    setVersions(all)
    {
        this.all = all;
        if (this.drawn)
            this.#drawFoot();
    }

    update(after = () => {})
    {
        this.frame ||= requestAnimationFrame(() => {
            this.frame = 0;
            this.draw();
            after();
        });
    }

    draw()
    {
        const { message } = this;
        const running = message.state === "waiting" || message.state === "streaming";
        this.element.dataset.state = message.state;
        this.element.setAttribute("aria-busy", String(running));
        const name = message.model || "the model";
        this.who.textContent = message.state === "waiting" ? `${name} is thinking` : name;
        if (running)
            this.markdown.update(message.content);
        else
            this.markdown.finish(message.content);
        this.#drawReasoning();
        if (running || this.drawn === message.state)
            return;
        this.drawn = message.state;
        this.#drawProblem();
        this.#drawFoot();
    }

    #drawReasoning()
    {
        const text = this.message.reasoning ?? "";
        this.reasoningBox.hidden = text === "";
        const shown = this.reasoning.textContent.length;
        if (text.length > shown)
            this.reasoning.append(text.slice(shown));
    }

    #drawProblem()
    {
        const { error } = this.message;
        this.problem.hidden = !error;
        if (!error)
            return;
        const code = error.code ?? error.type ?? "error";
        const label = error.status && String(error.status) !== String(code) ? `${error.status} ${code}` : String(code);
        this.problem.replaceChildren(
            h("code", {}, label), h("p", {}, error.message),
            h("button", { type: "button", class: "button", onclick: () => this.actions.regenerate(this.message) },
              icon("retry"), "Try again"));
    }

    #drawFoot()
    {
        const { message } = this;
        const rating = (name, label) => iconButton(name, label, () => this.#rate(name),
                                                   { "aria-pressed": String(message.rating === name) });
        this.foot.replaceChildren(...[
            branches(message, this.all, this.actions.turnTo),
            message.content && iconButton("copy", "Copy answer", () => copyText(message.content)),
            !message.error && iconButton("retry", "Another answer", () => this.actions.regenerate(message)),
            message.requestId && message.content && rating("up", "Good answer"),
            message.requestId && message.content && rating("down", "Bad answer"),
            this.#measures(),
        ].filter(Boolean));
    }

    #measures()
    {
        const { message } = this;
        const facts = [
            message.state === "stopped" && "stopped",
            FINISH[message.finish],
            message.tokens && `${message.estimated ? "≈ " : ""}${message.tokens} token${message.tokens === 1 ? "" : "s"}`,
            message.firstMs !== undefined && `first after ${(message.firstMs / 1000).toFixed(2)} s`,
            message.perSecond && `${message.perSecond.toFixed(message.perSecond < 10 ? 1 : 0)} tokens/s`,
            message.model && (message.version ? `${message.model}, version ${message.version.slice(0, 8)}` : message.model),
        ].filter(Boolean).map((fact) => h("span", {}, fact));
        if (message.requestId)
            facts.push(h("button", { type: "button", class: "request", title: "Copy the request's id",
                                     onclick: () => copyText(message.requestId) }, message.requestId));
        return h("span", { class: "measures" }, facts);
    }

    async #rate(rating)
    {
        if (await this.actions.rate(this.message, rating, null))
            this.#askWhy(rating);
        this.#drawFoot();
    }

    #askWhy(rating)
    {
        const input = h("input", { class: "input", "aria-label": "Comment", maxlength: "2000",
                                   placeholder: rating === "up" ? "What was good? (optional)" : "What was wrong? (optional)" });
        const form = h("form", {
            class: "why",
            onsubmit: async (event) => {
                event.preventDefault();
                if (!input.value.trim() || await this.actions.rate(this.message, rating, input.value.trim()))
                    form.remove();
            },
            onkeydown: (event) => {
                if (event.key === "Escape") {
                    event.stopPropagation();
                    form.remove();
                }
            },
        }, input, h("button", { type: "submit", class: "button" }, "Send"));
        this.comment.replaceChildren(form);
        input.focus();
    }
}
