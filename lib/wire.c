/* SPDX-License-Identifier: Apache-2.0 */
/* LWP/1 as a client sees it: addresses, values in header maps, error headers, packed events. */
#include "lib/wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/error.h"
#include "lib/xmem.h"

#define DEFAULT_URL "tcp://127.0.0.1:7400"
#define HOST_BYTES "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:%[]*"

const char *wire_url(const char *url)
{
    const char *env = getenv("LINESHAFT_URL");
    if (url && *url)
        return url;
    return env && *env ? env : DEFAULT_URL;
}

char *wire_address(const char *url, enum wire_port port, struct ls_error *err)
{
    static const char *const TWINS[] = {"router", "push", "live", "pub", "batch"};
    if (!strncmp(url, "ipc://", 6) && url[6])
        return xasprintf("%s/%s", url, TWINS[port]);
    const char *colon = strrchr(url, ':');
    if (!strncmp(url, "tcp://", 6) && colon > url + 6) {
        char *end;
        unsigned long base = strtoul(colon + 1, &end, 10);
        bool host = url + 6 + strspn(url + 6, HOST_BYTES) >= colon;
        if (host && colon[1] >= '0' && colon[1] <= '9' && !*end && base > 0 && base + WIRE_BATCH <= 65535)
            return xasprintf("%.*s:%lu", (int) (colon - url), url, base + (unsigned long) port);
    }
    error_set(err, "USAGE", "\"%s\" is no broker address; it looks like %s or ipc://DIRECTORY", url, DEFAULT_URL);
    return NULL;
}

bool wire_uint(struct mp header, const char *key, uint64_t *value)
{
    struct mp at;
    return mp_find(header, key, &at) && mp_uint(&at, value);
}

bool wire_int(struct mp header, const char *key, int64_t *value)
{
    struct mp at;
    return mp_find(header, key, &at) && mp_int(&at, value);
}

bool wire_str(struct mp header, const char *key, struct ls_slice *value)
{
    struct mp at;
    struct mp_slice str;
    if (!mp_find(header, key, &at) || !mp_str(&at, &str))
        return false;
    *value = ls_bytes(str.data, str.len);
    return true;
}

bool wire_bool(struct mp header, const char *key)
{
    struct mp at;
    bool value = false;
    return mp_find(header, key, &at) && mp_bool(&at, &value) && value;
}

void wire_copy(char *field, size_t room, struct ls_slice text)
{
    size_t len = text.len < room ? text.len : room - 1;
    if (len)
        memcpy(field, text.data, len);
    field[len] = 0;
}

bool wire_doors_next(struct wire_doors *doors, struct ls_slice *address)
{
    struct mp worker, about, service;
    for (;;) {
        while (mp_maps_next(&doors->workers, &worker))
            if (mp_find(worker, "about", &about) && wire_str(about, "http", address) && address->len)
                return true;
        struct ls_slice topic = {0};
        if (!mp_maps_next(&doors->services, &service))
            return false;
        if (wire_str(service, "topic", &topic) && topic.len > 10 && memcmp(topic.data, "artifacts.", 10) == 0)
            doors->workers = mp_maps(service, "workers");
    }
}

void wire_error(struct mp header, struct ls_error *err)
{
    struct ls_slice name = ls_str("BUG"), text = {0};
    uint64_t number = 500, retry_ms = 0;
    wire_str(header, "name", &name);
    wire_str(header, "text", &text);
    wire_uint(header, "number", &number);
    wire_uint(header, "retry_ms", &retry_ms);
    *err = (struct ls_error){.number = (int) number, .again = wire_bool(header, "again")};
    err->retry_ms = retry_ms > INT32_MAX ? INT32_MAX : (int) retry_ms;
    wire_copy(err->name, sizeof err->name, name);
    wire_copy(err->text, sizeof err->text, text);
}

bool wire_map_pairs(struct ls_slice map, uint32_t *pairs, struct ls_slice *rest)
{
    *pairs = 0;
    *rest = (struct ls_slice){0};
    if (!map.len)
        return true;
    struct mp r = wire_map(map);
    if (!mp_valid(map.data, map.len, MP_DEPTH_MAX) || !mp_map(&r, pairs))
        return false;
    *rest = ls_bytes(r.p, (size_t) (r.end - r.p));
    return true;
}

static void add_u32(struct buf *b, size_t value)
{
    for (int shift = 24; shift >= 0; shift -= 8)
        buf_add_byte(b, (uint8_t) (value >> shift));
}

static uint32_t read_u32(const char *data)
{
    uint8_t b[4];
    memcpy(b, data, 4);
    return (uint32_t) b[0] << 24 | (uint32_t) b[1] << 16 | (uint32_t) b[2] << 8 | b[3];
}

void wire_packed_add(struct buf *packed, struct ls_slice header, struct ls_slice body)
{
    add_u32(packed, header.len);
    add_u32(packed, body.len);
    buf_add(packed, header.data, header.len);
    buf_add(packed, body.data, body.len);
}

bool wire_packed_next(struct ls_slice *packed, struct ls_slice *header, struct ls_slice *body)
{
    if (packed->len < 8)
        return false;
    size_t header_len = read_u32(packed->data), body_len = read_u32(packed->data + 4), left = packed->len - 8;
    if (header_len > left || body_len > left - header_len)
        return false;
    *header = ls_bytes(packed->data + 8, header_len);
    *body = ls_bytes(packed->data + 8 + header_len, body_len);
    *packed = ls_bytes(packed->data + 8 + header_len + body_len, left - header_len - body_len);
    return true;
}
