/* Small text helpers: formatting into buffers, nearest spelling, numbers, spans of training. */
#include "lockstep/text.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORD_MAX 63   /* longer words have no near neighbours */
#define QUOTED_MAX 60 /* bytes of a user's text that a message repeats */

void text_append(char *buffer, size_t size, const char *format, ...)
{
    size_t used = strnlen(buffer, size);
    if (used + 1 >= size)
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(buffer + used, size - used, format, arguments);
    va_end(arguments);
}

size_t text_utf8(const char *text, size_t bytes, uint32_t *code)
{
    static const uint32_t smallest[5] = { 0, 0, 0x80, 0x800, 0x10000 };
    unsigned char first = (unsigned char)(bytes ? text[0] : 0xff);
    size_t length = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (length == 0 || length > bytes || first > 0xf4)
        return 0;
    uint32_t value = length == 1 ? first : first & (0xffu >> (length + 1));
    for (size_t i = 1; i < length; i++) {
        unsigned char next = (unsigned char)text[i];
        if ((next & 0xc0) != 0x80)
            return 0;
        value = value << 6 | (next & 0x3f);
    }
    if (length > 1 && (value < smallest[length] || value > 0x10ffff || value >> 11 == 0x1b))
        return 0;
    *code = value;
    return length;
}

const char *text_as_utf8(char *buffer, size_t size, const char *text)
{
    size_t bytes = strlen(text), at = 0, length;
    uint32_t code;
    while ((length = text_utf8(text + at, bytes - at, &code)) > 0 && at < bytes)
        at += length;
    if (at == bytes)
        return text;
    size_t used = 0;
    for (at = 0; at < bytes && used + 1 < size; at++)
        buffer[used++] = (unsigned char)text[at] < 0x80 ? text[at] : '?';
    buffer[used] = '\0';
    return buffer;
}

uint64_t double_bits(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

char *text_number(char buffer[TEXT_NUMBER_SIZE], double value)
{
    if (!isfinite(value))
        return strcpy(buffer, isnan(value) ? "nan" : value > 0 ? "inf" : "-inf");
    snprintf(buffer, TEXT_NUMBER_SIZE, "%.15g", value);
    if (double_bits(strtod(buffer, NULL)) != double_bits(value))
        snprintf(buffer, TEXT_NUMBER_SIZE, "%.17g", value);
    return buffer;
}

char *text_quoted(char *buffer, size_t size, const char *text)
{
    size_t bytes = strlen(text);
    size_t i = 0;
    snprintf(buffer, size, "\"");
    while (i < bytes && i < QUOTED_MAX) {
        uint32_t code = 0;
        size_t length = text_utf8(text + i, bytes - i, &code);
        if (length == 0 || code < 0x20 || (code >= 0x7f && code < 0xa0))
            text_append(buffer, size, "\\x%02x", (unsigned char)text[i]);
        else
            text_append(buffer, size, "%.*s", (int)length, text + i);
        i += length ? length : 1;
    }
    text_append(buffer, size, i < bytes ? "...\"" : "\"");
    return buffer;
}

static int lower(char c)
{
    return tolower((unsigned char)c);
}

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

/* Edits that turn a into b: insert, delete, replace, swap neighbours (optimal string alignment). */
static int edit_distance(const char *a, const char *b)
{
    int rows[3][WORD_MAX + 1]; /* distances of prefixes: row i % 3 is a[0..i) against b[0..j) */
    int length_a = (int)strlen(a);
    int length_b = (int)strlen(b);
    for (int j = 0; j <= length_b; j++)
        rows[0][j] = j;
    for (int i = 1; i <= length_a; i++) {
        int *row = rows[i % 3];
        const int *above = rows[(i + 2) % 3];
        const int *two_above = rows[(i + 1) % 3];
        row[0] = i;
        for (int j = 1; j <= length_b; j++) {
            int replace = above[j - 1] + (lower(a[i - 1]) != lower(b[j - 1]));
            row[j] = smaller(replace, smaller(above[j], row[j - 1]) + 1);
            bool swapped = i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) &&
                           lower(a[i - 2]) == lower(b[j - 1]);
            if (swapped)
                row[j] = smaller(row[j], two_above[j - 2] + 1);
        }
    }
    return rows[length_a % 3][length_b];
}

const char *text_nearest(const char *word, const char *const *candidates, size_t count)
{
    size_t length = strnlen(word, WORD_MAX + 1);
    if (length == 0 || length > WORD_MAX)
        return NULL;
    int allowed = length < 6 ? smaller(2, (int)length - 1) : (int)length / 3;
    const char *nearest = NULL;
    for (size_t i = 0; i < count; i++) {
        if (strlen(candidates[i]) > WORD_MAX)
            continue;
        int distance = edit_distance(word, candidates[i]);
        if (distance <= allowed - (nearest != NULL)) {
            nearest = candidates[i];
            allowed = distance;
        }
    }
    for (size_t i = 0; i < count && !nearest && length >= 3; i++)
        if (strcasestr(candidates[i], word))
            nearest = candidates[i];
    return nearest;
}

bool text_to_int(const char *text, int64_t *value)
{
    size_t sign = text[0] == '-' || text[0] == '+';
    if (text[sign] == '\0' || strspn(text + sign, "0123456789") != strlen(text + sign))
        return false;
    errno = 0;
    *value = strtoll(text, NULL, 10);
    return errno == 0;
}

bool text_to_double(const char *text, double *value)
{
    if (text[0] == '\0' || strspn(text, "0123456789+-.eE") != strlen(text))
        return false; /* strtod alone would take "inf", "nan", hexadecimal and leading blanks */
    char *end;
    double found = strtod(text, &end);
    if (*end != '\0' || !isfinite(found))
        return false;
    *value = found;
    return true;
}

bool span_parse(const char *text, Span *span)
{
    char number[64];
    size_t digits = strspn(text, "0123456789+-.eE");
    const char *unit = text + digits;
    if (*unit == 'p' && digits > 0 &&
        text[digits - 1] == 'e') { /* the e of "ep" looks like 1e5's */
        digits--;
        unit--;
    }
    double value = 0.0;
    if (digits == 0 || digits >= sizeof number)
        return false;
    snprintf(number, sizeof number, "%.*s", (int)digits, text);
    if (!text_to_double(number, &value) || value < 0.0 || value > 1e18)
        return false;
    *span = (Span){ .value = value, .unit = SPAN_STEPS };
    if (strcmp(unit, "ep") == 0)
        span->unit = SPAN_EPOCHS;
    else if (strcmp(unit, "sa") == 0)
        span->unit = SPAN_SAMPLES;
    else if (*unit != '\0' && strcmp(unit, "st") != 0)
        return false;
    return span->unit != SPAN_STEPS || value == floor(value);
}

int64_t span_steps(Span span, int64_t steps_per_epoch, int64_t global_batch)
{
    double steps = span.value;
    if (span.unit == SPAN_EPOCHS)
        steps *= (double)steps_per_epoch;
    if (span.unit == SPAN_SAMPLES)
        steps /= (double)global_batch;
    steps = floor(steps + 0.5);
    if (steps < 1.0)
        return span.value > 0.0 ? 1 : 0;
    return steps < 4e18 ? (int64_t)steps : INT64_MAX / 2;
}

char *text_count(char *buffer, size_t size, int64_t value)
{
    char digits[32];
    int length = snprintf(digits, sizeof digits, "%" PRIu64,
                          value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
    snprintf(buffer, size, "%s", value < 0 ? "-" : "");
    for (int i = 0; i < length; i++)
        text_append(buffer, size, i > 0 && (length - i) % 3 == 0 ? ",%c" : "%c", digits[i]);
    return buffer;
}

/* Three significant digits of `value` and its thousands prefix: "1.23 M", "12.3 k", "999". */
static void scaled(char *buffer, size_t size, double value, const char *unit)
{
    static const char *const prefixes[] = { "", "k", "M", "G", "T", "P", "E" };
    size_t prefix = 0;
    while (fabs(value) >= 999.5 && prefix + 1 < sizeof prefixes / sizeof *prefixes) {
        value /= 1000.0;
        prefix++;
    }
    bool whole = prefix == 0 && value == floor(value);
    int decimals = whole || fabs(value) >= 99.95 ? 0 : fabs(value) >= 9.995 ? 1 : 2;
    bool separate = prefix > 0 || *unit != '\0';
    snprintf(buffer, size, "%.*f%s%s%s", decimals, value, separate ? " " : "", prefixes[prefix],
             unit);
}

char *text_si(char *buffer, size_t size, double value)
{
    scaled(buffer, size, value, "");
    return buffer;
}

char *text_bytes(char *buffer, size_t size, double bytes)
{
    scaled(buffer, size, bytes, "B");
    return buffer;
}

char *text_seconds(char *buffer, size_t size, double seconds)
{
    if (!isfinite(seconds))
        snprintf(buffer, size, "?");
    else if (seconds < 0.0095)
        snprintf(buffer, size, "%.3g ms", seconds * 1e3);
    else if (seconds < 0.9995)
        snprintf(buffer, size, "%.0f ms", seconds * 1e3);
    else if (seconds < 99.5)
        snprintf(buffer, size, "%.3g s", seconds);
    else if (seconds < 3599.5)
        snprintf(buffer, size, "%d min %02d s", (int)(seconds + 0.5) / 60,
                 (int)(seconds + 0.5) % 60);
    else if (seconds < 1e9) {
        int minutes = (int)(seconds / 60.0 + 0.5);
        snprintf(buffer, size, "%d h %02d min", minutes / 60, minutes % 60);
    } else
        snprintf(buffer, size, "%.3g h", seconds / 3600.0);
    return buffer;
}
