/* The options that data sets of tokens share, and how a stream becomes a data set. */
#ifndef LOCKSTEP_DATA_WINDOW_OPTIONS_H
#define LOCKSTEP_DATA_WINDOW_OPTIONS_H

#include "lockstep/dataset.h"

typedef struct WindowOptions {
    int length, windows, objective;
    double mask_fraction;
} WindowOptions;

/* Lines of an option table whose struct Type has WindowOptions as its member `cut`. */
#define WINDOW_OPTIONS(Type)                                                                       \
    { "length", OPTION_INT, OPTION_AT(Type, cut.length), 1, 1 << 20,                               \
      NULL,     "256",      "T: tokens of a sample" },                                             \
        { "windows",                                                                               \
          OPTION_CHOICE,                                                                           \
          OPTION_AT(Type, cut.windows),                                                            \
          0,                                                                                       \
          0,                                                                                       \
          "random|blocks",                                                                         \
          "random",                                                                                \
          "random: each sample begins anywhere, an epoch is (N - 1) / T of them; blocks: samples " \
          "side by side, from another first token and in another order each epoch" },              \
        { "objective",                                                                             \
          OPTION_CHOICE,                                                                           \
          OPTION_AT(Type, cut.objective),                                                          \
          0,                                                                                       \
          0,                                                                                       \
          "next|masked",                                                                           \
          "next",                                                                                  \
          "next: every position predicts the next token; masked: hidden tokens are guessed, the "  \
          "vocabulary gets a mask token at its end" },                                             \
    {                                                                                              \
        "mask_fraction", OPTION_FLOAT, OPTION_AT(Type, cut.mask_fraction), 0, 1, NULL, "0.15",     \
            "positions to be guessed, rounded to a whole number per sample (objective: masked); "  \
            "80 % show the mask, 10 % a random token, 10 % themselves"                             \
    }

bool window_options_check(const WindowOptions *o, Err *err);

/* The training set from a stream, which it takes over in any case; at most `limit` windows of it.
 * `name` is for messages. The test set is every window once. */
bool window_train_set(const WindowOptions *o, TokenStream *stream, int64_t limit, const char *name,
                      Dataset *set, Err *err);
bool window_test_set(const WindowOptions *o, TokenStream *stream, int64_t limit, const char *name,
                     Dataset *set, Err *err);

#endif
