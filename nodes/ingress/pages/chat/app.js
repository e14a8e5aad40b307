/* SPDX-License-Identifier: Apache-2.0 */
/* The chat page: which chat is shown, which answers are under way, and what the controls do. */
import * as api from "/assets/api.js";
import * as store from "/assets/store.js";
import { announcer } from "/assets/announce.js";
import { ask } from "/assets/ask.js";
import { openSettings, setUpDialogs } from "/assets/dialogs.js";
import { byId, download, h, icon, notify } from "/assets/dom.js";
import { drawHistory } from "/assets/history.js";
import { toggleMenu } from "/assets/menu.js";
import { AnswerView, questionElement } from "/assets/message.js";
import { currentModel, loadModels, setUpModels } from "/assets/models.js";
import { saveServerKey, serverKey, saveShownChat, settings, shownChat } from "/assets/settings.js";
import { setUpTheme } from "/assets/theme.js";
import { add, asJson, asMarkdown, drop, newChat, path, show, siblings } from "/assets/thread.js";
import { runTurn } from "/assets/turn.js";

const EXAMPLES = ["Tell me a fortune", "What should a programmer never forget?", "Give me a line to start the day with"];
const SAVE_EVERY_MS = 1000;

const page = {
    chat: newChat(),
    chats: [],            /* those of the history, the latest first */
    turns: new Map(),     /* chat id -> AbortController of the answer under way */
    views: new Map(),     /* message id -> AnswerView, of the chat that is shown */
    following: true,      /* the newest text is kept in sight */
};

const running = () => page.turns.has(page.chat.id);

/* Drawing */

function drawChat()
{
    const messages = path(page.chat);
    const before = page.views;
    page.views = new Map();
    byId("thread").replaceChildren(...messages.map((message) => {
        const all = siblings(page.chat, message);
        if (message.role === "user")
            return questionElement(message, all, actions);
        const known = before.get(message.id);
        const view = known?.message === message ? known : new AnswerView(message, actions);
        view.setVersions(all);
        page.views.set(message.id, view);
        return view.element;
    }));
    byId("empty").hidden = messages.length > 0;
    byId("title").textContent = page.chat.title;
    byId("banner").hidden = !page.chat.temporary;
    byId("temporary").setAttribute("aria-pressed", String(page.chat.temporary));
    byId("chat-menu").disabled = messages.length === 0;
    saveShownChat(page.chat.temporary ? null : page.chat.id);
    document.title = page.chat.title ? `${page.chat.title} · lineshaft` : "lineshaft";
    drawControls();
}

function drawControls()
{
    const focused = document.activeElement;
    byId("send").hidden = running();
    byId("stop").hidden = !running();
    byId("send").disabled = byId("question").value.trim() === "" || !currentModel();
    if (focused === (running() ? byId("send") : byId("stop")))
        byId("question").focus();
}

function drawSide()
{
    drawHistory(page.chats, { current: page.chat.id, open: openChat, menuOf: chatMenu });
}

function follow(force = false)
{
    if (force)
        page.following = true;
    if (page.following)
        byId("scroll").scrollTop = byId("scroll").scrollHeight;
    byId("to-end").hidden = page.following;
}

/* Chats */

async function keep(chat)
{
    if (chat.temporary)
        return;
    page.chats = [chat, ...page.chats.filter((other) => other.id !== chat.id)].sort((a, b) => b.updated - a.updated);
    drawSide();
    try {
        await store.save(chat);
    } catch (error) {
        notify(`This chat could not be kept: ${error.message}`);
    }
}

function openChat(chat)
{
    page.chat = chat;
    showSide(false);
    drawChat();
    drawSide();
    follow(true);
    if (!narrow.matches)
        byId("question").focus();  /* on a phone this would open the keyboard over the text */
}

function chatMenu(chat)
{
    const name = (chat.title || "chat").replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").slice(0, 50) || "chat";
    return [
        { icon: "edit", label: "Rename", run: () => rename(chat) },
        { icon: "save", label: "Export as Markdown", run: () => download(`${name}.md`, "text/markdown", asMarkdown(chat)) },
        { icon: "save", label: "Export as JSON", run: () => download(`${name}.json`, "application/json", asJson([chat])) },
        { icon: "trash", label: "Delete", danger: true, run: () => removeChat(chat) },
    ];
}

async function rename(chat)
{
    const title = await ask({ title: "Rename this chat", label: "Name", value: chat.title, yes: "Rename" });
    if (!title)
        return;
    chat.title = title;
    await keep(chat);
    drawChat();
}

async function removeChat(chat)
{
    if (!await ask({ title: `Delete “${chat.title || "New chat"}”?`, yes: "Delete", danger: true }))
        return;
    page.turns.get(chat.id)?.abort();
    chat.temporary = true;  /* an answer that is just being stopped must not bring it back */
    await store.remove(chat.id);
    page.chats = page.chats.filter((other) => other.id !== chat.id);
    if (page.chat.id === chat.id)
        openChat(newChat());
    else
        drawSide();
    notify("Deleted");
}

async function removeAll()
{
    byId("settings").close("");
    if (!await ask({ title: `Delete all ${page.chats.length} chats of this browser?`, yes: "Delete all", danger: true }))
        return;
    for (const chat of page.chats) {
        page.turns.get(chat.id)?.abort();
        chat.temporary = true;
        await store.remove(chat.id);
    }
    page.chats = [];
    openChat(newChat());
    notify("Deleted");
}

/* Turns */

function send(text)
{
    const chat = page.chat;
    if (!text.trim() || running())
        return false;
    if (!currentModel()) {
        notify("No model is ready yet");
        return false;
    }
    answerTo(chat, add(chat, chat.leaf, { role: "user", content: text.trim() }));
    return true;
}

/* answerTo adds an answer below `question` and has the model fill it. The chat may be left meanwhile. */
async function answerTo(chat, question)
{
    const model = currentModel();
    const answer = add(chat, question.id, { role: "assistant", model: model.id, version: model.lineshaft?.version ?? null,
                                            state: "waiting" });
    const controller = new AbortController();
    const voice = announcer();
    let saved = 0;
    page.turns.set(chat.id, controller);
    keep(chat);
    if (page.chat === chat) {
        drawChat();
        follow(true);
    }
    await runTurn({
        chat, question, answer, model, values: settings(), signal: controller.signal,
        changed()
        {
            page.views.get(answer.id)?.update(follow);
            if (page.chat === chat)
                voice.grow(answer.content);
            if (Date.now() - saved > SAVE_EVERY_MS) {
                saved = Date.now();
                keep(chat);
            }
        },
    });
    page.turns.delete(chat.id);
    if (page.chat === chat) {
        const last = { stopped: "Stopped.", error: `Error: ${answer.error?.message}` };
        voice.end(answer.content, last[answer.state] ?? "End of the answer.");
    }
    keep(chat);
    drawControls();
    if (answer.error?.status === 401)
        askForKey(() => again(chat, question, answer));
}

/* again asks once more; an answer without a word is replaced, any other stays as another version. */
function again(chat, question, answer)
{
    if (page.turns.has(chat.id) || !currentModel())
        return;
    if (!answer.content)
        drop(chat, answer);
    answerTo(chat, question);
}

function stop()
{
    page.turns.get(page.chat.id)?.abort();
}

async function askForKey(then)
{
    if (byId("ask").open)
        return;
    const key = await ask({ title: serverKey() ? "This key is not valid" : "This server wants a key", label: "Key",
                            yes: "Go on", type: "password" });
    if (!key)
        return;
    saveServerKey(key);
    await refreshModels();
    then();
}

const actions = {
    regenerate(message)
    {
        again(page.chat, page.chat.messages.find((other) => other.id === message.parent), message);
    },
    resend(message, text)
    {
        if (running() || !currentModel())
            return;
        answerTo(page.chat, add(page.chat, message.parent, { role: "user", content: text }));
        byId("question").focus();
    },
    turnTo(message)
    {
        if (running())
            return;
        show(page.chat, message);
        keep(page.chat);
        drawChat();
    },
    async rate(message, rating, comment)
    {
        const data = { request_id: message.requestId, rating, model: message.model };
        if (comment)
            data.comment = comment;
        try {
            await api.sendFeedback(page.chat.id, message, data);
        } catch (error) {
            notify(`The feedback did not arrive: ${error.message}`);
            return false;
        }
        message.rating = rating;
        keep(page.chat);
        notify("Thank you");
        return true;
    },
};

/* Controls */

function showSide(shown)
{
    const was = byId("frame").classList.contains("side-shown");
    byId("frame").classList.toggle("side-shown", shown);
    byId("side-open").setAttribute("aria-expanded", String(shown));
    byId("main").inert = shown && narrow.matches;
    byId("side").inert = !shown && narrow.matches;
    if (shown)
        byId("side-close").focus();
    else if (was)
        byId("side-open").focus();
}

const narrow = window.matchMedia("(max-width: 52rem)");

function fitQuestion()
{
    const area = byId("question");
    area.style.height = "auto";
    area.style.height = `${area.scrollHeight}px`;
    drawControls();
}

function submit(event)
{
    event.preventDefault();
    if (!send(byId("question").value))
        return;
    byId("question").value = "";
    fitQuestion();
}

async function refreshModels()
{
    try {
        await loadModels();
    } catch (error) {
        if (error.status === 401)
            askForKey(() => {});
    }
    drawControls();
}

function setUpComposer()
{
    byId("composer").addEventListener("submit", submit);
    byId("question").addEventListener("input", fitQuestion);
    byId("question").addEventListener("keydown", (event) => {
        if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
            event.preventDefault();
            byId("composer").requestSubmit();
        }
    });
    byId("stop").addEventListener("click", stop);
    document.addEventListener("keydown", (event) => {
        if (event.key !== "Escape" || event.defaultPrevented || document.querySelector("dialog[open]"))
            return;
        if (byId("frame").classList.contains("side-shown"))
            showSide(false);
        else
            stop();
    });
    byId("examples").append(...EXAMPLES.map((text) => h("li", {}, h("button", {
        type: "button", class: "example", onclick: () => { send(text); byId("question").focus(); },
    }, text))));
}

function setUpBar()
{
    const icons = { "side-open": "menu", "side-close": "close", temporary: "ghost", "settings-open": "sliders",
                    "chat-menu": "more", send: "send", stop: "stop", "new-chat": "plus", "to-end": "arrowDown" };
    for (const [id, name] of Object.entries(icons))
        byId(id).prepend(icon(name));
    byId("new-chat").addEventListener("click", () => openChat(newChat()));
    byId("temporary").addEventListener("click", () => openChat(newChat(!page.chat.temporary)));
    byId("settings-open").addEventListener("click", openSettings);
    byId("settings").addEventListener("close", refreshModels);
    byId("chat-menu").addEventListener("click", () => toggleMenu(byId("chat-menu"), chatMenu(page.chat)));
    byId("side-open").addEventListener("click", () => showSide(true));
    byId("side-close").addEventListener("click", () => showSide(false));
    byId("veil").addEventListener("click", () => showSide(false));
    byId("search").addEventListener("input", drawSide);
    narrow.addEventListener("change", () => showSide(false));
    setUpTheme(byId("theme"));
}

function setUpScroll()
{
    const scroll = byId("scroll");
    scroll.addEventListener("scroll", () => {
        page.following = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 60;
        byId("to-end").hidden = page.following;
    }, { passive: true });
    byId("to-end").addEventListener("click", () => follow(true));
}

/* An answer that was under way when its page went away has ended there. */
function mend(chat)
{
    for (const message of chat.messages) {
        if (message.state === "waiting" || message.state === "streaming")
            message.state = "stopped";
    }
    return chat;
}

async function loadHistory()
{
    const kept = await store.all();
    const mine = new Map(page.chats.filter((chat) => page.turns.has(chat.id)).map((chat) => [chat.id, chat]));
    page.chats = kept.map((chat) => mine.get(chat.id) ?? mend(chat));
    const fresh = page.chats.find((chat) => chat.id === page.chat.id);
    if (fresh && fresh !== page.chat)
        openChat(fresh);
    drawSide();
}

/* MLflow's clients print addresses below this one, such as /#/experiments/1/runs/ID: they are the console's. */
function sendOn()
{
    if (location.hash.startsWith("#/"))
        location.replace(`/console${location.hash}`);
}

async function start()
{
    sendOn();
    window.addEventListener("hashchange", sendOn);
    setUpBar();
    setUpComposer();
    setUpScroll();
    setUpDialogs({
        exportAll: () => download("lineshaft-chats.json", "application/json", asJson(page.chats)),
        deleteAll: removeAll,
    });
    showSide(false);
    const shown = shownChat();
    drawChat();
    setUpModels(refreshModels, drawControls);
    store.onChange(loadHistory);
    await Promise.all([loadHistory(), refreshModels()]);
    const before = page.chats.find((chat) => chat.id === shown);
    if (before && page.chat.messages.length === 0)
        openChat(before);
    if (!narrow.matches)
        byId("question").focus();
    document.documentElement.dataset.ready = "true";
}

start();
