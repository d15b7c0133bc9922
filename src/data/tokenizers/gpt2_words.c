/* GPT-2's way to cut text into words, inside which bytes are then merged (Radford et al. 2019). The
 * first of these that matches, as long as it can be:
 *
 *   's|'t|'re|'ve|'m|'ll|'d            English contractions, lower case only
 *    ?\p{L}+                           letters, with one blank before them
 *    ?\p{N}+                           numbers, the same way
 *    ?[^\s\p{L}\p{N}]+                 anything else that is not white space, the same way
 *   \s+(?!\S)                          white space up to the end of the text, or all but the last
 *   \s+                                of it: the last belongs to the next word or stands alone */
#include "gpt2.h"
#include "lockstep/text.h"
#include "unicode.h"

static enum UnicodeClass class_at(const uint8_t *classes, const uint8_t *text, size_t n, size_t at,
                                  size_t *length)
{
    uint32_t code = text[at];
    *length = code < 128 ? 1 : text_utf8((const char *)text + at, n - at, &code);
    return code < UNICODE_CODES ? classes[code] : UNICODE_OTHER;
}

/* Where characters of `class` end that go on at `at`; the start of the last one in *last. */
static size_t run_end(const uint8_t *classes, const uint8_t *text, size_t n, size_t at,
                      enum UnicodeClass class, size_t *last)
{
    size_t length;
    while (at < n && class_at(classes, text, n, at, &length) == class) {
        *last = at;
        at += length;
    }
    return at;
}

/* Length of the contraction at text[at], or 0. */
static size_t contraction(const uint8_t *text, size_t n, size_t at)
{
    if (text[at] != '\'' || at + 1 == n)
        return 0;
    uint8_t a = text[at + 1], b = at + 2 < n ? text[at + 2] : 0;
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return 2;
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

size_t gpt2_word_end(const uint8_t *classes, const uint8_t *text, size_t n, size_t at)
{
    size_t short_form = contraction(text, n, at), length, last = at;
    if (short_form > 0)
        return at + short_form;
    size_t first = text[at] == ' ' && at + 1 < n ? at + 1 : at;
    enum UnicodeClass class = class_at(classes, text, n, first, &length);
    if (class != UNICODE_SPACE)
        return run_end(classes, text, n, first + length, class, &last);
    size_t end = run_end(classes, text, n, at, UNICODE_SPACE, &last);
    return end == n || last == at ? end : last;
}
