/* Windows of T tokens on a stream: which of them an epoch shows, and what is to be predicted in
 * each. Everything is a pure function of (seed, epoch, position or first token), so it does not
 * matter which rank or lane asks. Nothing here is collective. */
#ifndef LOCKSTEP_WINDOWS_H
#define LOCKSTEP_WINDOWS_H

#include "lockstep/tokens.h"

typedef struct Windows {
    TokenStream tokens; /* N of them; owned */
    int length;         /* T */
    bool blocks;        /* false: an epoch is as many random windows as fit side by side. true: it
                           is windows side by side, from another first token and in another order
                           each epoch */
    int masks;          /* M: positions to be guessed in each window; 0: every next token is */
} Windows;

/* Tokens a window needs: T, or T + 1 if each position's label is the next token. */
int windows_span(const Windows *windows);

/* Windows in an epoch; 0 if there are fewer tokens than one needs. */
int64_t windows_count(const Windows *windows);

/* First token of window `position` of `epoch`. Without shuffle: windows side by side from the
 * first token on, in order. */
int64_t windows_start(const Windows *windows, uint64_t seed, int64_t epoch, int64_t position,
                      bool shuffle);

/* The window that begins at token `start`: tokens (T) and labels (T), LABEL_IGNORED where there is
 * none. With masks: M positions are labelled; of these 80 % show the mask token (number
 * `vocabulary`), 10 % a random token, 10 % what is there (Devlin et al. 2019). */
void windows_fill(const Windows *windows, uint64_t seed, int64_t epoch, int64_t start,
                  int32_t *tokens, int32_t *labels);

/* Evaluation: windows that cover the stream, in order, each position's label once: where the last
 * one reaches back over tokens of the one before, labels are LABEL_IGNORED. Masks depend on the
 * seed only. */
int64_t windows_cover_count(const Windows *windows);
void windows_cover(const Windows *windows, uint64_t seed, int64_t index, int32_t *tokens,
                   int32_t *labels);

#endif
