/* Log lines. Two categories: `log_*` are said once, by rank 0; `log_rank` by every rank, with its
 * number. Everything goes to stderr except log_out, which is a program's answer (tables, results).
 * The rank and the level are the program's only global variables. */
#ifndef LOCKSTEP_LOG_H
#define LOCKSTEP_LOG_H

#include <stdbool.h>

typedef enum LogLevel { LOG_QUIET, LOG_NORMAL, LOG_VERBOSE } LogLevel;

void log_set_rank(int rank, int size);
void log_set_level(LogLevel level);
int log_get_rank(void);
LogLevel log_get_level(void);

/* True if escape sequences are welcome on `fd`: a terminal, NO_COLOR unset, TERM not dumb. */
bool log_is_terminal(int fd);

void log_out(const char *format, ...) __attribute__((format(printf, 1, 2)));  /* rank 0, stdout */
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2))); /* not with -q */
void log_verbose(const char *format, ...) __attribute__((format(printf, 1, 2))); /* only with -v */
void log_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));    /* always */
void log_rank(const char *format, ...) __attribute__((format(printf, 1, 2))); /* every rank, -v */

#endif
