/* SPDX-License-Identifier: Apache-2.0 */
/* Calls of this server's HTTP interface, with the key of this tab; and what was wrong, in words to show. */
import { serverKey } from "/assets/settings.js";

/* ApiError is what the server, or the way to it, said: code and status are null where there is none. */
export class ApiError extends Error {
    constructor(message, { code = null, type = null, status = null, requestId = null } = {})
    {
        super(message);
        Object.assign(this, { code, type, status, requestId });
    }
}

/* call is fetch with the key; it resolves with the response if that is a good one, else it throws: ApiError, or AbortError
 * when `options.signal` was used. */
export async function call(path, options = {})
{
    const headers = { ...options.headers };
    if (serverKey())
        headers.authorization = `Bearer ${serverKey()}`;
    let response;
    try {
        response = await fetch(path, { ...options, headers, cache: "no-store" });
    } catch (error) {
        if (error.name === "AbortError")
            throw error;
        throw new ApiError("The server cannot be reached. Is lineshaft running?", { code: "unreachable" });
    }
    if (!response.ok)
        throw await refusal(response);
    return response;
}

/* The three forms in which a route says what is wrong: OpenAI's {error}, FastAPI's {detail}, MLflow's {error_code, message}. */
async function refusal(response)
{
    let body = {};
    try {
        body = await response.json() ?? {};
    } catch {
        /* a proxy's own page: the status has to do */
    }
    const error = typeof body.error === "object" && body.error ? body.error : { message: body.error };
    const detail = Array.isArray(body.detail) ? body.detail.map((item) => item?.msg).filter(Boolean).join("; ") : body.detail;
    const message = error.message || body.message || detail || `The server answered ${response.status} ${response.statusText}`.trim();
    return new ApiError(message, { code: error.code ?? body.error_code, type: error.type, status: response.status,
                                   requestId: response.headers.get("x-request-id") });
}
