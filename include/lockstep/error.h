/* Errors: three levels, one message each.
 *
 *   expect(cond)             our own mistakes; always on, never inside inner loops.
 *   bool f(..., Err *err)    anything from outside (config, data, files): false and a filled err
 *   die_all / die            no way on. The only places in the program that leave it early.
 *
 * A message names the file or key, what was found and what was wanted. */
#ifndef LOCKSTEP_ERROR_H
#define LOCKSTEP_ERROR_H

#include <stdbool.h>

enum ExitCode {
    EXIT_OK = 0,
    EXIT_USAGE = 2,      /* command line or config */
    EXIT_DATA = 3,       /* data set files */
    EXIT_CHECKPOINT = 4, /* checkpoints, weights, run folders that are read */
    EXIT_DIVERGED = 5,   /* the loss is not finite any more */
    EXIT_PEER = 6,       /* a peer was lost or timed out */
    EXIT_REPLICAS = 7,   /* ranks disagree about what must be equal */
};

typedef struct Err {
    char text[1536];
} Err;

/* Fills err (which may be NULL) and returns false, so that callers write `return err_set(err,
 * ...)`. Control characters and bytes that are not UTF-8 become "?", but for line ends. */
bool err_set(Err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Puts a formatted prefix ("data/train-images: ") before err's text; returns false. */
bool err_prefix(Err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* For those that write err->text themselves: the same care for what cannot be shown. */
void err_tidy(Err *err);

/* Every rank sees the same fact: rank 0 alone prints, all leave in order (MPI is finalized) with
 * `code`. Collective: every rank must call it with the same arguments. */
void die_all(int code, const char *format, ...) __attribute__((format(printf, 2, 3), noreturn));

/* Only this rank knows: it prints its rank and host, and the whole job is aborted with `code`. */
void die(int code, const char *format, ...) __attribute__((format(printf, 2, 3), noreturn));

/* As die, from a thread that may not call MPI while the main thread is stuck in it: only this
 * process ends, and the launcher ends the others. */
void die_at_once(int code, const char *format, ...) __attribute__((format(printf, 2, 3), noreturn));

/* How to leave in order / to abort the whole job; set once by comm_init. Without them (one process,
 * before MPI) both simply exit. */
void error_set_exits(void (*leave)(int code), void (*abort_job)(int code));

/* Leaves the program in order with `code` and no message. Collective. */
void leave(int code) __attribute__((noreturn));

#define expect(condition)                                                                          \
    ((condition) ? (void)0 : expect_failed(#condition, __FILE__, __LINE__, __func__))
void expect_failed(const char *condition, const char *file, int line, const char *function)
    __attribute__((noreturn));

#endif
