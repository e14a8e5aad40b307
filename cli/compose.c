/* SPDX-License-Identifier: Apache-2.0 */
/* Events from options, arguments, files. */
#include "cli/compose.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/file.h"

#define FILE_BYTES_MAX (16u << 20) /* twice what the largest broker takes */

/* The attributes that struct ls_event has members for. */
static const struct known {
    const char *name;
    size_t offset;
} KNOWN[] = {
#define MEMBER(name) {#name, offsetof(struct ls_event, name)}
    MEMBER(id), MEMBER(source), MEMBER(time), MEMBER(subject), MEMBER(datacontenttype), MEMBER(dataschema), MEMBER(dataref),
    MEMBER(traceparent), MEMBER(tracestate), MEMBER(correlationid), MEMBER(causationid), MEMBER(partitionkey),
    MEMBER(expirytime),
#undef MEMBER
};

static void set_attribute(struct compose *c, const char *name, size_t len, const char *value)
{
    for (size_t i = 0; i < sizeof KNOWN / sizeof KNOWN[0]; i++)
        if (strlen(KNOWN[i].name) == len && memcmp(KNOWN[i].name, name, len) == 0) {
            *(struct ls_slice *) (void *) ((char *) &c->event + KNOWN[i].offset) = ls_str(value);
            return;
        }
    buf_pack_strn(&c->more, name, len);
    buf_pack_str(&c->more, value);
    c->more_count++;
}

static bool take_attribute(const struct cli_command *command, struct compose *c, const char *text)
{
    const char *equals = strchr(text, '=');
    if (!equals || equals == text)
        return options_usage(command, "-a: \"%s\" is not NAME=VALUE", text) == CLI_OK;
    if (strncmp(text, "topic=", 6) == 0)
        return options_usage(command, "-a: the topic is the first argument") == CLI_OK;
    set_attribute(c, text, (size_t) (equals - text), equals + 1);
    return true;
}

static bool take_form(const struct cli_command *command, struct compose *c, const char *word)
{
    static const char *const WORDS[] = {"auto", "text", "json", "hex", "bytes"};
    for (size_t i = 0; i < sizeof WORDS / sizeof WORDS[0]; i++)
        if (strcmp(word, WORDS[i]) == 0) {
            c->form = (enum compose_form) i;
            return true;
        }
    return options_usage(command, "--as: \"%s\" is none of auto, text, json, hex, bytes", word) == CLI_OK;
}

static bool take_trace(const struct cli_command *command, struct compose *c, const char *text)
{
    size_t digits = strspn(text, "0123456789abcdef");
    char span[LS_ID_SIZE];
    if (strlen(text) == 55 && text[2] == '-' && text[35] == '-' && text[52] == '-') {
        c->event.traceparent = ls_str(text);
        return true;
    }
    if (digits != 32 || text[32])
        return options_usage(command, "--trace: \"%s\" is neither a traceparent nor 32 hexadecimal digits", text) == CLI_OK;
    ls_id(span); /* its last 16 digits are random */
    snprintf(c->trace, sizeof c->trace, "00-%s-%.4s%.12s-01", text, span + 19, span + 24);
    c->event.traceparent = ls_str(c->trace);
    return true;
}

bool compose_take(const struct cli_command *command, struct compose *c, int option, bool *ok)
{
    static const char *const NAMES[] = {[OPTION_ID - OPTION_AS] = "id", [OPTION_SOURCE - OPTION_AS] = "source",
                                        [OPTION_SUBJECT - OPTION_AS] = "subject", [OPTION_KEY - OPTION_AS] = "partitionkey"};
    *ok = true;
    if (option == 'a')
        *ok = take_attribute(command, c, optarg);
    else if (option == OPTION_AS)
        *ok = take_form(command, c, optarg);
    else if (option == OPTION_FILE)
        c->file = optarg;
    else if (option == OPTION_TRACE)
        *ok = take_trace(command, c, optarg);
    else if (option >= OPTION_ID && option <= OPTION_KEY)
        set_attribute(c, NAMES[option - OPTION_AS], strlen(NAMES[option - OPTION_AS]), optarg);
    else
        return false;
    return true;
}

static bool from_hex(const struct cli_command *command, struct compose *c, const char *data, size_t len)
{
    int half = -1;
    for (size_t i = 0; i < len; i++) {
        unsigned char digit = (unsigned char) data[i];
        if (isspace(digit))
            continue;
        if (!isxdigit(digit)) {
            fprintf(stderr, "lineshaft %s: byte %zu of the body is no hexadecimal digit\n", command->name, i + 1);
            return false;
        }
        int value = isdigit(digit) ? digit - '0' : tolower(digit) - 'a' + 10;
        if (half >= 0)
            buf_add_byte(&c->body, (uint8_t) (half << 4 | value));
        half = half < 0 ? value : -1;
    }
    if (half >= 0)
        fprintf(stderr, "lineshaft %s: the body has an odd number of hexadecimal digits\n", command->name);
    return half < 0;
}

static void pack_scalar(struct buf *out, const json_t *json)
{
    if (json_is_integer(json) && (json_integer_value(json) == '{' || json_integer_value(json) == '['))
        buf_addf(out, "\xcc%c", (int) json_integer_value(json)); /* in one byte it would look like JSON */
    else if (json_is_integer(json))
        buf_pack_int(out, json_integer_value(json));
    else if (json_is_real(json))
        buf_pack_double(out, json_real_value(json));
    else if (json_is_string(json))
        buf_pack_strn(out, json_string_value(json), json_string_length(json));
    else if (json_is_boolean(json))
        buf_pack_bool(out, json_is_true(json));
    else
        buf_pack_nil(out);
}

/* A JSON object or array travels as it was written; anything else cannot (docs/protocol.md, "Events"). */
static bool from_json(const struct cli_command *command, struct compose *c, const char *data, size_t len)
{
    json_error_t error;
    json_t *json = json_loadb(data, len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (!json) {
        fprintf(stderr, "lineshaft %s: the body is no JSON: %s, line %d, column %d\n", command->name, error.text, error.line,
                error.column);
        return false;
    }
    while (len && isspace((unsigned char) *data)) {
        data++;
        len--;
    }
    if (json_is_object(json) || json_is_array(json))
        buf_add(&c->body, data, len);
    else
        pack_scalar(&c->body, json);
    json_decref(json);
    return true;
}

/* What begins like JSON and is none was most likely meant as JSON: that is said, once. */
static bool looks_like_json(const struct cli_command *command, struct compose *c, const char *data, size_t len)
{
    json_error_t why;
    if (len == 0 || (*data != '{' && *data != '['))
        return false;
    json_t *json = json_loadb(data, len, JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, &why);
    if (!json && !c->doubted)
        fprintf(stderr, "lineshaft %s: the body is no JSON and goes as text: %s, line %d, column %d (--as json refuses it, --as text "
                        "says that it is meant so)\n", command->name, why.text, why.line, why.column);
    c->doubted |= !json;
    json_decref(json);
    return json != NULL;
}

bool compose_body(const struct cli_command *command, struct compose *c, const char *data, size_t len)
{
    bool ok = true;
    buf_clear(&c->body);
    if (c->form == FORM_JSON)
        ok = from_json(command, c, data, len);
    else if (c->form == FORM_HEX)
        ok = from_hex(command, c, data, len);
    else if (c->form == FORM_BYTES || (c->form == FORM_AUTO && looks_like_json(command, c, data, len)))
        buf_add(&c->body, data, len);
    else
        buf_pack_strn(&c->body, data, len);
    c->event.body = ls_bytes(c->body.data, c->body.len);
    return ok;
}

bool compose_file(const struct cli_command *command, struct compose *c)
{
    struct buf text = {0};
    bool standard = strcmp(c->file, "-") == 0, ok = false;
    int result = standard ? file_read(STDIN_FILENO, FILE_BYTES_MAX, &text) : file_load(c->file, FILE_BYTES_MAX, &text);
    if (result && errno == EFBIG) {
        fprintf(stderr, "lineshaft %s: %s is larger than any event may be\n", command->name, c->file);
    } else if (result) {
        fprintf(stderr, "lineshaft %s: cannot read %s: %s\n", command->name, c->file, file_problem(errno));
    } else {
        if (c->form == FORM_AUTO)
            c->form = FORM_BYTES;
        ok = compose_body(command, c, text.len ? (const char *) text.data : "", text.len);
    }
    buf_fini(&text);
    return ok;
}

void compose_finish(struct compose *c)
{
    if (c->more_count == 0)
        return;
    buf_pack_map(&c->more_map, c->more_count);
    buf_add(&c->more_map, c->more.data, c->more.len);
    c->event.more = ls_bytes(c->more_map.data, c->more_map.len);
}

void compose_fini(struct compose *c)
{
    buf_fini(&c->more);
    buf_fini(&c->more_map);
    buf_fini(&c->body);
}
