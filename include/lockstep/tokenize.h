/* `lockstep tokenize`: text files to token files and back. Not collective: one process does it. */
#ifndef LOCKSTEP_TOKENIZE_H
#define LOCKSTEP_TOKENIZE_H

#include "lockstep/error.h"

typedef struct TokenizeRequest {
    const char *const *inputs;
    int count;
    const char *tokenizer; /* name; NULL: not given */
    const char *vocab;     /* file, or NULL */
    const char *out;       /* prefix, or with decode the file; NULL: not given */
    double validation;     /* fraction of the text, >= 0, < 1 */
    bool force;            /* existing files are replaced */
} TokenizeRequest;

/* Joins the inputs and writes OUT.train.tokens and, unless validation is 0, OUT.validation.tokens.
 * *exit_code tells a wrong request from bad data. */
bool tokenize_encode(const TokenizeRequest *request, int *exit_code, Err *err);

/* The text of token files, to `out` or the standard output. */
bool tokenize_decode(const TokenizeRequest *request, int *exit_code, Err *err);

#endif
