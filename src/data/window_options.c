/* From a stream of tokens to a data set of windows. */
#include "window_options.h"

#include <math.h>

enum Order { ORDER_RANDOM, ORDER_BLOCKS };
enum Objective { OBJECTIVE_NEXT, OBJECTIVE_MASKED };

static int masks_of(const WindowOptions *o)
{
    return o->objective == OBJECTIVE_MASKED ? (int)round(o->mask_fraction * o->length) : 0;
}

bool window_options_check(const WindowOptions *o, Err *err)
{
    if (o->objective == OBJECTIVE_MASKED && masks_of(o) == 0)
        return err_set(err, "mask_fraction: %g of %d positions is none, at least one is wanted",
                       o->mask_fraction, o->length);
    return true;
}

/* Cuts the stream after `count` windows side by side and `extra` tokens. */
static void limit_tokens(Windows *windows, int64_t count, int64_t extra)
{
    int64_t tokens = (int64_t)windows->tokens.count;
    if (count > tokens / windows->length)
        return;
    int64_t wanted = count * windows->length + windows_span(windows) - windows->length + extra;
    if (wanted < tokens)
        windows->tokens.count = (size_t)wanted;
}

static void take_stream(const WindowOptions *o, TokenStream *stream, Dataset *set)
{
    bool masked = o->objective == OBJECTIVE_MASKED;
    int vocabulary = (int)stream->vocabulary + (masked ? 1 : 0);
    set->windows = (Windows){ .tokens = *stream,
                              .length = o->length,
                              .blocks = o->windows == ORDER_BLOCKS,
                              .masks = masks_of(o) };
    set->shape = (Shape){ .ndim = 1, .dim = { o->length, 1, 1 }, .vocabulary = vocabulary };
    set->classes = vocabulary;
    set->per_position = true;
    *stream = (TokenStream){ 0 };
}

static bool enough(const Dataset *set, const char *name, Err *err)
{
    return set->count > 0 ||
           err_set(err, "%s: %zu tokens, one sample of length %d needs %d", name,
                   set->windows.tokens.count, set->windows.length, windows_span(&set->windows));
}

bool window_train_set(const WindowOptions *o, TokenStream *stream, int64_t limit, const char *name,
                      Dataset *set, Err *err)
{
    take_stream(o, stream, set);
    limit_tokens(&set->windows, limit, set->windows.blocks ? o->length - 1 : 0);
    set->count = windows_count(&set->windows);
    return enough(set, name, err);
}

bool window_test_set(const WindowOptions *o, TokenStream *stream, int64_t limit, const char *name,
                     Dataset *set, Err *err)
{
    take_stream(o, stream, set);
    limit_tokens(&set->windows, limit, 0);
    set->count = windows_cover_count(&set->windows);
    return enough(set, name, err);
}
