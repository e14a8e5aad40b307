/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODES_KIT_HTTP_CLIENT_PRIVATE_H
#define NODES_KIT_HTTP_CLIENT_PRIVATE_H
#include <curl/curl.h>

#include "nodes/kit/http_client.h"

/* http_client_options.c, for http_client.c. http_options_url: false with BAD_VALUE if it is no http or https URL.
 * http_options_headers: the caller's, and without those that curl would add of itself; *headers is the caller's also on failure (-1).
 * http_options_target: the method with its body unless that comes by `read`, and the exact path. */
bool http_options_url(const char *url, struct ls_error *err);
int http_options_headers(const struct http_call_options *o, struct curl_slist **headers, struct ls_error *err);
bool http_options_target(const struct http_call_options *o, CURL *easy);

#endif
