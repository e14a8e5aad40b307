/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LIB_LOGGER_H
#define LIB_LOGGER_H

/* One logfmt line a call, to standard error: time, level, component, code, text, then the caller's key=value pairs.
 * Nothing per message above debug. Codes are stable and searchable. Thread-safe (one write(2) per line). */
enum log_level { LEVEL_ERROR, LEVEL_WARN, LEVEL_INFO, LEVEL_DEBUG };

void logger_init(const char *component, enum log_level level);  /* call once, before threads */
/* logger_put: `text` is for people; `format` gives further key=value pairs ("" for none). Control bytes are escaped. */
void logger_put(enum log_level level, const char *code, const char *text, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
