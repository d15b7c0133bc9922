/* Text helpers: spelling, numbers, spans, formatting; messages that can be shown. */
#include "lockstep/error.h"
#include "lockstep/text.h"
#include "support.h"

#include <stdint.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

START_TEST(test_append)
{
    char buffer[8] = "ab";
    text_append(buffer, sizeof buffer, "%d", 123);
    ck_assert_str_eq(buffer, "ab123");
    text_append(buffer, sizeof buffer, "%s", "456789");
    ck_assert_str_eq(buffer, "ab12345");
    text_append(buffer, sizeof buffer, "x");
    ck_assert_str_eq(buffer, "ab12345");
}
END_TEST

START_TEST(test_quoted)
{
    char buffer[256];
    ck_assert_str_eq(text_quoted(buffer, sizeof buffer, "fast"), "\"fast\"");
    ck_assert_str_eq(text_quoted(buffer, sizeof buffer, "a\n\x1b[31m\xff"),
                     "\"a\\x0a\\x1b[31m\\xff\"");
    ck_assert_str_eq(text_quoted(buffer, sizeof buffer, "\xc3\xa9"), "\"\xc3\xa9\"");
    char word[101] = "";
    memset(word, 'x', 100);
    ck_assert_uint_eq(strlen(text_quoted(buffer, sizeof buffer, word)), 60 + 5);
}
END_TEST

START_TEST(test_nearest)
{
    static const char *const names[] = { "lr",       "momentum", "weight_decay",
                                         "nesterov", "eps",      "softmax_cross_entropy" };
    static const struct {
        const char *word, *wanted;
    } cases[] = {
        { "momentun", "momentum" },
        { "momnetum", "momentum" },
        { "Momentum", "momentum" },
        { "wieght_decay", "weight_decay" },
        { "rl", "lr" },
        { "LR", "lr" },
        { "softmax", "softmax_cross_entropy" },
        { "esp", "eps" },
        { "x", NULL },
        { "", NULL },
        { "banana", NULL },
        { "so", NULL },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *found = text_nearest(cases[i].word, names, COUNT(names));
        if (cases[i].wanted)
            ck_assert_pstr_eq(found, cases[i].wanted);
        else
            ck_assert_ptr_null(found);
    }
    char endless[5000];
    memset(endless, 'm', sizeof endless - 1);
    endless[sizeof endless - 1] = '\0';
    ck_assert_ptr_null(text_nearest(endless, names, COUNT(names)));
}
END_TEST

START_TEST(test_integers)
{
    int64_t value;
    ck_assert(text_to_int("9223372036854775807", &value) && value == INT64_MAX);
    ck_assert(text_to_int("-9223372036854775808", &value) && value == INT64_MIN);
    ck_assert(text_to_int("+7", &value) && value == 7);
    static const char *const wrong[] = {
        "", "9223372036854775808", "1.0", "1e3", "0x10", " 1", "1 ", "-", "--1", "1_0", "one"
    };
    for (size_t i = 0; i < COUNT(wrong); i++)
        ck_assert_msg(!text_to_int(wrong[i], &value), "%s", wrong[i]);
}
END_TEST

START_TEST(test_doubles)
{
    double value;
    ck_assert(text_to_double("-1.5e-3", &value) && value == -1.5e-3);
    ck_assert(text_to_double(".5", &value) && value == 0.5);
    ck_assert(text_to_double("3", &value) && value == 3.0);
    static const char *const wrong[] = { "",   "nan", "inf", ".inf", "1e999", "0x1p3", "1.2.3",
                                         "1e", "e5",  "1,5", "1 2",  "-",     "fast",  "5ep" };
    for (size_t i = 0; i < COUNT(wrong); i++)
        ck_assert_msg(!text_to_double(wrong[i], &value), "%s", wrong[i]);
}
END_TEST

START_TEST(test_utf8)
{
    uint32_t code;
    ck_assert(text_utf8("a", 1, &code) == 1 && code == 'a');
    ck_assert(text_utf8("\xe2\x82\xac", 3, &code) == 3 && code == 0x20ac);
    ck_assert(text_utf8("\xf0\x9f\x98\x80", 4, &code) == 4 && code == 0x1f600);
    static const char *const wrong[] = {
        "\xff",    "\x80", "\xc3", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
        "\xe2\x82"
    };
    for (size_t i = 0; i < COUNT(wrong); i++)
        ck_assert_uint_eq(text_utf8(wrong[i], strlen(wrong[i]), &code), 0);
    ck_assert_uint_eq(text_utf8("", 0, &code), 0);
}
END_TEST

START_TEST(test_spans)
{
    Span span;
    ck_assert(span_parse("500st", &span) && span.unit == SPAN_STEPS && span.value == 500);
    ck_assert(span_parse("500", &span) && span.unit == SPAN_STEPS && span.value == 500);
    ck_assert(span_parse("0.5ep", &span) && span.unit == SPAN_EPOCHS && span.value == 0.5);
    ck_assert(span_parse("1e2ep", &span) && span.unit == SPAN_EPOCHS && span.value == 100);
    ck_assert(span_parse("100000sa", &span) && span.unit == SPAN_SAMPLES && span.value == 1e5);
    static const char *const wrong[] = { "",    "ep",   "5eps", "5 ep", "-1ep", "1.5st", "nanep",
                                         "5EP", "1e99", "2.5",  "5e",   "5p",   "ep5",   "5stst" };
    for (size_t i = 0; i < COUNT(wrong); i++)
        ck_assert_msg(!span_parse(wrong[i], &span), "%s", wrong[i]);
}
END_TEST

static int64_t steps(const char *text)
{
    Span span = { 0 };
    ck_assert(span_parse(text, &span));
    return span_steps(span, 235, 256);
}

START_TEST(test_span_steps)
{
    ck_assert_int_eq(steps("7"), 7);
    ck_assert_int_eq(steps("2ep"), 470);
    ck_assert_int_eq(steps("0.5ep"), 118); /* 117.5 up */
    ck_assert_int_eq(steps("2560sa"), 10);
    ck_assert_int_eq(steps("1sa"), 1); /* never nothing */
    ck_assert_int_eq(steps("0ep"), 0);
    ck_assert_int_eq(steps("1e18ep"), INT64_MAX / 2);
}
END_TEST

START_TEST(test_formats)
{
    char buffer[64];
    ck_assert_str_eq(text_count(buffer, sizeof buffer, 1234567), "1,234,567");
    ck_assert_str_eq(text_count(buffer, sizeof buffer, -999), "-999");
    ck_assert_str_eq(text_count(buffer, sizeof buffer, 0), "0");
    ck_assert_str_eq(text_count(buffer, sizeof buffer, INT64_MIN), "-9,223,372,036,854,775,808");
    ck_assert_str_eq(text_si(buffer, sizeof buffer, 1.2345e6), "1.23 M");
    ck_assert_str_eq(text_si(buffer, sizeof buffer, 999.0), "999");
    ck_assert_str_eq(text_si(buffer, sizeof buffer, 999999.0), "1.00 M");
    ck_assert_str_eq(text_bytes(buffer, sizeof buffer, 12.3e6), "12.3 MB");
    ck_assert_str_eq(text_bytes(buffer, sizeof buffer, 12.0), "12 B");
    ck_assert_str_eq(text_seconds(buffer, sizeof buffer, 3725.0), "1 h 02 min");
    ck_assert_str_eq(text_seconds(buffer, sizeof buffer, 0.45), "450 ms");
    ck_assert_str_eq(text_seconds(buffer, sizeof buffer, 12.34), "12.3 s");
    ck_assert_str_eq(text_seconds(buffer, sizeof buffer, 125.0), "2 min 05 s");
    ck_assert_str_eq(text_seconds(buffer, sizeof buffer, 3599.8), "1 h 00 min");
}
END_TEST

/* Whatever a file holds, a message is UTF-8 that a terminal shows and does not obey. */
START_TEST(test_messages)
{
    Err err;
    err_set(&err, "%s", "a\x1b[31m\xff\n\xc3\xa9\x7f\xc2\x9b");
    ck_assert_str_eq(err.text, "a?[31m?\n\xc3\xa9???");
    err_prefix(&err, "%s: ", "\r\xc3");
    ck_assert_str_eq(err.text, "??: a?[31m?\n\xc3\xa9???");
    char text[sizeof err.text + 10] = "";
    for (size_t i = 0; i + 2 < sizeof text; i += 2)
        memcpy(text + i, "\xc3\xa9", 2);
    err_set(&err, "%s", text); /* cut inside a character */
    ck_assert_uint_eq(strlen(err.text), sizeof err.text - 1);
    ck_assert_int_eq(err.text[sizeof err.text - 2], '?');
    ck_assert_int_eq(err.text[sizeof err.text - 3], (char)0xa9);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("text");
    add_test(suite, test_append);
    add_test(suite, test_quoted);
    add_test(suite, test_nearest);
    add_test(suite, test_integers);
    add_test(suite, test_doubles);
    add_test(suite, test_utf8);
    add_test(suite, test_spans);
    add_test(suite, test_span_steps);
    add_test(suite, test_formats);
    add_test(suite, test_messages);
    return run_suite(suite);
}
