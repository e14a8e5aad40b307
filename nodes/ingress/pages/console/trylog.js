/* SPDX-License-Identifier: Apache-2.0 */
/* The log of one try, asked of the runner that has it, piece by piece; followed while the try runs. */
import { h } from "/assets/dom.js";
import { problem, soon } from "/assets/parts.js";

const PIECE = 65536;
const KEPT = 16;           /* pieces; the oldest go, and can be had again by "Earlier" */
const FOLLOW_MS = 1000;

export class TryLog {
    constructor(call, shown)
    {
        Object.assign(this, { call, id: shown.try, place: shown.log, runner: shown.runner, pieces: [], next: null, ended: false,
            closed: false, busy: false });
        this.pre = h("pre", { class: "log", tabindex: "0", "aria-label": "Log of the try", "aria-busy": "true" });
        this.trouble = h("div");
        this.earlier = h("button", { type: "button", class: "button", hidden: true, onclick: () => this.loadEarlier() }, "Earlier");
        this.note = h("p", { class: "hint", role: "status" });
        this.element = h("div", { class: "stack" }, h("div", { class: "tools" }, this.earlier), this.pre, this.trouble, this.note);
        this.follow = soon(() => this.load(), FOLLOW_MS);
        this.load();
    }

    close()
    {
        this.closed = true;
        this.follow.stop();
    }

    text()
    {
        return this.pieces.map((piece) => piece.text).join("");
    }

    update(shown)
    {
        this.place = shown.log;
        if (shown.state !== "running" && !this.ended)
            this.follow();
    }

    onEvent({ data })
    {
        if (data?.try === this.id && !this.ended)
            this.follow();
    }

    async ask(body)
    {
        const path = `/api/requests/task.log.${encodeURIComponent(this.runner)}`;
        const given = { try: this.id, ...this.place ? { log: this.place } : {}, ...body };
        return (await this.call(path, { method: "POST", headers: { "content-type": "application/json" },
            body: JSON.stringify(given) })).json();
    }

    /* load takes the end of the log, later what came since. */
    async load()
    {
        if (this.closed || this.busy)
            return;
        this.busy = true;
        try {
            const piece = await this.ask(this.next === null ? {} : { from: this.next });
            this.busy = false;
            this.trouble.replaceChildren();
            this.take(piece);
        } catch (error) {
            this.busy = false;
            if (!this.closed)
                this.trouble.replaceChildren(problem(this.explained(error), () => this.load()));
        }
        this.pre.setAttribute("aria-busy", "false");
    }

    take(piece)
    {
        const atEnd = this.pre.scrollTop + this.pre.clientHeight >= this.pre.scrollHeight - 30;
        if (piece.text !== "" || this.pieces.length === 0)
            this.pieces.push(piece);
        if (this.pieces.length > KEPT)
            this.pieces.shift();
        this.next = piece.next;
        this.ended = piece.ended;
        this.draw();
        if (atEnd)
            this.pre.scrollTop = this.pre.scrollHeight;
        if (this.ended || this.closed)
            return;
        if (piece.text !== "" && piece.next < piece.size)
            this.load();   /* it is written faster than pieces are asked for */
        else
            this.follow();
    }

    draw()
    {
        this.pre.textContent = this.text();
        this.earlier.hidden = this.pieces.length === 0 || this.pieces[0].from === 0;
        const nothing = this.pre.textContent === "";
        this.pre.hidden = nothing;
        this.note.textContent = nothing ? (this.ended ? "It wrote nothing." : "It has written nothing yet.") : this.ended ? ""
            : "Following while it runs.";
    }

    async loadEarlier()
    {
        const end = this.pieces[0].from;
        const from = Math.max(0, end - PIECE);
        try {
            const piece = await this.ask({ from, bytes: end - from });
            const height = this.pre.scrollHeight;
            this.pieces.unshift(piece);
            this.draw();
            this.pre.scrollTop += this.pre.scrollHeight - height;
        } catch (error) {
            this.trouble.replaceChildren(problem(this.explained(error)));
        }
    }

    explained(error)
    {
        if (error.status !== 503)
            return error;
        const where = this.place ? `; its machine has the log in ${this.place}` : "";
        return new Error(`The runner ${this.runner} is not connected now${where}. ${error.message}`);
    }
}
