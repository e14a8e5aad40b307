/* SPDX-License-Identifier: Apache-2.0 */
/* What of a call's options curl is told in its own words: where it goes, its method, its headers. */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "lib/error.h"
#include "nodes/kit/http_client_private.h"

bool http_options_url(const char *url, struct ls_error *err)
{
    CURLU *parts = curl_url();
    char *scheme = NULL;
    CURLUcode code = parts ? curl_url_set(parts, CURLUPART_URL, url, 0) : CURLUE_OUT_OF_MEMORY;
    if (code == CURLUE_OK)
        code = curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0);
    bool good = code == CURLUE_OK && (strcasecmp(scheme, "http") == 0 || strcasecmp(scheme, "https") == 0);
    if (!good)
        error_set(err, "BAD_VALUE", "\"%.200s\" is no http or https URL%s%s", url, code ? ": " : "",
                  code ? curl_url_strerror(code) : "");
    curl_free(scheme);
    curl_url_cleanup(parts);
    return good;
}

static bool has_controls(const char *text)
{
    for (; *text; text++)
        if (iscntrl((unsigned char) *text) && *text != '\t')
            return true;
    return false;
}

static bool add_header(struct curl_slist **headers, const char *line)
{
    struct curl_slist *longer = curl_slist_append(*headers, line);
    if (longer)
        *headers = longer;
    return longer != NULL;
}

/* The caller's headers, without those that curl would add of itself. */
int http_options_headers(const struct http_call_options *o, struct curl_slist **headers, struct ls_error *err)
{
    bool typed = false, good = add_header(headers, o->read && o->expect ? "Expect: 100-continue" : "Expect:");
    for (const char *const *lines = o->headers; lines && *lines; lines++) {
        if (has_controls(*lines))
            return error_set(err, "BAD_VALUE", "a header line holds a control character");
        typed |= strncasecmp(*lines, "content-type:", 13) == 0;
        good &= add_header(headers, *lines);
    }
    if (!typed)
        good &= add_header(headers, "Content-Type:");
    return good ? 0 : error_set(err, "SYSTEM", "no memory for the headers of a call");
}

/* Everything behind the host as it stands: curl tidies paths, and cuts at #. */
static bool set_exact_path(CURL *easy, const char *url)
{
    const char *host = strstr(url, "://"), *path = host ? strchr(host + 3, '/') : NULL;
    return curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L) == CURLE_OK &&
           (!path || curl_easy_setopt(easy, CURLOPT_REQUEST_TARGET, path) == CURLE_OK);
}

static bool set_method(CURL *easy, const struct http_call_options *o)
{
    bool get = strcmp(o->method, "GET") == 0;
    if (strcmp(o->method, "HEAD") == 0)
        return curl_easy_setopt(easy, CURLOPT_NOBODY, 1L) == CURLE_OK;
    if (get && !o->body.len)
        return true;
    if (!get && strcmp(o->method, "POST") != 0 && !o->body.len)
        return curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, o->method) == CURLE_OK;
    return curl_easy_setopt(easy, CURLOPT_POST, 1L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) o->body.len) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, o->body.len ? o->body.data : "") == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, o->method) == CURLE_OK;
}

bool http_options_target(const struct http_call_options *o, CURL *easy)
{
    if (o->exact_path && !set_exact_path(easy, o->url))
        return false;
    return o->read || set_method(easy, o);
}
