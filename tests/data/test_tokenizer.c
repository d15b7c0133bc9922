/* Tokenizers: there and back, against a plain version of the same algorithm, and what they refuse.
 * With GPT2_VOCAB=vocab.bpe (and GPT2_ENCODER=encoder.json) in the environment also GPT-2's own
 * vocabulary, against published encodings and every number of the file. */
#include "../../src/data/tokenizers/gpt2.h"
#include "../../src/data/tokenizers/unicode.h"
#include "lockstep/random.h"
#include "lockstep/tokenizer.h"
#include "support.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t *bytes_of(const char *text)
{
    return (const uint8_t *)text;
}

/* A tokenizer made from `text`; gpt2: from the merges in `table`. */
static Tokenizer make(const char *name, const char *text, const char *table)
{
    Tokenizer t;
    Err err;
    TokenizerSource source = { .vocab = "", .text = bytes_of(text), .bytes = strlen(text) };
    bool ok = table ? tokenizer_init_table(&t, tokenizer_find(name), bytes_of(table), strlen(table),
                                           "table", &err)
                    : tokenizer_init(&t, tokenizer_find(name), &source, &err);
    ck_assert_msg(ok, "%s", err.text);
    return t;
}

static TokenStream encode(const Tokenizer *t, const uint8_t *text, size_t n)
{
    TokenStream stream;
    Err err;
    tokens_begin(&stream, t->vocabulary, 0);
    ck_assert_msg(tokenizer_encode(t, "text", text, n, &stream, &err), "%s", err.text);
    return stream;
}

/* "5 17 2" */
static char *numbers(const TokenStream *stream, char text[1024])
{
    size_t at = 0;
    text[0] = '\0';
    for (size_t i = 0; i < stream->count; i++)
        at += (size_t)snprintf(text + at, 1024 - at, "%s%u", i ? " " : "", token_at(stream, i));
    return text;
}

static void expect_tokens(const Tokenizer *t, const char *text, const char *wanted)
{
    char found[1024];
    TokenStream stream = encode(t, bytes_of(text), strlen(text));
    ck_assert_str_eq(numbers(&stream, found), wanted);
    tokens_free(&stream);
}

static void expect_round_trip(const Tokenizer *t, const uint8_t *text, size_t n)
{
    TokenStream stream = encode(t, text, n);
    size_t at = 0;
    for (size_t i = 0; i < stream.count; i++) {
        size_t bytes;
        const uint8_t *piece = t->type->piece(t, token_at(&stream, i), &bytes);
        ck_assert(at + bytes <= n && memcmp(text + at, piece, bytes) == 0);
        at += bytes;
    }
    ck_assert_uint_eq(at, n);
    tokens_free(&stream);
}

static const char sample[] = "The lane's end: na\xc3\xafve caf\xc3\xa9, \xe6\x97\xa5\xe6\x9c\xac, "
                             "\xf0\x9f\x8e\x89!\n\n\tWe'll see 1,024 of them.  \n";

START_TEST(registry)
{
    int count;
    const TokenizerType *const *types = tokenizer_all(&count);
    ck_assert_int_eq(count, 3);
    for (int i = 0; i < count; i++) {
        ck_assert_ptr_eq(tokenizer_find(types[i]->name), types[i]);
        ck_assert_ptr_eq(tokenizer_numbered(types[i]->number), types[i]);
    }
    ck_assert_uint_eq(tokenizer_find("byte")->number, 1); /* token files remember these */
    ck_assert_uint_eq(tokenizer_find("char")->number, 2);
    ck_assert_uint_eq(tokenizer_find("gpt2")->number, 3);
    ck_assert_ptr_null(tokenizer_find("none"));
    ck_assert_ptr_null(tokenizer_numbered(0));
}
END_TEST

START_TEST(single_bytes)
{
    uint8_t all[512];
    for (int i = 0; i < 512; i++)
        all[i] = (uint8_t)(i * 7);
    Tokenizer t = make("byte", "", NULL);
    ck_assert_uint_eq(t.vocabulary, 256);
    expect_tokens(&t, "A\xff\n", "65 255 10");
    expect_round_trip(&t, all, sizeof all);
    tokenizer_free(&t);
}
END_TEST

START_TEST(characters)
{
    Tokenizer t = make("char", "hello \xc3\xa9\xe6\x97\xa5\xf0\x9f\x8e\x89\n", NULL);
    ck_assert_uint_eq(t.vocabulary, 9);
    expect_tokens(&t, "\n ehlo\xc3\xa9\xe6\x97\xa5\xf0\x9f\x8e\x89", "0 1 2 3 4 5 6 7 8");
    expect_tokens(&t, "hole", "3 5 4 2");
    expect_tokens(&t, "", "");
    tokenizer_free(&t);
    t = make("char", sample, NULL);
    expect_round_trip(&t, bytes_of(sample), sizeof sample - 1);
    tokenizer_free(&t);
    t = make("char", "", "ab\xc3\xa9");
    expect_tokens(&t,
                  "\xc3\xa9"
                  "ba",
                  "2 1 0");
    tokenizer_free(&t);
}
END_TEST

START_TEST(unknown_character)
{
    Tokenizer t = make("char", "ab\n\xc3\xa9", NULL);
    static const char text[] = "ab\n\xc3\xa9"
                               "a\xe6\x97\xa5"
                               "b";
    TokenStream stream;
    Err err;
    tokens_begin(&stream, t.vocabulary, 0);
    ck_assert(!tokenizer_encode(&t, "other.txt", bytes_of(text), strlen(text), &stream, &err));
    ck_assert_str_eq(err.text,
                     "other.txt:2:3: character U+65E5 is not among the 4 of the training text");
    tokens_free(&stream);
    tokenizer_free(&t);
}
END_TEST

static void expect_bad_table(const char *name, const char *table, const char *wanted)
{
    Tokenizer t;
    Err err;
    ck_assert(
        !tokenizer_init_table(&t, tokenizer_find(name), bytes_of(table), strlen(table), "F", &err));
    ck_assert_str_eq(err.text, wanted);
}

START_TEST(bad_tables)
{
    expect_bad_table("byte", "x", "F: the byte tokenizer has no table, found one of 1 bytes");
    expect_bad_table("char", "", "F: the table of characters is empty or not UTF-8");
    expect_bad_table("char", "ab\xff", "F: the table of characters is empty or not UTF-8");
    expect_bad_table("char", "aab",
                     "F: the table of characters is not in order: U+0061 after "
                     "U+0061");
    expect_bad_table("char", "\xc3\xa9z",
                     "F: the table of characters is not in order: U+007A "
                     "after U+00E9");
    expect_bad_table("gpt2", "", "F: the last line does not end: the file is cut off");
    expect_bad_table("gpt2", "t h\nth e", "F: the last line does not end: the file is cut off");
    expect_bad_table("gpt2", "t h\nthe\n",
                     "F: line 2: two tokens with a blank between them "
                     "expected");
    expect_bad_table("gpt2", "#version: 0.2\n\n",
                     "F: line 2: two tokens with a blank between them "
                     "expected");
    expect_bad_table("gpt2", "t h e\n", "F: line 1: two tokens with a blank between them expected");
    expect_bad_table("gpt2", "t \n", "F: line 1: two tokens with a blank between them expected");
    expect_bad_table("gpt2", "t h\r\n", "F: line 1: a character that stands for no byte");
    expect_bad_table("gpt2", "t \xc5\x84\n", "F: line 1: a character that stands for no byte");
    expect_bad_table("gpt2", "t \xff\n", "F: line 1: a character that stands for no byte");
    expect_bad_table("gpt2", "t h\nt h\n", "F: line 2: makes a token that is there already");
    expect_bad_table("gpt2", "a b\nb c\nab c\na bc\n",
                     "F: line 4: makes a token that is there "
                     "already");
    expect_bad_table("gpt2", "th e\nt h\n",
                     "F: line 1: its first token is neither a byte nor made "
                     "by a line before");
    expect_bad_table("gpt2", "t he\n",
                     "F: line 1: its second token is neither a byte nor made by "
                     "a line before");
    char text[5000];
    memset(text, 'a', sizeof text);
    snprintf(text + 4097, sizeof text - 4097, " a\n");
    expect_bad_table("gpt2", text, "F: line 1: a token of more than 4096 bytes");
}
END_TEST

/* "|" stands where a word ends. */
START_TEST(gpt2_words)
{
    static const char *const cases[] = {
        "Hello| world",
        "a| | b| c",
        "don|'t| we|'ll| I|'ve| it|'s| they|'re| he|'d| I|'m",
        "DON|'|T",
        "'re",
        "'s|s",
        "'",
        "'|x",
        "x| 12| 3|y",
        "x|!!?...",
        "a|   ",
        "a|\n\n|\n|b",
        "a| |\t|b",
        "\t|\t|x",
        "12|ab|34",
        " 12|ab",
        "   | 12",
        "na\xc3\xafve| caf\xc3\xa9|,",
        "\xe6\x97\xa5\xe6\x9c\xac|\xe3\x80\x81",
        "x|\xc2\xb2",
        "a|\xc2\xa0|b",
        "a| |\xc2\xa0|b",
        "a|\xe2\x80\xa8|b",
        "e|\xcc\x81|a",
        "\xe2\x85\xa7|a",
        "\xf0\x9f\x8e\x89|a| \xf0\x9f\x8e\x89!|b",
        "a|'ll|l",
        "!'|s",
        "a|''|s",
        " ",
        "",
    };
    uint8_t *classes = unicode_classes();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[128], found[256];
        size_t n = 0, put = 0;
        for (const char *c = cases[i]; *c; c++)
            if (*c != '|')
                text[n++] = *c;
        for (size_t at = 0; at < n;) {
            size_t end = gpt2_word_end(classes, bytes_of(text), n, at);
            ck_assert(end > at && end <= n);
            memcpy(found + put, text + at, end - at);
            put += end - at;
            at = end;
            if (at < n)
                found[put++] = '|';
        }
        found[put] = '\0';
        ck_assert_str_eq(found, cases[i]);
    }
    mem_free(classes);
}
END_TEST

START_TEST(unicode)
{
    static const struct {
        uint32_t code;
        enum UnicodeClass class;
    } known[] = {
        { 'A', UNICODE_LETTER },     { '_', UNICODE_OTHER },      { '0', UNICODE_NUMBER },
        { 0xaa, UNICODE_LETTER },    { 0xb2, UNICODE_NUMBER },    { 0xd7, UNICODE_OTHER },
        { 0x85, UNICODE_SPACE },     { 0x1f, UNICODE_OTHER },     { 0x300, UNICODE_OTHER },
        { 0x663, UNICODE_NUMBER },   { 0x2167, UNICODE_NUMBER },  { 0x200b, UNICODE_OTHER },
        { 0x3000, UNICODE_SPACE },   { 0x4e00, UNICODE_LETTER },  { 0x9fff, UNICODE_LETTER },
        { 0xa490, UNICODE_OTHER },   { 0xd7a3, UNICODE_LETTER },  { 0xe000, UNICODE_OTHER },
        { 0x10400, UNICODE_LETTER }, { 0x1d7ff, UNICODE_NUMBER }, { 0x1f389, UNICODE_OTHER },
        { 0x20000, UNICODE_LETTER }, { 0x2a6df, UNICODE_LETTER }, { 0x323af, UNICODE_LETTER },
    };
    uint8_t *classes = unicode_classes();
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        ck_assert_msg(classes[known[i].code] == known[i].class, "U+%04X", known[i].code);
    ck_assert_uint_eq(classes[UNICODE_CODES - 1], UNICODE_LETTER); /* the table is whole */
    mem_free(classes);
}
END_TEST

/* "\xc4\xa0" (U+0120) is how the file writes a blank. */
static const char merges[] = "#version: 0.2\n\xc4\xa0 t\nh e\n\xc4\xa0t he\na a\naa aa\n";

START_TEST(gpt2_numbers)
{
    Tokenizer t = make("gpt2", "", merges);
    ck_assert_uint_eq(t.vocabulary, 262);
    /* Printing bytes come first: "!" is 0, "A" 32, "~" 93, 0xa1 94, 0xff 187; then 0 188, "\n"
     * 198, " " 220, 0x7f 221, 0xad 255. */
    expect_tokens(&t, "!A~", "0 32 93");
    expect_tokens(&t, "\n", "198");
    expect_tokens(&t, " ", "220");
    expect_tokens(&t, "\x7f", "221");
    expect_tokens(&t, "\xc2\xad", "126 255");
    expect_tokens(&t, "the the", "83 257 258");
    expect_tokens(&t, "aaaaa aaa", "260 64 220 259 64");
    expect_tokens(&t, "a<|endoftext|>a", "64 261 64");
    expect_tokens(&t, " <|endoftext|>", "220 261");
    expect_tokens(&t, "<|endoftext>", "27 91 68 77 67 78 69 83 68 87 83 29");
    expect_round_trip(&t, bytes_of(sample), sizeof sample - 1);
    tokenizer_free(&t);
}
END_TEST

/* GPT-2's encoder.py: the least pair of the word, all its occurrences from the left, again. */
static size_t merge_plainly(const Merges *m, const uint8_t *word, size_t n, uint32_t *token)
{
    for (size_t i = 0; i < n; i++)
        token[i] = m->byte_token[word[i]];
    for (;;) {
        uint32_t best = UINT32_MAX, left = 0, right = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            uint32_t result = gpt2_merge(m, token[i], token[i + 1]);
            if (result > 0 && result < best) {
                best = result;
                left = token[i];
                right = token[i + 1];
            }
        }
        if (best == UINT32_MAX)
            return n;
        size_t put = 0;
        for (size_t i = 0; i < n; i++) {
            bool pair = i + 1 < n && token[i] == left && token[i + 1] == right;
            token[put++] = pair ? best : token[i];
            i += pair;
        }
        n = put;
    }
}

/* Random merges of three letters: lines that the reader would refuse are left out. */
static void random_merges(RandomKey key, char *table, size_t size)
{
    char words[64][32] = { "a", "b", "c" };
    int count = 3;
    size_t at = 0;
    for (uint64_t i = 0; i < 60; i++) {
        const char *a = words[random_below(key, 2 * i, (uint32_t)count)];
        const char *b = words[random_below(key, 2 * i + 1, (uint32_t)count)];
        char both[64];
        bool there = snprintf(both, sizeof both, "%s%s", a, b) >= 32;
        for (int k = 0; k < count; k++)
            there = there || strcmp(words[k], both) == 0;
        if (there)
            continue;
        at += (size_t)snprintf(table + at, size - at, "%s %s\n", a, b);
        memcpy(words[count++], both, 32);
    }
}

START_TEST(gpt2_against_plain_merging)
{
    enum { LETTERS = 300 };
    for (uint64_t round = 0; round < 40; round++) {
        RandomKey key = random_key(5, RANDOM_TEST, round, 0);
        char table[8192];
        random_merges(key, table, sizeof table);
        Tokenizer t = make("gpt2", "", table);
        Merges plain;
        Err err;
        ck_assert(gpt2_merges_read(&plain, bytes_of(table), strlen(table), &err));
        for (uint64_t k = 0; k < 20; k++) {
            uint8_t word[LETTERS];
            uint32_t wanted[LETTERS];
            size_t n = 1 + random_below(key, 1000 + k, LETTERS);
            for (size_t i = 0; i < n; i++)
                word[i] = (uint8_t)('a' + random_below(key, 2000 + k * LETTERS + i, 3));
            size_t count = merge_plainly(&plain, word, n, wanted);
            TokenStream found = encode(&t, word, n);
            ck_assert_uint_eq(found.count, count);
            for (size_t i = 0; i < count; i++)
                ck_assert_uint_eq(token_at(&found, i), wanted[i]);
            tokens_free(&found);
        }
        gpt2_merges_free(&plain);
        tokenizer_free(&t);
    }
}
END_TEST

/* The cache of words must not change anything: every word twice, many different ones. */
START_TEST(gpt2_repetitions)
{
    enum { BYTES = 400000 };
    RandomKey key = random_key(6, RANDOM_TEST, 0, 0);
    uint8_t *text = mem_alloc(BYTES);
    for (size_t i = 0; i < BYTES; i++)
        text[i] = (uint8_t) "aath e"[random_below(key, i, 6)];
    Tokenizer t = make("gpt2", "", merges);
    const Merges *plain = t.state; /* its first member */
    uint8_t *classes = unicode_classes();
    TokenStream stream = encode(&t, text, BYTES);
    size_t index = 0;
    for (size_t at = 0; at < BYTES;) {
        uint32_t wanted[1024];
        size_t end = gpt2_word_end(classes, text, BYTES, at);
        ck_assert_uint_le(end - at, 1024);
        size_t count = merge_plainly(plain, text + at, end - at, wanted);
        for (size_t i = 0; i < count; i++)
            ck_assert_uint_eq(token_at(&stream, index++), wanted[i]);
        at = end;
    }
    ck_assert_uint_eq(index, stream.count);
    tokens_free(&stream);
    mem_free(classes);
    tokenizer_free(&t);
    mem_free(text);
}
END_TEST

/* 300,000 bytes without a blank: quadratic merging would take minutes. */
START_TEST(gpt2_long_word)
{
    enum { BYTES = 300000 };
    uint8_t *text = mem_alloc(BYTES);
    memset(text, 'a', BYTES);
    Tokenizer t = make("gpt2", "", merges);
    TokenStream stream = encode(&t, text, BYTES);
    ck_assert_uint_eq(stream.count, BYTES / 4);
    tokens_free(&stream);
    tokenizer_free(&t);
    mem_free(text);
}
END_TEST

START_TEST(text_files)
{
    char folder[TEST_PATH], path[TEST_PATH], wanted[2 * TEST_PATH];
    uint8_t *text;
    size_t n;
    Err err;
    temp_create(folder);
    write_text(join_path(path, folder, "t"), "ab\xc3\xa9\xff.");
    ck_assert(tokenizer_read_text(path, false, &text, &n, &err));
    ck_assert(n == 6 && memcmp(text, "ab\xc3\xa9\xff.", 6) == 0);
    mem_free(text);
    ck_assert(!tokenizer_read_text(path, true, &text, &n, &err));
    snprintf(wanted, sizeof wanted, "%s: not UTF-8: byte 0xff at 4; tokenizer byte takes any file",
             path);
    ck_assert_str_eq(err.text, wanted);
    write_bytes(path, "ab\xe6\x97", 4); /* cut off inside a character */
    ck_assert(!tokenizer_read_text(path, true, &text, &n, &err));
    temp_remove(folder);
}
END_TEST

START_TEST(split)
{
    const TokenizerType *c = tokenizer_find("char"), *b = tokenizer_find("byte");
    const uint8_t *text = bytes_of("abcdefgh\xc3\xa9");
    ck_assert_uint_eq(tokenizer_split(b, text, 10, 0.1), 9);
    ck_assert_uint_eq(tokenizer_split(c, text, 10, 0.1), 8);
    ck_assert_uint_eq(tokenizer_split(c, text, 10, 0), 10);
    ck_assert_uint_eq(tokenizer_split(c, text, 10, 0.5), 5);
    ck_assert_uint_eq(tokenizer_split(b, NULL, 1115394, 0.1), 1003854); /* Tiny Shakespeare */
    ck_assert_uint_eq(tokenizer_split(b, NULL, 10761624, 0.1), 9685461);
}
END_TEST

/* ---- GPT-2's own vocabulary ---- */

static bool open_reference(Tokenizer *t)
{
    Err err;
    TokenizerSource source = { .vocab = getenv("GPT2_VOCAB") };
    if (!source.vocab || !*source.vocab)
        return false;
    ck_assert_msg(tokenizer_init(t, tokenizer_find("gpt2"), &source, &err), "%s", err.text);
    return true;
}

/* What OpenAI's encoder.py gives. */
START_TEST(gpt2_published)
{
    Tokenizer t;
    if (!open_reference(&t))
        return;
    ck_assert_uint_eq(t.vocabulary, 50257);
    expect_tokens(&t, " the", "262");
    expect_tokens(&t, "<|endoftext|>", "50256");
    expect_tokens(&t, "Hello world", "15496 995");
    expect_tokens(&t, "Hello, I'm a language model,", "15496 11 314 1101 257 3303 2746 11");
    expect_tokens(&t, "Replace me by any text you'd like.",
                  "3041 5372 502 416 597 2420 345 1549 588 13");
    expect_tokens(&t,
                  "na\xc3\xafve caf\xc3\xa9 \xe2\x80\x94 \xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e "
                  "\xe2\x84\x96"
                  "5  x\n\n  they'LL we'll 12345",
                  "2616 38776 40304 851 10545 245 98 17312 105 45739 252 2343 226 244 20 220 2124 "
                  "628 220 484 6 3069 356 1183 17031 2231");
    expect_round_trip(&t, bytes_of(sample), sizeof sample - 1);
    tokenizer_free(&t);
}
END_TEST

/* The text of a token as encoder.json writes it: a character for each byte. */
static void spell(const uint8_t *piece, size_t bytes, const char *letters[256], char *out)
{
    for (size_t i = 0; i < bytes; i++)
        out = stpcpy(out, letters[piece[i]]);
    *out = '\0';
}

START_TEST(gpt2_encoder)
{
    Tokenizer t;
    const char *path = getenv("GPT2_ENCODER"), *key, *letters[256] = { NULL };
    json_t *number, *all = path && *path ? json_load_file(path, 0, NULL) : NULL;
    if (!all || !open_reference(&t))
        return;
    size_t bytes;
    json_object_foreach (all, key, number) /* the 256 that stand for bytes */
        if (json_integer_value(number) < 256)
            letters[*t.type->piece(&t, (uint32_t)json_integer_value(number), &bytes)] = key;
    ck_assert_uint_eq(json_object_size(all), t.vocabulary);
    for (uint32_t token = 0; token + 1 < t.vocabulary; token++) {
        char text[2048];
        const uint8_t *piece = t.type->piece(&t, token, &bytes);
        spell(piece, bytes, letters, text);
        ck_assert_int_eq(json_integer_value(json_object_get(all, text)), token);
    }
    ck_assert_int_eq(json_integer_value(json_object_get(all, "<|endoftext|>")), 50256);
    json_decref(all);
    tokenizer_free(&t);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tokenizers");
    add_test(suite, registry);
    add_test(suite, single_bytes);
    add_test(suite, characters);
    add_test(suite, unknown_character);
    add_test(suite, bad_tables);
    add_test(suite, gpt2_words);
    add_test(suite, unicode);
    add_test(suite, gpt2_numbers);
    add_test(suite, gpt2_against_plain_merging);
    add_test(suite, gpt2_repetitions);
    add_test(suite, gpt2_long_word);
    add_test(suite, text_files);
    add_test(suite, split);
    add_test(suite, gpt2_published);
    add_test(suite, gpt2_encoder);
    return run_suite(suite);
}
