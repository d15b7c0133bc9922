/* Log lines: said once by rank 0, or by every rank with its number. */
#include "lockstep/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int log_rank_number;
static int log_rank_count = 1;
static LogLevel log_level = LOG_NORMAL;

void log_set_rank(int rank, int size)
{
    log_rank_number = rank;
    log_rank_count = size;
}

void log_set_level(LogLevel level)
{
    log_level = level;
}

int log_get_rank(void)
{
    return log_rank_number;
}

LogLevel log_get_level(void)
{
    return log_level;
}

bool log_is_terminal(int fd)
{
    const char *no_color = getenv("NO_COLOR");
    const char *term = getenv("TERM");
    return isatty(fd) && !(no_color && *no_color) && term && strcmp(term, "dumb") != 0;
}

static void say(FILE *out, const char *prefix, const char *format, va_list arguments)
    __attribute__((format(printf, 3, 0)));
static void say(FILE *out, const char *prefix, const char *format, va_list arguments)
{
    char text[4096];
    vsnprintf(text, sizeof text, format, arguments);
    fprintf(out, "%s%s\n", prefix, text);
}

void log_out(const char *format, ...)
{
    if (log_rank_number != 0)
        return;
    va_list arguments;
    va_start(arguments, format);
    say(stdout, "", format, arguments);
    va_end(arguments);
}

void log_info(const char *format, ...)
{
    if (log_rank_number != 0 || log_level == LOG_QUIET)
        return;
    va_list arguments;
    va_start(arguments, format);
    say(stderr, "", format, arguments);
    va_end(arguments);
}

void log_verbose(const char *format, ...)
{
    if (log_rank_number != 0 || log_level != LOG_VERBOSE)
        return;
    va_list arguments;
    va_start(arguments, format);
    say(stderr, "", format, arguments);
    va_end(arguments);
}

void log_warn(const char *format, ...)
{
    if (log_rank_number != 0)
        return;
    va_list arguments;
    va_start(arguments, format);
    say(stderr, "warning: ", format, arguments);
    va_end(arguments);
}

void log_rank(const char *format, ...)
{
    if (log_level != LOG_VERBOSE)
        return;
    char prefix[48];
    snprintf(prefix, sizeof prefix, "[%d/%d] ", log_rank_number, log_rank_count);
    va_list arguments;
    va_start(arguments, format);
    say(stderr, prefix, format, arguments);
    va_end(arguments);
}
