/* SPDX-License-Identifier: Apache-2.0 */
/* Time as timers need it (monotonic), as data needs it (RFC 3339), and identifiers made of time (UUIDv7). */
#include "lib/clock.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

int64_t clock_mono_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t clock_wall_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Days since 1970-01-01 of a proleptic Gregorian date, and back (H. Hinnant, "chrono-compatible low-level date algorithms"). */
static int64_t days_from_civil(int64_t y, int m, int d)
{
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t yoe = y - era * 400;
    int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static void civil_from_days(int64_t z, int64_t *y, int *m, int *d)
{
    z += 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    *d = (int) (doy - (153 * mp + 2) / 5 + 1);
    *m = (int) (mp < 10 ? mp + 3 : mp - 9);
    *y = yoe + era * 400 + (*m <= 2);
}

static int days_of_month(int y, int m)
{
    static const int DAYS[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
    return DAYS[m - 1] + (m == 2 && leap);
}

static void put_digits(char *at, int64_t value, int width)
{
    for (int i = width - 1; i >= 0; i--, value /= 10)
        at[i] = (char) ('0' + value % 10);
}

void clock_format(int64_t wall_us, char text[CLOCK_TEXT_SIZE])
{
    int64_t ms = wall_us / 1000 - (wall_us % 1000 < 0);
    int64_t days = ms / 86400000 - (ms % 86400000 < 0);
    int64_t rest = ms - days * 86400000;
    int64_t year;
    int month, day;
    civil_from_days(days, &year, &month, &day);
    memcpy(text, "0000-00-00T00:00:00.000Z", CLOCK_TEXT_SIZE);
    put_digits(text, year < 0 ? 0 : year > 9999 ? 9999 : year, 4);
    put_digits(text + 5, month, 2);
    put_digits(text + 8, day, 2);
    put_digits(text + 11, rest / 3600000, 2);
    put_digits(text + 14, rest / 60000 % 60, 2);
    put_digits(text + 17, rest / 1000 % 60, 2);
    put_digits(text + 20, rest % 1000, 3);
}

static bool take_digits(const char **at, const char *end, int width, int *value)
{
    if (end - *at < width)
        return false;
    *value = 0;
    for (int i = 0; i < width; i++) {
        if (!isdigit((unsigned char) (*at)[i]))
            return false;
        *value = *value * 10 + (*at)[i] - '0';
    }
    *at += width;
    return true;
}

static bool take_byte(const char **at, const char *end, const char *any)
{
    if (*at >= end || !strchr(any, **at) || !**at)
        return false;
    (*at)++;
    return true;
}

static bool take_fraction(const char **at, const char *end, int *us)
{
    int digits = 0;
    *us = 0;
    for (; *at < end && isdigit((unsigned char) **at); (*at)++, digits++)
        if (digits < 6)
            *us = *us * 10 + **at - '0';
    for (int i = digits; i < 6; i++)
        *us *= 10;
    return digits > 0;
}

bool clock_parse(const char *text, size_t len, int64_t *wall_us)
{
    const char *at = text, *end = text + len;
    int y, mo, d, h = 0, mi = 0, s = 0, us = 0, oh = 0, om = 0, sign = 1;
    if (!take_digits(&at, end, 4, &y) || !take_byte(&at, end, "-") || !take_digits(&at, end, 2, &mo) ||
        !take_byte(&at, end, "-") || !take_digits(&at, end, 2, &d))
        return false;
    if (at < end) {
        if (!take_byte(&at, end, "Tt ") || !take_digits(&at, end, 2, &h) || !take_byte(&at, end, ":") ||
            !take_digits(&at, end, 2, &mi) || !take_byte(&at, end, ":") || !take_digits(&at, end, 2, &s))
            return false;
        if (take_byte(&at, end, ".") && !take_fraction(&at, end, &us))
            return false;
        if (!take_byte(&at, end, "Zz")) {
            if (at < end && *at == '-')
                sign = -1;
            if (!take_byte(&at, end, "+-") || !take_digits(&at, end, 2, &oh) || !take_byte(&at, end, ":") ||
                !take_digits(&at, end, 2, &om))
                return false;
        }
    }
    if (at != end || mo < 1 || mo > 12 || d < 1 || d > days_of_month(y, mo) || h > 23 || mi > 59 || s > 60 || oh > 23 || om > 59)
        return false;
    int64_t seconds = days_from_civil(y, mo, d) * 86400 + h * 3600 + mi * 60 + s - sign * (oh * 3600 + om * 60);
    *wall_us = seconds * 1000000 + us;
    return true;
}

static int64_t unit_ms(const char **at)
{
    static const struct { const char *name; int64_t ms; } UNITS[] = {
        {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    for (size_t i = 0; i < sizeof UNITS / sizeof *UNITS; i++) {
        size_t len = strlen(UNITS[i].name);
        if (!strncmp(*at, UNITS[i].name, len)) {
            *at += len;
            return UNITS[i].ms;
        }
    }
    return 0;
}

bool clock_parse_duration(const char *text, int64_t *ms)
{
    int64_t total = 0;
    const char *at = text;
    do {
        int64_t count = 0;
        const char *digits = at;
        for (; isdigit((unsigned char) *at) && at - digits < 10; at++)
            count = count * 10 + *at - '0';
        int64_t unit = at > digits ? unit_ms(&at) : 0;
        if (!unit)
            return false;
        if (__builtin_add_overflow(total, count * unit, &total))
            return false;
    } while (*at);
    *ms = total;
    return true;
}

/* xorshift128+ (S. Vigna, "Further scramblings of Marsaglia's xorshift generators"), seeded by the kernel once a thread. */
static uint64_t random64(void)
{
    static _Thread_local uint64_t state[2];
    if (!(state[0] | state[1]) && getrandom(state, sizeof state, 0) != sizeof state)
        state[0] = (uint64_t) clock_wall_us() | 1;
    uint64_t x = state[0], y = state[1];
    state[0] = y;
    x ^= x << 23;
    state[1] = x ^ y ^ (x >> 18) ^ (y >> 5);
    return state[1] + y;
}

void uuid7(int64_t wall_us, char text[UUID_TEXT_SIZE])
{
    static _Thread_local uint64_t last_time; /* ms << 12 | counter: the 60 ordered bits of RFC 9562, 6.2 method 1 */
    uint64_t time = (uint64_t) (wall_us / 1000) << 12 | (uint64_t) (wall_us % 1000) << 2;
    if (time <= last_time)
        time = last_time + 1;
    last_time = time;
    uint64_t high = (time >> 12) << 16 | 0x7000 | (time & 0xfff);
    uint64_t low = (random64() >> 2) | 0x8000000000000000ull;
    static const char HEX[] = "0123456789abcdef";
    char *at = text;
    for (int nibble = 0; nibble < 32; nibble++) {
        if (nibble == 8 || nibble == 12 || nibble == 16 || nibble == 20)
            *at++ = '-';
        uint64_t word = nibble < 16 ? high : low;
        *at++ = HEX[word >> (60 - 4 * (nibble & 15)) & 15];
    }
    *at = 0;
}
