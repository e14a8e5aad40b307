/* SPDX-License-Identifier: Apache-2.0 */
/* The log: one logfmt line to standard error. */
#include "lib/logger.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"

static const char *the_component = "lineshaft";
static enum log_level the_level = LEVEL_INFO;

void logger_init(const char *component, enum log_level level)
{
    the_component = component;
    the_level = level;
}

void logger_put(enum log_level level, const char *code, const char *text, const char *format, ...)
{
    static const char *const NAMES[] = {"error", "warn", "info", "debug"};
    if (level > the_level)
        return;
    char time[CLOCK_TEXT_SIZE], line[2048];
    clock_format(clock_wall_us(), time);
    int len = snprintf(line, sizeof line - 1, "%s %-5s %s %s \"%s\"", time, NAMES[level], the_component, code, text);
    if (len < 0)
        return;
    size_t used = (size_t) len < sizeof line - 2 ? (size_t) len : sizeof line - 2;
    if (*format && used < sizeof line - 2) {
        line[used++] = ' ';
        va_list args;
        va_start(args, format);
        len = vsnprintf(line + used, sizeof line - 1 - used, format, args);
        va_end(args);
        if (len > 0)
            used += (size_t) len < sizeof line - 1 - used ? (size_t) len : sizeof line - 2 - used;
    }
    for (size_t i = 0; i < used; i++)
        if ((unsigned char) line[i] < 0x20 || line[i] == 0x7f)
            line[i] = '?';
    line[used++] = '\n';
    if (write(STDERR_FILENO, line, used) < 0)
        return; /* nowhere left to complain to */
}
