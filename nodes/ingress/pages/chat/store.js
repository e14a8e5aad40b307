/* SPDX-License-Identifier: Apache-2.0 */
/* The history: IndexedDB of this browser, one record per chat. Without IndexedDB the chats last as long as the page. */

const NAME = "lineshaft";
const STORE = "chats";

let opening = null;
const memory = new Map();
const others = "BroadcastChannel" in window ? new BroadcastChannel("lineshaft.chats") : null;

function database()
{
    opening ??= new Promise((resolve) => {
        let request;
        try {
            request = indexedDB.open(NAME, 1);
        } catch {
            resolve(null);
            return;
        }
        request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "id" });
        request.onsuccess = () => resolve(request.result);
        request.onerror = () => resolve(null);
        request.onblocked = () => resolve(null);
    });
    return opening;
}

/* run does one request in a transaction of its own and waits until it is on disk. */
async function run(mode, work, fallback)
{
    const db = await database();
    if (!db)
        return fallback();
    return new Promise((resolve, reject) => {
        const transaction = db.transaction(STORE, mode);
        const request = work(transaction.objectStore(STORE));
        transaction.oncomplete = () => resolve(request.result);
        transaction.onerror = () => reject(transaction.error);
        transaction.onabort = () => reject(transaction.error);
    });
}

/* all returns every chat, the latest first. */
export async function all()
{
    const chats = await run("readonly", (store) => store.getAll(), () => [...memory.values()]);
    return chats.sort((a, b) => b.updated - a.updated);
}

export async function save(chat)
{
    if (chat.temporary)
        return;
    await run("readwrite", (store) => store.put(chat), () => memory.set(chat.id, chat));
    others?.postMessage(chat.id);
}

export async function remove(id)
{
    await run("readwrite", (store) => store.delete(id), () => memory.delete(id));
    others?.postMessage(id);
}

/* onChange calls `then` with the id of a chat that another tab saved or removed. */
export function onChange(then)
{
    others?.addEventListener("message", (event) => then(event.data));
}
