/* Windows of tokens: pure functions of seed, epoch and position, the same for any lanes; every
 * label of the test set once; what masked language models see. */
#include "helpers.h"
#include "lockstep/random.h"
#include "lockstep/windows.h"

#include <math.h>

/* Token i is i, so a token tells where it comes from. */
static Windows count_up(size_t n, int length, bool blocks, int masks)
{
    Windows w = { .length = length, .blocks = blocks, .masks = masks };
    tokens_begin(&w.tokens, (uint32_t)(n < 2 ? 2 : n), n);
    for (size_t i = 0; i < n; i++)
        tokens_add(&w.tokens, (uint32_t)i);
    return w;
}

START_TEST(streams)
{
    TokenStream narrow, wide;
    tokens_begin(&narrow, 65536, 1);
    tokens_begin(&wide, 65537, 1);
    for (uint32_t i = 0; i < 1000; i++) {
        tokens_add(&narrow, 65535 - i);
        tokens_add(&wide, 65536 - i);
    }
    ck_assert_int_eq(tokens_width(&narrow), 2);
    ck_assert_int_eq(tokens_width(&wide), 4);
    for (uint32_t i = 0; i < 1000; i++)
        ck_assert(token_at(&narrow, i) == 65535 - i && token_at(&wide, i) == 65536 - i);
    tokens_free(&narrow);
    tokens_free(&wide);
}
END_TEST

/* Every small size: windows are inside the stream, as many as promised. */
START_TEST(starts_are_inside)
{
    for (int kind = 0; kind < 4; kind++)
        for (int T = 1; T <= 5; T++)
            for (size_t n = 1; n < 30; n++) {
                Windows w = count_up(n, T, kind & 1, kind & 2 ? 1 : 0);
                int64_t N = (int64_t)n, span = windows_span(&w), count = windows_count(&w);
                ck_assert_int_eq(span, kind & 2 ? T : T + 1);
                if (kind & 1)
                    ck_assert_int_eq(count, N < span ? 0 : N < span + T ? 1 : (N - span + 1) / T);
                else
                    ck_assert_int_eq(count, (N - (span - T)) / T);
                for (int64_t epoch = 0; epoch < 4; epoch++)
                    for (int64_t i = 0; i < count; i++) {
                        int64_t start = windows_start(&w, 3, epoch, i, true);
                        int64_t plain = windows_start(&w, 3, epoch, i, false);
                        ck_assert(start >= 0 && start + span <= N);
                        ck_assert(plain == i * T && plain + span <= N);
                    }
                tokens_free(&w.tokens);
            }
}
END_TEST

START_TEST(next_tokens)
{
    Windows w = count_up(100, 7, false, 0);
    int32_t tokens[7], labels[7];
    windows_fill(&w, 1, 0, 92, tokens, labels);
    for (int i = 0; i < 7; i++)
        ck_assert(tokens[i] == 92 + i && labels[i] == 93 + i);
    tokens_free(&w.tokens);
}
END_TEST

/* All starts come up about equally often, other ones with another seed, epoch or position. */
START_TEST(random_windows)
{
    enum { N = 57, T = 8, STARTS = N - T, EPOCHS = 2000 };
    Windows w = count_up(N, T, false, 0);
    int count[STARTS] = { 0 }, same_epoch = 0, same_seed = 0;
    ck_assert_int_eq(windows_count(&w), 7);
    for (int64_t epoch = 0; epoch < EPOCHS; epoch++)
        for (int64_t i = 0; i < 7; i++) {
            int64_t start = windows_start(&w, 9, epoch, i, true);
            ck_assert_int_eq(start, windows_start(&w, 9, epoch, i, true));
            count[start]++;
            same_epoch += start == windows_start(&w, 9, epoch + 1, i, true);
            same_seed += start == windows_start(&w, 10, epoch, i, true);
        }
    double expected = 7.0 * EPOCHS / STARTS, square = 0;
    for (int i = 0; i < STARTS; i++)
        square += (count[i] - expected) * (count[i] - expected) / expected;
    ck_assert_double_lt(square, 90); /* chi-square, 48 degrees of freedom: p = 0.0002 */
    ck_assert(fabs(same_epoch - expected) < 6 * sqrt(expected));
    ck_assert(fabs(same_seed - expected) < 6 * sqrt(expected));
    tokens_free(&w.tokens);
}
END_TEST

/* Blocks of an epoch lie side by side, each once, in an order and from a token that change. */
START_TEST(blocks)
{
    enum { N = 107, T = 8, COUNT = 12 };
    Windows w = count_up(N, T, true, 0);
    int phases[T] = { 0 }, in_order = 0;
    ck_assert_int_eq(windows_count(&w), COUNT);
    for (int64_t epoch = 0; epoch < 200; epoch++) {
        bool seen[COUNT] = { false }, sorted = true;
        int64_t phase = windows_start(&w, 2, epoch, 0, true) % T, before = -1;
        for (int64_t i = 0; i < COUNT; i++) {
            int64_t start = windows_start(&w, 2, epoch, i, true);
            ck_assert(start % T == phase && !seen[start / T]);
            seen[start / T] = true;
            sorted = sorted && start > before;
            before = start;
        }
        phases[phase]++;
        in_order += sorted;
    }
    for (int i = 0; i < T; i++)
        ck_assert_int_gt(phases[i], 5);
    ck_assert_int_eq(in_order, 0);
    tokens_free(&w.tokens);
}
END_TEST

/* Each position that has a next token is labelled once, in order, with that token. */
START_TEST(cover_labels_once)
{
    for (int T = 1; T <= 6; T++)
        for (size_t n = (size_t)T + 1; n < 40; n++) {
            Windows w = count_up(n, T, false, 0);
            int32_t tokens[6], labels[6], next = 1;
            int64_t count = windows_cover_count(&w);
            ck_assert_int_eq(count, ((int64_t)n - 1 + T - 1) / T);
            for (int64_t c = 0; c < count; c++) {
                windows_cover(&w, 1, c, tokens, labels);
                for (int i = 0; i < T; i++) {
                    ck_assert(i == 0 || tokens[i] == tokens[i - 1] + 1);
                    if (labels[i] == LABEL_IGNORED)
                        continue;
                    ck_assert_int_eq(labels[i], tokens[i] + 1);
                    ck_assert_int_eq(labels[i], next++);
                }
            }
            ck_assert_int_eq(next, (int32_t)n);
            tokens_free(&w.tokens);
        }
    Windows w = count_up(6, 6, false, 0);
    ck_assert_int_eq(windows_cover_count(&w), 0);
    tokens_free(&w.tokens);
}
END_TEST

/* Masked: no position twice, all of them could be drawn, the same ones each time. */
START_TEST(cover_masked)
{
    enum { T = 8, N = 43, MASKS = 3 };
    Windows w = count_up(N, T, false, MASKS);
    int32_t tokens[T], labels[T], again[T], other[T];
    int drawn[N] = { 0 }, differ = 0;
    ck_assert_int_eq(windows_cover_count(&w), 6);
    for (uint64_t seed = 0; seed < 200; seed++) {
        int hit[N] = { 0 };
        for (int64_t c = 0; c < 6; c++) {
            windows_cover(&w, seed, c, tokens, labels);
            windows_cover(&w, seed, c, tokens, again);
            ck_assert_mem_eq(labels, again, sizeof labels);
            windows_cover(&w, seed + 1, c, tokens, other);
            differ += memcmp(labels, other, sizeof labels) != 0;
            int labelled = 0;
            for (int i = 0; i < T; i++)
                if (labels[i] != LABEL_IGNORED) {
                    ck_assert_int_eq(hit[labels[i]]++, 0);
                    drawn[labels[i]]++;
                    labelled++;
                }
            ck_assert(c == 5 ? labelled <= MASKS : labelled == MASKS);
        }
    }
    ck_assert_int_gt(differ, 1000); /* of 1,200; 1 in 56 agrees by chance */
    for (int i = 0; i < N; i++)
        ck_assert(drawn[i] > 40 && drawn[i] < 120); /* 75 expected, deviation 7 */
    tokens_free(&w.tokens);
}
END_TEST

/* Exactly M labels a window; 80 % masks, 10 % random tokens, 10 % themselves; nothing else
 * changes. */
START_TEST(masks)
{
    enum { T = 64, MASKS = 10, N = 1000, ROUNDS = 4000 };
    Windows w = count_up(N, T, false, MASKS);
    int32_t tokens[T], labels[T];
    double shown[3] = { 0 }, at[T] = { 0 }, low = 0;
    for (int64_t epoch = 0; epoch < ROUNDS; epoch++) {
        int64_t start = windows_start(&w, 4, epoch, 0, true);
        windows_fill(&w, 4, epoch, start, tokens, labels);
        int count = 0;
        for (int i = 0; i < T; i++) {
            if (labels[i] == LABEL_IGNORED) {
                ck_assert_int_eq(tokens[i], start + i);
                continue;
            }
            ck_assert_int_eq(labels[i], start + i);
            ck_assert(tokens[i] >= 0 && tokens[i] <= N);
            int kind = tokens[i] == N ? 0 : tokens[i] == labels[i] ? 2 : 1;
            shown[kind]++;
            low += kind == 1 && tokens[i] < N / 2;
            at[i]++;
            count++;
        }
        ck_assert_int_eq(count, MASKS);
    }
    double all = (double)MASKS * ROUNDS; /* 40,000: deviations 80, 60, 60 */
    ck_assert(fabs(shown[0] - 0.8 * all) < 400 && fabs(shown[1] - 0.1 * all) < 300);
    ck_assert(fabs(shown[2] - 0.1 * all) < 300);
    ck_assert(fabs(low - shown[1] / 2) < 160);
    for (int i = 0; i < T; i++) /* 625 each, deviation 23 */
        ck_assert(fabs(at[i] - all / T) < 120);
    tokens_free(&w.tokens);
}
END_TEST

START_TEST(masks_are_a_function)
{
    Windows w = count_up(500, 32, false, 5);
    int32_t tokens[3][32], labels[3][32];
    windows_fill(&w, 4, 7, 100, tokens[0], labels[0]);
    windows_fill(&w, 4, 7, 100, tokens[1], labels[1]);
    ck_assert_mem_eq(tokens[0], tokens[1], sizeof tokens[0]);
    ck_assert_mem_eq(labels[0], labels[1], sizeof labels[0]);
    static const int64_t others[3][3] = { { 5, 7, 100 }, { 4, 8, 100 }, { 4, 7, 101 } };
    for (int i = 0; i < 3; i++) {
        windows_fill(&w, (uint64_t)others[i][0], others[i][1], others[i][2], tokens[2], labels[2]);
        bool same = true;
        for (int k = 0; k < 32; k++)
            same = same && (labels[0][k] == LABEL_IGNORED) == (labels[2][k] == LABEL_IGNORED);
        ck_assert(!same);
    }
    tokens_free(&w.tokens);
}
END_TEST

/* ---- through the loader ---- */

static char folder[TEST_PATH];
enum { LETTERS = 1000 };

/* 1,000 letters of a random text. */
static void setup(void)
{
    char path[TEST_PATH], text[LETTERS + 1] = "";
    RandomKey key = random_key(1, RANDOM_TEST, 0, 0);
    temp_create(folder);
    for (uint64_t i = 0; i < LETTERS; i++)
        text[i] = (char)('a' + random_below(key, i, 26));
    write_text(join_path(path, folder, "text"), text);
}

static void teardown(void)
{
    temp_remove(folder);
}

static void open_text(Fixture *f, const char *more, int batch, int lanes)
{
    char yaml[2 * TEST_PATH];
    snprintf(yaml, sizeof yaml, "data: {type: text, file: %s/text%s}\n", folder, more);
    fixture_must(f, yaml, 11, batch, lanes);
}

/* The whole batch of a step, lane after lane; returns its samples. */
static int batch_of(Loader *loader, int64_t step, int32_t *tokens, int32_t *labels)
{
    int count = 0;
    size_t T = loader->sample_size;
    for (int lane = 0; lane < loader->lanes->count; lane++) {
        const Batch *batch = loader_lane(loader, step, lane);
        ck_assert_ptr_null(batch->x);
        ck_assert_ptr_null(batch->targets);
        memcpy(tokens + (size_t)count * T, batch->tokens, (size_t)batch->count * T * 4);
        memcpy(labels + (size_t)count * T, batch->labels, (size_t)batch->count * T * 4);
        count += batch->count;
    }
    return count;
}

/* Lanes do not change a sample, in the short batch at the end of an epoch neither. */
static void same_for_any_lanes(const char *more, int targets)
{
    enum { BATCH = 16, T = 8 };
    int32_t tokens[2][BATCH * T], labels[2][BATCH * T];
    Fixture one;
    open_text(&one, more, BATCH, 1);
    int64_t steps = one.loader.steps_per_epoch;
    for (int lanes = 2; lanes <= BATCH; lanes *= 2) {
        Fixture many;
        open_text(&many, more, BATCH, lanes);
        ck_assert_int_eq(many.loader.steps_per_epoch, steps);
        for (int64_t step = 0; step < 2 * steps; step++) {
            memset(tokens, 0, sizeof tokens);
            memset(labels, 0, sizeof labels);
            int count = batch_of(&one.loader, step, tokens[0], labels[0]);
            ck_assert_int_eq(count, batch_of(&many.loader, step, tokens[1], labels[1]));
            ck_assert_int_eq(count, loader_batch_size(&many.loader, step));
            ck_assert_mem_eq(tokens[0], tokens[1], sizeof tokens[0]);
            ck_assert_mem_eq(labels[0], labels[1], sizeof labels[0]);
            int labelled = 0;
            for (int i = 0; i < count * T; i++)
                labelled += labels[0][i] != LABEL_IGNORED;
            ck_assert_int_eq(labelled, loader_targets(&many.loader, step));
            ck_assert_int_eq(labelled, count * targets);
        }
        fixture_close(&many);
    }
    fixture_close(&one);
}

START_TEST(lanes)
{
    same_for_any_lanes(", length: 8", 8);
    same_for_any_lanes(", length: 8, windows: blocks", 8);
    same_for_any_lanes(", length: 8, windows: blocks, shuffle: false", 8);
    same_for_any_lanes(", length: 8, objective: masked, mask_fraction: 0.3", 2);
    same_for_any_lanes(", length: 8, objective: masked, windows: blocks, last_batch: drop", 1);
}
END_TEST

START_TEST(text_set)
{
    Fixture f;
    char text[128];
    open_text(&f, ", length: 32", 4, 2);
    const Dataset *train = &f.loader.train, *test = &f.loader.test;
    ck_assert_int_eq(train->count, 899 / 32);
    ck_assert_int_eq(test->count, (99 + 31) / 32);
    ck_assert_uint_eq(train->windows.tokens.count, 900);
    ck_assert_int_eq(train->classes, 26);
    ck_assert(train->per_position && test->per_position);
    ck_assert(train->shape.ndim == 1 && train->shape.dim[0] == 32);
    ck_assert_int_eq(train->shape.vocabulary, 26);
    ck_assert_uint_eq(dataset_bytes(train), 1800);
    ck_assert(train->digest != test->digest);
    ck_assert_str_eq(loader_text(&f.loader, text, sizeof text),
                     "random windows of 32 tokens, each predicts the next");
    fixture_close(&f);
    open_text(&f, ", length: 32, objective: masked, tokenizer: byte", 4, 2);
    ck_assert_int_eq(f.loader.train.shape.vocabulary, 257);
    ck_assert_int_eq(f.loader.train.classes, 257);
    ck_assert_str_eq(loader_text(&f.loader, text, sizeof text),
                     "random windows of 32 tokens, 5 of them masked");
    fixture_close(&f);
}
END_TEST

/* The labels of all chunks are the validation part but its first token, in order. */
START_TEST(test_set)
{
    Fixture f;
    open_text(&f, ", length: 16", 8, 2);
    const TokenStream *stream = &f.loader.test.windows.tokens;
    size_t next = 1;
    for (int64_t c = 0; c < loader_chunks(&f.loader); c++) {
        const Batch *batch = loader_chunk(&f.loader, c);
        for (int i = 0; i < batch->count * 16; i++)
            if (batch->labels[i] != LABEL_IGNORED)
                ck_assert_int_eq(batch->labels[i], (int32_t)token_at(stream, next++));
    }
    ck_assert_uint_eq(next, 100);
    fixture_close(&f);
}
END_TEST

START_TEST(limits)
{
    Fixture f;
    open_text(&f, ", length: 16, train_limit: 5, test_limit: 2", 4, 2);
    ck_assert_int_eq(f.loader.train.count, 5);
    ck_assert_uint_eq(f.loader.train.windows.tokens.count, 81);
    ck_assert_int_eq(f.loader.test.count, 2);
    ck_assert_uint_eq(f.loader.test.windows.tokens.count, 33);
    fixture_close(&f);
    open_text(&f, ", length: 16, train_limit: 5, windows: blocks, objective: masked", 4, 2);
    ck_assert_int_eq(f.loader.train.count, 5);
    ck_assert_uint_eq(f.loader.train.windows.tokens.count, 95);
    fixture_close(&f);
}
END_TEST

static void expect_error(const char *more, const char *wanted)
{
    Fixture f;
    char yaml[2 * TEST_PATH];
    size_t blocks_before = mem_use().blocks;
    snprintf(yaml, sizeof yaml, "data: {type: text, length: 8, file: %s/text%s}\n", folder, more);
    ck_assert(!fixture_open(&f, yaml, 1, 4, 2));
    ck_assert(!f.loader.data_error);
    const char *message = strstr(f.err.text, "data"); /* behind line and column */
    ck_assert_str_eq(message, wanted);
    fixture_close(&f);
    ck_assert_uint_eq(mem_use().blocks, blocks_before);
}

START_TEST(bad_options)
{
    expect_error(", mean: 0.1, std: 1", "data: mean and std are given, but data set text has "
                                        "tokens, not numbers");
    expect_error(", augment: [flip]",
                 "data.augment[0].flip: works on images (C, H, W), data set text has tokens");
    expect_error(", shuffle: false",
                 "data: shuffle: false wants windows: blocks; random windows have no order");
    expect_error(", objective: masked, mask_fraction: 0.05",
                 "data: mask_fraction: 0.05 of 8 positions is none, at least one is wanted");
    expect_error(", tokenizer: gpt2", "data: tokenizer: gpt2 wants vocab, the name of a vocab.bpe");
    expect_error(", vocab: x", "data: vocab is for tokenizer: gpt2");
    expect_error(", validation: 0", "data: validation: 0 leaves no text to validate on; "
                                    "validation_file names another");
    expect_error(", tokenizer: words",
                 "data.tokenizer: unknown choice \"words\" (choices: char, byte, gpt2)");
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        streams,      starts_are_inside, next_tokens, random_windows,       blocks,
        cover_masked, cover_labels_once, masks,       masks_are_a_function, lanes,
        text_set,     test_set,          limits,      bad_options,
    };
    Suite *suite = suite_create("windows");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 0);
    tcase_add_checked_fixture(all, setup, teardown);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tcase_add_test(all, tests[i]);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
