/* Errors and the only ways out of the program. */
#include "lockstep/error.h"
#include "lockstep/log.h"
#include "lockstep/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void (*leave_in_order)(int code);
static void (*abort_everyone)(int code);

void error_set_exits(void (*leave_function)(int code), void (*abort_job)(int code))
{
    leave_in_order = leave_function;
    abort_everyone = abort_job;
}

/* Parts of a message may be bytes of a damaged file: nothing that a terminal would obey. */
void err_tidy(Err *err)
{
    char *text = err->text;
    size_t bytes = strlen(text), length;
    for (size_t i = 0; i < bytes; i += length) {
        uint32_t code = 0;
        length = text_utf8(text + i, bytes - i, &code);
        bool odd = length == 0 || (code < 0x20 && code != '\n') || (code >= 0x7f && code < 0xa0);
        length = length > 0 ? length : 1;
        if (odd)
            memset(text + i, '?', length);
    }
}

bool err_set(Err *err, const char *format, ...)
{
    if (err) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(err->text, sizeof err->text, format, arguments);
        va_end(arguments);
        err_tidy(err);
    }
    return false;
}

bool err_prefix(Err *err, const char *format, ...)
{
    if (err) {
        Err rest = *err;
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(err->text, sizeof err->text, format, arguments);
        va_end(arguments);
        size_t used = strlen(err->text);
        snprintf(err->text + used, sizeof err->text - used, "%s", rest.text);
        err_tidy(err);
    }
    return false;
}

void leave(int code)
{
    fflush(NULL);
    if (leave_in_order)
        leave_in_order(code);
    exit(code);
}

void die_all(int code, const char *format, ...)
{
    if (log_get_rank() == 0) {
        char text[4096];
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(text, sizeof text, format, arguments);
        va_end(arguments);
        fprintf(stderr, "lockstep: %s\n", text); /* in one piece, since mpirun talks as well */
    }
    leave(code);
}

void die(int code, const char *format, ...)
{
    char host[256] = "";
    char text[2048];
    va_list arguments;
    gethostname(host, sizeof host - 1);
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fprintf(stderr, "lockstep: rank %d on %s (pid %d): %s\n", log_get_rank(), host, (int)getpid(),
            text);
    fflush(NULL);
    if (abort_everyone)
        abort_everyone(code);
    _exit(code);
}

void die_at_once(int code, const char *format, ...)
{
    char text[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fprintf(stderr, "lockstep: %s\n", text);
    fflush(NULL);
    _exit(code);
}

void expect_failed(const char *condition, const char *file, int line, const char *function)
{
    fprintf(stderr, "lockstep: rank %d: %s:%d: %s: expected %s\n", log_get_rank(), file, line,
            function, condition);
    fflush(NULL);
    abort();
}
