/* Small text helpers: formatting into buffers, nearest spelling, spans of training. */
#ifndef LOCKSTEP_TEXT_H
#define LOCKSTEP_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* snprintf that appends at the end of the string in `buffer` (of `size` bytes); cuts silently. */
void text_append(char *buffer, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* `text` between double quotes, fit for one line of a message: control characters escaped,
 * shortened with "..." after about 60 bytes. Into buffer; returns buffer. */
char *text_quoted(char *buffer, size_t size, const char *text);

/* The candidate closest to `word` (Damerau-Levenshtein without regard to case, at most a third of
 * the word wrong; else the first that contains it), or NULL if none is close enough to offer. */
const char *text_nearest(const char *word, const char *const *candidates, size_t count);

/* Whole string as a decimal number; false if anything is left over, out of range or not finite. */
bool text_to_int(const char *text, int64_t *value);
bool text_to_double(const char *text, double *value);

/* The shortest of %.15g and %.17g that reads back as the same double, "nan", "inf" or "-inf". Into
 * buffer; returns buffer. */
#define TEXT_NUMBER_SIZE 32
char *text_number(char buffer[TEXT_NUMBER_SIZE], double value);
uint64_t double_bits(double value);

/* `text` if it is UTF-8, else a copy in buffer whose bytes above 127 are '?'. */
const char *text_as_utf8(char *buffer, size_t size, const char *text);

/* Length of the UTF-8 character at text[0..bytes), and its code point; 0 if it is not one. */
size_t text_utf8(const char *text, size_t bytes, uint32_t *code);

/* A length of training: `500st` steps, `5ep` epochs, `100000sa` samples; a bare number is steps.
 * Epochs and samples may be fractional ("0.5ep"). */
typedef enum SpanUnit { SPAN_STEPS, SPAN_EPOCHS, SPAN_SAMPLES } SpanUnit;
typedef struct Span {
    double value; /* >= 0 */
    SpanUnit unit;
} Span;
bool span_parse(const char *text, Span *span);

/* In optimizer steps, rounded to the nearest; a positive span is at least one step. */
int64_t span_steps(Span span, int64_t steps_per_epoch, int64_t global_batch);

/* "1,234,567", "1.23 M", "12.3 MB", "1 h 02 min", "450 ms" into buffer; returns buffer. */
char *text_count(char *buffer, size_t size, int64_t value);
char *text_si(char *buffer, size_t size, double value);
char *text_bytes(char *buffer, size_t size, double bytes);
char *text_seconds(char *buffer, size_t size, double seconds);

#endif
