/* Token files: written and read back, every way to be bad (the exact message is asserted), and the
 * data set made of them. */
#include "helpers.h"
#include "lockstep/tokenizer.h"

#include <sys/stat.h>
#include <xxhash.h>

static char folder[TEST_PATH];

enum { TOKENS = 40, TABLE = 5, BODY = 64 + 8, BYTES = BODY + 2 * TOKENS };

/* The good file: 40 tokens of "abcde", five times each letter of a table of five, 40 = 8 x 5. */
static void write_good(const char *name)
{
    char path[TEST_PATH];
    uint8_t table[] = "abcde";
    TokenFile file = { .tokenizer = 2, .table = table, .table_bytes = TABLE };
    Err err;
    tokens_begin(&file.stream, 5, 0);
    for (uint32_t i = 0; i < TOKENS; i++)
        tokens_add(&file.stream, i % 5);
    ck_assert_msg(token_file_write(join_path(path, folder, name), &file, &err), "%s", err.text);
    tokens_free(&file.stream);
}

static void setup(void)
{
    temp_create(folder);
    write_good("good");
}

static void teardown(void)
{
    temp_remove(folder);
}

static void load(const char *name, uint8_t bytes[BYTES])
{
    char path[TEST_PATH];
    FILE *in = fopen(join_path(path, folder, name), "rb");
    ck_assert_ptr_nonnull(in);
    ck_assert_uint_eq(fread(bytes, 1, BYTES, in), BYTES);
    ck_assert_int_eq(fgetc(in), EOF);
    fclose(in);
}

/* The digest that the format asks for, put into the file. */
static void seal(uint8_t *bytes, size_t table, size_t tokens)
{
    uint64_t digest = XXH3_64bits(bytes, 40);
    digest = XXH3_64bits_withSeed(bytes + 64, table, digest);
    digest = XXH3_64bits_withSeed(bytes + 64 + (table + 7) / 8 * 8, tokens, digest);
    memcpy(bytes + 40, &digest, 8);
}

/* Writes the bytes as "bad" and reads them; "@" in `wanted` stands for the file. */
static void expect_bad(const uint8_t *bytes, size_t n, const char *wanted)
{
    char path[TEST_PATH], text[2 * TEST_PATH];
    TokenFile file;
    Err err;
    size_t blocks = mem_use().blocks;
    write_bytes(join_path(path, folder, "bad"), bytes, n);
    ck_assert_msg(!token_file_read(path, &file, &err), "no error; wanted: %s", wanted);
    token_file_free(&file);
    snprintf(text, sizeof text, "%s%s", path, wanted);
    ck_assert_str_eq(err.text, text);
    ck_assert_uint_eq(mem_use().blocks, blocks);
}

static void put(uint8_t *bytes, size_t at, uint64_t value, size_t width)
{
    memcpy(bytes + at, &value, width);
}

/* docs/formats.md, byte by byte. */
START_TEST(layout)
{
    uint8_t bytes[BYTES], wanted[BYTES] = "lstokens";
    load("good", bytes);
    put(wanted, 8, 1, 4);
    put(wanted, 12, 2, 4);
    put(wanted, 16, TOKENS, 8);
    put(wanted, 24, 5, 4);
    put(wanted, 28, 2, 4);
    put(wanted, 32, TABLE, 8);
    memcpy(wanted + 64, "abcde", TABLE);
    for (size_t i = 0; i < TOKENS; i++)
        put(wanted, BODY + 2 * i, i % 5, 2);
    seal(wanted, TABLE, 2 * TOKENS);
    ck_assert_mem_eq(bytes, wanted, BYTES);
}
END_TEST

static void expect_same(const TokenFile *a, const TokenFile *b)
{
    ck_assert_uint_eq(a->tokenizer, b->tokenizer);
    ck_assert_uint_eq(a->table_bytes, b->table_bytes);
    ck_assert(a->table_bytes == 0 || memcmp(a->table, b->table, a->table_bytes) == 0);
    ck_assert_uint_eq(a->stream.vocabulary, b->stream.vocabulary);
    ck_assert_uint_eq(a->stream.count, b->stream.count);
    for (size_t i = 0; i < a->stream.count; i++)
        ck_assert_uint_eq(token_at(&a->stream, i), token_at(&b->stream, i));
}

START_TEST(round_trip)
{
    static const uint32_t vocabularies[] = { 1, 256, 65536, 65537, TOKENS_MAX_VOCABULARY };
    char path[TEST_PATH];
    uint8_t table[] = "0123456789abcdef";
    Err err;
    for (size_t v = 0; v < 5; v++)
        for (size_t n = 0; n < 17; n++) {
            TokenFile file = { .tokenizer = v == 1, .table = table, .table_bytes = n }, back;
            tokens_begin(&file.stream, vocabularies[v], 0);
            for (uint32_t i = 0; i <= n; i++)
                tokens_add(&file.stream, i == 0 ? vocabularies[v] - 1 : i % vocabularies[v]);
            join_path(path, folder, "file");
            ck_assert_msg(token_file_write(path, &file, &err), "%s", err.text);
            ck_assert_msg(token_file_read(path, &back, &err), "%s", err.text);
            expect_same(&file, &back);
            tokens_free(&file.stream);
            token_file_free(&back);
        }
}
END_TEST

START_TEST(packed_files)
{
    char path[TEST_PATH], packed_path[TEST_PATH];
    uint8_t bytes[BYTES], packed[2 * BYTES + 1000];
    TokenFile file, back;
    Err err;
    load("good", bytes);
    ck_assert(token_file_read(join_path(path, folder, "good"), &file, &err));
    for (int k = 0; k < 2; k++) {
        size_t n = k ? xz_bytes(packed, bytes, BYTES) : gzip_bytes(packed, bytes, BYTES);
        write_bytes(join_path(packed_path, folder, "packed"), packed, n);
        ck_assert_msg(token_file_read(packed_path, &back, &err), "%s", err.text);
        expect_same(&file, &back);
        token_file_free(&back);
    }
    token_file_free(&file);
}
END_TEST

START_TEST(cannot_write)
{
    char path[TEST_PATH], wanted[2 * TEST_PATH];
    TokenFile file = { 0 };
    Err err;
    tokens_begin(&file.stream, 5, 1);
    tokens_add(&file.stream, 1);
    join_path(path, folder, "none/file");
    snprintf(wanted, sizeof wanted, "%s: cannot write: No such file or directory", path);
    ck_assert(!token_file_write(path, &file, &err));
    ck_assert_str_eq(err.text, wanted);
    tokens_free(&file.stream);
}
END_TEST

START_TEST(cut_off)
{
    uint8_t bytes[BYTES];
    load("good", bytes);
    for (size_t n = 1; n < BYTES; n++) {
        char wanted[128];
        if (n < 64)
            snprintf(wanted, sizeof wanted, ": the file ends inside its header of 64 bytes");
        else if (n < BODY)
            snprintf(wanted, sizeof wanted, ": the file ends inside its table of 5 bytes");
        else
            snprintf(wanted, sizeof wanted,
                     ": 80 bytes expected for 40 tokens of 2 bytes, found %zu", n - BODY);
        expect_bad(bytes, n, wanted);
    }
}
END_TEST

START_TEST(too_long)
{
    uint8_t bytes[BYTES + 3] = { 0 };
    load("good", bytes);
    expect_bad(bytes, BYTES + 3, ": 80 bytes expected for 40 tokens of 2 bytes, found 83");
}
END_TEST

/* One field of the header wrong. */
START_TEST(bad_header)
{
    static const struct {
        size_t at;
        uint64_t value;
        size_t width;
        const char *wanted;
    } cases[] = {
        { 0, 'L', 1, ": not a token file: it does not begin with \"lstokens\"" },
        { 8, 2, 4, ": version 2 of the format, 1 expected" },
        { 12, 4, 4, ": 4 bytes a token, 2 expected for a vocabulary of 5" },
        { 12, 0, 4, ": 0 bytes a token, 2 expected for a vocabulary of 5" },
        { 16, 0, 8, ": 0 tokens, 1 .. 2^48 expected" },
        { 16, UINT64_MAX, 8, ": 18446744073709551615 tokens, 1 .. 2^48 expected" },
        { 16, 41, 8, ": 82 bytes expected for 41 tokens of 2 bytes, found 80" },
        { 16, 39, 8, ": 78 bytes expected for 39 tokens of 2 bytes, found 80" },
        { 16, (uint64_t)1 << 48, 8,
          ": 562949953421312 bytes expected for 281474976710656 tokens of 2 bytes, found 80" },
        { 24, 0, 4, ": vocabulary of 0, 1 .. 16777216 expected" },
        { 24, 16777217, 4, ": vocabulary of 16777217, 1 .. 16777216 expected" },
        { 24, 65537, 4, ": 2 bytes a token, 4 expected for a vocabulary of 65537" },
        { 28, 4, 4, ": tokenizer number 4 is not known" },
        { 32, ((uint64_t)1 << 30) + 1, 8,
          ": a table of 1073741825 bytes, at most 1073741824 expected" },
        { 32, UINT64_MAX, 8,
          ": a table of 18446744073709551615 bytes, at most 1073741824 expected" },
        { 32, (uint64_t)1 << 30, 8, ": the file ends inside its table of 1073741824 bytes" },
        { 32, 16, 8, ": 80 bytes expected for 40 tokens of 2 bytes, found 72" },
        { 48, 1, 1, ": bytes 48 .. 63 are not zero" },
        { 63, 1, 1, ": bytes 48 .. 63 are not zero" },
        { 69, 1, 1, ": the bytes behind the table are not zero" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t bytes[BYTES];
        load("good", bytes);
        put(bytes, cases[i].at, cases[i].value, cases[i].width);
        expect_bad(bytes, BYTES, cases[i].wanted);
    }
}
END_TEST

START_TEST(token_out_of_range)
{
    uint8_t bytes[BYTES];
    load("good", bytes);
    put(bytes, BODY + 2 * 17, 5, 2);
    seal(bytes, TABLE, 2 * TOKENS);
    expect_bad(bytes, BYTES, ": token 5 at index 17, 0 .. 4 expected");
}
END_TEST

/* Whatever bit is flipped, the file is refused. */
START_TEST(flipped_bits)
{
    uint8_t bytes[BYTES];
    char path[TEST_PATH];
    load("good", bytes);
    for (size_t bit = 0; bit < 8 * BYTES; bit++) {
        TokenFile file;
        Err err;
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        write_bytes(join_path(path, folder, "bad"), bytes, BYTES);
        ck_assert(!token_file_read(path, &file, &err));
        token_file_free(&file);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    bytes[BODY] ^= 1;
    write_bytes(join_path(path, folder, "bad"), bytes, BYTES);
    TokenFile file;
    Err err;
    ck_assert(!token_file_read(path, &file, &err));
    ck_assert_ptr_nonnull(strstr(err.text, ": damaged: its digest is "));
    token_file_free(&file);
}
END_TEST

/* ---- the data set ---- */

static void expect_message(const char *options, const char *wanted)
{
    char yaml[4 * TEST_PATH] = "", text[4 * TEST_PATH] = "";
    const char *sources[2] = { options, wanted };
    char *outs[2] = { yaml, text };
    for (int k = 0; k < 2; k++)
        for (const char *c = sources[k]; *c; c++) {
            size_t used = strlen(outs[k]);
            snprintf(outs[k] + used, sizeof yaml - used, *c == '@' ? "%s" : "%.1s",
                     *c == '@' ? folder : c);
        }
    Fixture f;
    size_t blocks = mem_use().blocks;
    ck_assert_msg(!fixture_open(&f, yaml, 1, 4, 1), "no error; wanted: %s", text);
    ck_assert_str_eq(f.err.text, text);
    fixture_close(&f);
    ck_assert_uint_eq(mem_use().blocks, blocks);
}

START_TEST(data_set)
{
    char yaml[4 * TEST_PATH];
    Fixture f;
    write_good("other");
    snprintf(yaml, sizeof yaml,
             "data: {type: tokens, train: %s/good, validation: %s/other, length: 8}\n", folder,
             folder);
    fixture_must(&f, yaml, 1, 4, 1);
    ck_assert_int_eq(f.loader.train.count, 4);
    ck_assert_int_eq(f.loader.test.count, 5);
    ck_assert_int_eq(f.loader.train.classes, 5);
    const Batch *batch = loader_lane(&f.loader, 0, 0);
    for (int i = 0; i < 4 * 8; i++)
        ck_assert_int_eq(batch->labels[i], (batch->tokens[i] + 1) % 5);
    fixture_close(&f);
}
END_TEST

START_TEST(bare_files)
{
    static const int widths[] = { 2, 4 };
    for (int k = 0; k < 2; k++) {
        uint8_t bytes[1024 + 4 * 20] = { 0 };
        char path[TEST_PATH], yaml[4 * TEST_PATH];
        size_t width = (size_t)widths[k];
        for (size_t i = 0; i < 20; i++)
            put(bytes, 1024 + width * i, i % 7, width);
        write_bytes(join_path(path, folder, "bare"), bytes, 1024 + 20 * width);
        snprintf(yaml, sizeof yaml,
                 "data: {type: tokens, train: %s, validation: %s, length: 3, format: uint%d, "
                 "skip: 1024, vocabulary: 7}\n",
                 path, path, 8 * widths[k]);
        Fixture f;
        fixture_must(&f, yaml, 1, 4, 1);
        ck_assert_uint_eq(f.loader.train.windows.tokens.count, 20);
        ck_assert_uint_eq(token_at(&f.loader.train.windows.tokens, 13), 6);
        fixture_close(&f);
    }
}
END_TEST

START_TEST(bad_data_sets)
{
    char path[TEST_PATH];
    uint8_t bytes[BYTES];
    load("good", bytes);
    put(bytes, 24, 6, 4);
    seal(bytes, TABLE, 2 * TOKENS);
    write_bytes(join_path(path, folder, "six"), bytes, BYTES);
    load("good", bytes);
    bytes[68] = 'f';
    seal(bytes, TABLE, 2 * TOKENS);
    write_bytes(join_path(path, folder, "letters"), bytes, BYTES);
    write_bytes(join_path(path, folder, "odd"), "\1\0\2\0\3", 5);
    expect_message("data: {type: tokens, train: @/good, validation: @/none}\n",
                   "@/none: No such file or directory");
    expect_message("data: {type: tokens, train: @/good, validation: @/six, length: 8}\n",
                   "@/good, @/six: vocabularies of 5 and 6; the same is wanted");
    expect_message("data: {type: tokens, train: @/good, validation: @/letters, length: 8}\n",
                   "@/good, @/letters: made by different tokenizers; the same is wanted");
    expect_message("data: {type: tokens, train: @/good, validation: @/good, length: 40}\n",
                   "@/good: 40 tokens, one sample of length 40 needs 41");
    expect_message("data: {type: tokens, train: @/odd, validation: @/odd, length: 8}\n",
                   "@/odd: the file ends inside its header of 64 bytes");
    expect_message("data: {type: tokens, train: @/odd, validation: @/odd, length: 1, format: "
                   "uint16, vocabulary: 9}\n",
                   "@/odd: 5 bytes of tokens, a multiple of 2 expected");
    expect_message("data: {type: tokens, train: @/odd, validation: @/odd, length: 1, format: "
                   "uint16, vocabulary: 9, skip: 5}\n",
                   "@/odd: 0 bytes of tokens, a multiple of 2 expected");
    expect_message("data: {type: tokens, train: @/odd, validation: @/odd, length: 1, format: "
                   "uint16, vocabulary: 9, skip: 6}\n",
                   "@/odd: 6 bytes to skip, found 5");
    expect_message("data: {type: tokens, train: @/odd, validation: @/odd, length: 1, format: "
                   "uint16, vocabulary: 2, skip: 1}\n",
                   "@/odd: token 512 at index 0, 0 .. 1 expected");
    expect_message("data: {type: tokens, train: a, validation: b, format: uint16}\n",
                   "test.yaml:1:7: data: format: files of bare tokens do not tell the vocabulary, "
                   "give it");
    expect_message("data: {type: tokens, train: a, validation: b, skip: 1}\n",
                   "test.yaml:1:7: data: vocabulary and skip are for format: uint16 or uint32");
}
END_TEST

START_TEST(bad_texts)
{
    char path[TEST_PATH];
    write_text(join_path(path, folder, "text"), "abcabcabcabcabcabcabcabc\n");
    write_text(join_path(path, folder, "more"), "abc\nabd\n");
    write_text(join_path(path, folder, "latin"), "caf\xe9\n");
    write_text(join_path(path, folder, "bpe"), "a b\nab d\nb\n");
    expect_message("data: {type: text, file: @/none}\n", "@/none: No such file or directory");
    expect_message("data: {type: text, file: @/latin}\n",
                   "@/latin: not UTF-8: byte 0xe9 at 3; tokenizer byte takes any file");
    expect_message("data: {type: text, file: @/text, validation_file: @/more, length: 2}\n",
                   "@/more:2:3: character U+0064 is not among the 4 of the training text");
    expect_message("data: {type: text, file: @/text, length: 8}\n",
                   "validation part: 3 tokens, one sample of length 8 needs 9");
    expect_message("data: {type: text, file: @/text, length: 80}\n",
                   "@/text: 22 tokens, one sample of length 80 needs 81");
    expect_message("data: {type: text, file: @/text, tokenizer: gpt2, vocab: @/bpe}\n",
                   "@/bpe: line 3: two tokens with a blank between them expected");
    expect_message("data: {type: text, file: @/text, tokenizer: gpt2, vocab: @/no}\n",
                   "@/no: No such file or directory");
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        layout,    round_trip, packed_files,       cannot_write,
        cut_off,   too_long,   bad_header,         flipped_bits,
        data_set,  bare_files, token_out_of_range, bad_data_sets,
        bad_texts,
    };
    Suite *suite = suite_create("token files");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 0);
    tcase_add_checked_fixture(all, setup, teardown);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tcase_add_test(all, tests[i]);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
