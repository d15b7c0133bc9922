/* The config tree: places, aliases, limits, overrides, environment, option tables, printing. */
#include "lockstep/config.h"
#include "lockstep/memory.h"
#include "lockstep/text.h"
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

static Config parse(const char *text)
{
    Config config;
    Err err;
    ck_assert_msg(config_parse(&config, "a.yaml", text, strlen(text), &err), "%s", err.text);
    return config;
}

/* "" if the text parses, else the message. Borrowed until the next call. */
static const char *parse_error(const char *text, size_t length)
{
    static Err err;
    Config config;
    bool ok = config_parse(&config, "a.yaml", text, length, &err);
    config_free(&config);
    return ok ? "" : err.text;
}

static void check_error(const char *text, const char *wanted)
{
    ck_assert_str_eq(parse_error(text, strlen(text)), wanted);
}

static char *printed(const Config *config, bool origins)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    config_print(config, out, origins);
    fclose(out);
    return text;
}

static bool same_tree(const ConfigNode *a, const ConfigNode *b)
{
    bool same = a->kind == b->kind && (!a->quoted || b->quoted) && a->count == b->count &&
                !a->key == !b->key && !a->text == !b->text &&
                (!a->key || strcmp(a->key, b->key) == 0) &&
                (!a->text || strcmp(a->text, b->text) == 0);
    for (size_t i = 0; same && i < a->count; i++)
        same = same_tree(a->children[i], b->children[i]) && a->children[i]->parent == a;
    return same;
}

/* ---- parsing ---- */

static void check_scalar(const ConfigNode *map, const char *key, const char *text, int line,
                         int column)
{
    const ConfigNode *node = config_get(map, key);
    ck_assert_ptr_nonnull(node);
    ck_assert_int_eq(node->kind, CONFIG_SCALAR);
    ck_assert_str_eq(node->text, text);
    ck_assert_int_eq(node->line, line);
    ck_assert_int_eq(node->column, column);
    ck_assert_int_eq(node->origin, ORIGIN_FILE);
}

START_TEST(test_tree)
{
    Config config = parse("# a comment\n"
                          "name: \"two words\"\n"
                          "train: {batch: 128,  lanes: auto}\n"
                          "model:\n"
                          "  layers:\n"
                          "    - dense: 10\n"
                          "    - relu\n"
                          "empty:\n"
                          "text: >\n"
                          "  folded\n"
                          "  lines\n");
    char path[128], place[128];
    const ConfigNode *root = config.root;
    check_scalar(root, "name", "two words", 2, 7);
    ck_assert(config_get(root, "name")->quoted);
    check_scalar(config_get(root, "train"), "batch", "128", 3, 16);
    check_scalar(config_get(root, "train"), "lanes", "auto", 3, 29);
    ck_assert_int_eq(config_get(root, "empty")->kind, CONFIG_NULL);
    ck_assert_str_eq(config_get(root, "text")->text, "folded lines\n");
    const ConfigNode *layers = config_get(config_get(root, "model"), "layers");
    ck_assert_int_eq(layers->kind, CONFIG_LIST);
    ck_assert_uint_eq(layers->count, 2);
    check_scalar(layers->children[0], "dense", "10", 6, 14);
    ck_assert_int_eq(layers->children[0]->children[0]->key_column, 7);
    ck_assert_str_eq(config_path(layers->children[0]->children[0], path, sizeof path),
                     "model.layers[0].dense");
    ck_assert_str_eq(config_place(&config, layers->children[1], place, sizeof place), "a.yaml:7:7");
    ck_assert_ptr_null(config_get(root, "nothing"));
    ck_assert_ptr_null(config_get(NULL, "nothing"));
    config_free(&config);
}
END_TEST

START_TEST(test_aliases)
{
    Config config = parse("a: &block {x: [1, 2], y: &deep z}\nb: *block\nc: [*deep, *block]\n");
    const ConfigNode *b = config_get(config.root, "b");
    const ConfigNode *c = config_get(config.root, "c");
    ck_assert_int_eq(b->line, 2);
    ck_assert_int_eq(b->column, 4);
    ck_assert_str_eq(config_get(b, "y")->text, "z");
    ck_assert_str_eq(c->children[0]->text, "z");
    ck_assert_uint_eq(config_get(c->children[1], "x")->count, 2);
    ck_assert_ptr_ne(config_get(b, "x"), config_get(c->children[1], "x"));
    config_free(&config);
}
END_TEST

/* Text that repeats `piece`, between `start` and `end`. Freed by the caller. */
static char *repeated(const char *start, const char *piece, size_t times, const char *end)
{
    size_t length = strlen(piece);
    char *text = malloc(strlen(start) + times * length + strlen(end) + 1);
    char *at = stpcpy(text, start);
    for (size_t i = 0; i < times; i++)
        at = stpcpy(at, piece);
    stpcpy(at, end);
    return text;
}

static void check_limit(char *text, const char *wanted)
{
    const char *found = parse_error(text, strlen(text));
    if (*wanted)
        ck_assert_ptr_nonnull(strstr(found, wanted));
    else
        ck_assert_str_eq(found, "");
    free(text);
    ck_assert_uint_lt(mem_use().bytes, 1 << 20);
}

START_TEST(test_limits)
{
    size_t before = mem_use().peak_bytes;
    check_limit(repeated("a: ", "[", 99, ""), "not YAML");
    check_limit(repeated("a: ", "[", 100, ""), "nested more than 100 levels deep");
    check_limit(repeated("a: ", "[", 200000, ""), "nested more than 100 levels deep");
    check_limit(repeated("a:\n", "- ", 200000, ""), "nested more than 100 levels deep");
    check_limit(repeated("", "? ", 200000, ""), "must be plain text");
    check_limit(repeated("a: [", "1,", 19000, "]"), "");
    check_limit(repeated("a: [", "1,", 21000, "]"), "more than 20000 values");
    check_limit(repeated("a: &x [", "1,", 9000, "]\nb: [*x, *x, *x, *x]"),
                "more than 20000 values");
    check_limit(repeated("a: &x ", "long text ", 90000, "\nb: [*x, *x, *x, *x]"), "2 MiB of text");
    check_limit(repeated("a: ", "long text ", 105000, ""), "1050003 bytes; a config has at most");
    ck_assert_uint_lt(mem_use().peak_bytes, before + (64 << 20));
}
END_TEST

START_TEST(test_bytes)
{
    ck_assert_str_eq(parse_error("a: \0b", 5), "a.yaml:1:4: control character 0x00");
    ck_assert_str_eq(parse_error("a: b\nc: \xff", 9), "a.yaml:2:4: byte 0xff is not UTF-8 text");
    ck_assert_str_eq(parse_error("a: \"\\0\"", 7),
                     "a.yaml:1:4: a string with a NUL character or broken UTF-8");
    ck_assert_str_eq(parse_error("\xef\xbb\xbf"
                                 "a: b\r\nc: d\r\n",
                                 15),
                     "");
    check_error("a: 'it''s'", "");
    check_error("a: 'it'''", "");
    check_error("a: 'b''''c'", "a.yaml:1:4: doubled quotes in a row in '...'; write it as \"...\"");
    check_error("'b''''c': 1", "a.yaml:1:1: doubled quotes in a row in '...'; write it as \"...\"");
    ck_assert_str_eq(parse_error("", 0),
                     "a.yaml:1:1: a map of options is wanted (train: ...), found nothing");
}
END_TEST

START_TEST(test_file)
{
    char folder[TEST_PATH], path[TEST_PATH], wanted[2 * TEST_PATH], *text = NULL;
    size_t length = 0;
    Err err;
    temp_create(folder);
    write_text(join_path(path, folder, "a.yaml"), "seed: 1\n");
    ck_assert(config_file(path, &text, &length, &err));
    ck_assert_uint_eq(length, 8);
    ck_assert_str_eq(text, "seed: 1\n");
    mem_free(text);
    ck_assert(!config_file(folder, &text, &length, &err));
    snprintf(wanted, sizeof wanted, "%s: a folder; a config file is wanted", folder);
    ck_assert_str_eq(err.text, wanted);
    ck_assert(!config_file("/nonexistent.yaml", &text, &length, &err));
    ck_assert_str_eq(err.text, "/nonexistent.yaml: cannot be read: No such file or directory");
    char *large = repeated("", "a", CONFIG_MAX_BYTES + 1, "");
    write_text(path, large);
    free(large);
    ck_assert(!config_file(path, &text, &length, &err));
    ck_assert_ptr_nonnull(strstr(err.text, "more than 1048576 bytes"));
    temp_remove(folder);
}
END_TEST

/* ---- overrides ---- */

static const char *override_error(const char *text, const char *assignment)
{
    static Err err;
    Config config = parse(text);
    bool ok = config_override(&config, assignment, &err);
    config_free(&config);
    return ok ? "" : err.text;
}

START_TEST(test_override)
{
    Config config = parse("optimizer: {lr: 0.1}\nmodel: {layers: [{dense: {units: 10}}, relu]}\n");
    char path[128];
    Err err;
    ck_assert(config_override(&config, "optimizer.lr=0.5", &err));
    ck_assert(config_override(&config, "model.layers[0].dense.units=20", &err));
    ck_assert(config_override(&config, "model.layers[1]={gelu: {exact: true}}", &err));
    ck_assert(config_override(&config, "data.mean=[0.1, 0.2]", &err));
    ck_assert(config_override(&config, "data.augment=[flip]", &err));
    ck_assert(config_override(&config, "data.augment[0].flip.p=0.1", &err));
    ck_assert(config_override(&config, "name=a=b", &err));
    ck_assert(config_override(&config, "log.every=", &err));
    const ConfigNode *lr = config_get(config_get(config.root, "optimizer"), "lr");
    ck_assert_str_eq(lr->text, "0.5");
    ck_assert_int_eq(lr->origin, ORIGIN_COMMAND);
    const ConfigNode *layers = config_get(config_get(config.root, "model"), "layers");
    ck_assert_str_eq(config_get(config_get(layers->children[0], "dense"), "units")->text, "20");
    const ConfigNode *exact = config_get(config_get(layers->children[1], "gelu"), "exact");
    ck_assert_str_eq(config_path(exact, path, sizeof path), "model.layers[1].gelu.exact");
    ck_assert_str_eq(config_place(&config, exact, path, sizeof path),
                     "command line: model.layers[1]={gelu: {exact: true}}");
    const ConfigNode *mean = config_get(config_get(config.root, "data"), "mean");
    ck_assert_str_eq(mean->children[1]->text, "0.2");
    const ConfigNode *augment = config_get(config_get(config.root, "data"), "augment");
    ck_assert_str_eq(config_get(config_get(augment->children[0], "flip"), "p")->text, "0.1");
    ck_assert_str_eq(config_get(config.root, "name")->text, "a=b");
    ck_assert_int_eq(config_get(config_get(config.root, "log"), "every")->kind, CONFIG_NULL);
    config_free(&config);
}
END_TEST

START_TEST(test_override_errors)
{
    static const struct {
        const char *assignment, *message;
    } cases[] = {
        { "lr", "command line: lr: an option is written key=value, like optimizer.lr=0.1" },
        { "=1", "command line: =1: an option is written key=value, like optimizer.lr=0.1" },
        { "a..b=1", "command line: a..b=1: a path like \"optimizer.lr\" or "
                    "\"model.layers[2].dense.units\" is wanted" },
        { "a.=1", "command line: a.=1: a path like \"optimizer.lr\" or "
                  "\"model.layers[2].dense.units\" is wanted" },
        { "list[0]x=1", "command line: list[0]x=1: a path like \"optimizer.lr\" or "
                        "\"model.layers[2].dense.units\" is wanted" },
        { "list[2]=1", "command line: list[2]=1: index 2 is out of range, list has 2 entries "
                       "(counted from 0)" },
        { "list[99999999999999999999]=1",
          "command line: list[99999999999999999999]=1: index 18446744073709551615 is out of range, "
          "list has 2 entries (counted from 0)" },
        { "list[-1]=1", "command line: list[-1]=1: a list index like \"[2]\" is wanted" },
        { "list[0=1", "command line: list[0=1: a list index like \"[2]\" is wanted" },
        { "list.x=1", "command line: list.x=1: list is a list of 2; its entries are written [0], "
                      "[1] and so on" },
        { "list[0].x=1",
          "command line: list[0].x=1: list[0] is \"a\"; it has no options of that name" },
        { "map[0]=1", "command line: map[0]=1: map is not a list" },
        { "map.a=[1", "command line: map.a=[1: the value is not YAML: flow sequence without a "
                      "closing bracket" },
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        ck_assert_str_eq(override_error("list: [a, b]\nmap: {a: 1}\n", cases[i].assignment),
                         cases[i].message);
    char *endless = repeated("a.", "b", 5000, "=1");
    ck_assert_uint_lt(strlen(override_error("a: 1", endless)), 300);
    free(endless);
}
END_TEST

/* "optimizer: sgd" plus optimizer.lr, and "dense: 10" plus dense.bias. */
START_TEST(test_override_below_scalar)
{
    Config config = parse("optimizer: sgd\nlayers: [{dense: 10}, {dense: 11}]\n");
    ck_assert(config_override(&config, "optimizer.lr=0.5", NULL));
    ck_assert(config_override(&config, "layers[0].dense.bias=false", NULL));
    ck_assert(config_override(&config, "layers[1].dense.units=12", NULL));
    const ConfigNode *optimizer = config_get(config.root, "optimizer");
    ck_assert_str_eq(config_get(optimizer, "type")->text, "sgd");
    const ConfigNode *layers = config_get(config.root, "layers");
    for (size_t i = 0; i < 2; i++) {
        ConfigNode *dense = config_get(layers->children[i], "dense");
        config_as_map(dense, "units");
        ck_assert_str_eq(config_get(dense, "units")->text, i == 0 ? "10" : "12");
        ck_assert_uint_eq(dense->count, 2 - i);
    }
    config_free(&config);
}
END_TEST

/* ---- environment ---- */

static const char *const known[] = { "seed", "optimizer.lr", "optimizer.weight_decay" };

START_TEST(test_environment)
{
    char *environment[] = { (char[]){ "PATH=/bin" }, (char[]){ "LOCKSTEP_OPTIMIZER_LR=0.5" },
                            (char[]){ "LOCKSTEP_OPTIMIZER_WEIGHT_DECAY=1e-4" },
                            (char[]){ "LOCKSTEP_TESTS=1" }, NULL };
    static const char *const ignored[] = { "LOCKSTEP_TESTS", NULL };
    Config config = parse("optimizer: {lr: 0.1, weight_decay: 0}\n");
    char place[128];
    ck_assert(config_environment(&config, environment, known, COUNT(known), ignored, NULL));
    const ConfigNode *lr = config_get(config_get(config.root, "optimizer"), "lr");
    ck_assert_str_eq(lr->text, "0.5");
    ck_assert_int_eq(lr->origin, ORIGIN_ENV);
    ck_assert_str_eq(config_place(&config, lr, place, sizeof place),
                     "environment: LOCKSTEP_OPTIMIZER_LR");
    config_free(&config);
}
END_TEST

START_TEST(test_environment_errors)
{
    char *environment[] = { (char[]){ "LOCKSTEP_OPTIMISER_LR=0.5" }, NULL };
    Config config = parse("seed: 1\n");
    Err err;
    ck_assert(!config_environment(&config, environment, known, COUNT(known), NULL, &err));
    ck_assert_str_eq(err.text, "environment: LOCKSTEP_OPTIMISER_LR: unknown variable; did you mean "
                               "LOCKSTEP_OPTIMIZER_LR?");
    environment[0] = (char[]){ "LOCKSTEP_Q" };
    ck_assert(!config_environment(&config, environment, known, COUNT(known), NULL, &err));
    ck_assert_str_eq(err.text, "environment: LOCKSTEP_Q: unknown variable; LOCKSTEP_OPTIMIZER_LR "
                               "stands for optimizer.lr, and so on");
    environment[0] = (char[]){ "LOCKSTEP_SEED={" };
    ck_assert(!config_environment(&config, environment, known, COUNT(known), NULL, &err));
    ck_assert_ptr_nonnull(strstr(err.text, "environment: LOCKSTEP_SEED: the value is not YAML: "));
    config_free(&config);
}
END_TEST

/* ---- option tables ---- */

typedef struct Sample {
    char *word, *path;
    int64_t large;
    int small, choice;
    double rate;
    bool flag;
    Span warmup;
    OptionFloats mean;
    ConfigNode *body;
} Sample;

static const Option sample_options[] = {
    { "word", OPTION_STRING, OPTION_AT(Sample, word), 0, 0, NULL, "hello", "" },
    { "path", OPTION_STRING, OPTION_AT(Sample, path), 0, 0, NULL, "", "" },
    { "large", OPTION_INT, OPTION_AT(Sample, large), 0, 9007199254740992.0, NULL, "1", "" },
    { "small", OPTION_INT, OPTION_AT(Sample, small), 1, (double)INFINITY, NULL, "2", "" },
    { "choice", OPTION_CHOICE, OPTION_AT(Sample, choice), 0, 0, "none|linear|sqrt", "none", "" },
    { "rate", OPTION_FLOAT, OPTION_AT(Sample, rate), 0, 1, NULL, "0.5", "" },
    { "flag", OPTION_BOOL, OPTION_AT(Sample, flag), 0, 0, NULL, "false", "" },
    { "warmup", OPTION_SPAN, OPTION_AT(Sample, warmup), 0, 0, NULL, "5ep", "" },
    { "mean", OPTION_FLOATS, OPTION_AT(Sample, mean), 0, 0, NULL, "[0.5, 0.25]", "" },
    { "body", OPTION_NODE, OPTION_AT(Sample, body), 0, 0, NULL, "", "" },
    OPTION_END,
};

START_TEST(test_option_defaults)
{
    Config config = parse("word: null\nbody:\n");
    Sample sample;
    ck_assert(options_read(&config, config.root, sample_options, NULL, &sample, NULL));
    ck_assert_str_eq(sample.word, "hello");
    ck_assert_str_eq(sample.path, "");
    ck_assert_int_eq(sample.large, 1);
    ck_assert_int_eq(sample.small, 2);
    ck_assert_int_eq(sample.choice, 0);
    ck_assert(sample.rate == 0.5 && !sample.flag && sample.warmup.value == 5);
    ck_assert_int_eq(sample.warmup.unit, SPAN_EPOCHS);
    ck_assert(sample.mean.count == 2 && sample.mean.value[1] == 0.25);
    ck_assert_ptr_null(sample.body);
    ck_assert_int_eq(config_get(config.root, "rate")->origin, ORIGIN_DEFAULT);
    ck_assert_ptr_null(config_get(config.root, "path"));
    ck_assert_ptr_null(config_get(config.root, "body"));
    options_free(sample_options, &sample);
    config_free(&config);
}
END_TEST

START_TEST(test_option_values)
{
    Config config = parse("path: 007\nlarge: 9007199254740992\nchoice: sqrt\nrate: 1e-1\nflag: On\n"
                          "warmup: 100000sa\nmean: 3\nbody: [1, 2]\nother: 1\n");
    static const char *const other[] = { "other", NULL };
    Sample sample;
    ck_assert(options_read(&config, config.root, sample_options, other, &sample, NULL));
    ck_assert_str_eq(sample.path, "007");
    ck_assert_int_eq(sample.large, 9007199254740992);
    ck_assert_int_eq(sample.choice, 2);
    ck_assert(sample.rate == 0.1 && sample.flag && sample.warmup.value == 1e5);
    ck_assert(sample.mean.count == 1 && sample.mean.value[0] == 3);
    ck_assert_uint_eq(sample.body->count, 2);
    options_free(sample_options, &sample);
    config_free(&config);
}
END_TEST

START_TEST(test_option_errors)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        { "wrod: x",
          "a.yaml:1:1: wrod: unknown option; did you mean \"word\"? (options here: word, "
          "path, large, small, choice, rate, flag, warmup, mean, body)" },
        { "word: [a]", "a.yaml:1:7: word: text is wanted, found a list" },
        { "large: x", "a.yaml:1:8: large: \"x\" is not a whole number" },
        { "large: 1.5", "a.yaml:1:8: large: \"1.5\" is not a whole number" },
        { "large: \"5\"", "a.yaml:1:8: large: \"5\" is not a whole number (it is quoted, so it is "
                          "text)" },
        { "large: -1", "a.yaml:1:8: large: -1 is out of range, wanted 0 to 9007199254740992" },
        { "small: 0", "a.yaml:1:8: small: 0 is out of range, wanted at least 1" },
        { "small: 4294967297", "a.yaml:1:8: small: 4294967297 is out of range, wanted at least 1" },
        { "large: 9223372036854775808", "a.yaml:1:8: large: 9223372036854775808 is out of range, "
                                        "wanted 0 to 9007199254740992" },
        { "rate: fast", "a.yaml:1:7: rate: \"fast\" is not a number" },
        { "rate: nan", "a.yaml:1:7: rate: \"nan\" is not a number" },
        { "rate: 1.5", "a.yaml:1:7: rate: 1.5 is out of range, wanted 0 to 1" },
        { "rate: {a: 1}", "a.yaml:1:7: rate: a number is wanted, found a map" },
        { "flag: maybe", "a.yaml:1:7: flag: \"maybe\" is not true or false" },
        { "choice: Linear",
          "a.yaml:1:9: choice: unknown choice \"Linear\"; did you mean \"linear\"? "
          "(choices: none, linear, sqrt)" },
        { "warmup: 5eps", "a.yaml:1:9: warmup: \"5eps\" is not a span of steps, epochs or samples "
                          "(500st, 5ep, 100000sa)" },
        { "mean: [1, x]", "a.yaml:1:11: mean[1]: \"x\" is not a number" },
        { "mean: [1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]",
          "a.yaml:1:7: mean: 17 numbers, at most 16 are wanted" },
        { "\"a\\nb\": 1",
          "a.yaml:1:1: \"a\\x0ab\": unknown option (options here: word, path, large, "
          "small, choice, rate, flag, warmup, mean, body)" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        Config config = parse(cases[i].text);
        Sample sample;
        Err err;
        ck_assert(!options_read(&config, config.root, sample_options, NULL, &sample, &err));
        ck_assert_str_eq(err.text, cases[i].message);
        config_free(&config);
    }
}
END_TEST

START_TEST(test_scalar_is_first_option)
{
    static const Option first[] = {
        { "units", OPTION_INT, OPTION_AT(Sample, large), 1, 100, NULL, NULL, "" },
        { "bias", OPTION_BOOL, OPTION_AT(Sample, flag), 0, 0, NULL, "true", "" },
        OPTION_END,
    };
    Config config = parse("dense: 10\nother:\nlist: [1]\nwrong: 1000\n");
    Sample sample = { 0 };
    Err err;
    ck_assert(options_read(&config, config_get(config.root, "dense"), first, NULL, &sample, &err));
    ck_assert(sample.large == 10 && sample.flag);
    ck_assert(!options_read(&config, config_get(config.root, "other"), first, NULL, &sample, &err));
    ck_assert_str_eq(err.text,
                     "a.yaml:2:1: other: units is missing; wanted: a whole number, 1 to 100");
    ck_assert(!options_read(&config, config_get(config.root, "list"), first, NULL, &sample, &err));
    ck_assert_str_eq(err.text, "a.yaml:3:7: list: a map of options is wanted, found a list");
    ck_assert(!options_read(&config, config_get(config.root, "wrong"), first, NULL, &sample, &err));
    ck_assert_str_eq(err.text, "a.yaml:4:8: wrong.units: 1000 is out of range, wanted 1 to 100");
    config_free(&config);
}
END_TEST

/* ---- printing ---- */

START_TEST(test_print)
{
    Config config =
        parse("name: a b\nmodel:\n  layers:\n  - dense: {units: 10, bias: no}\n  - relu\n"
              "empty: {}\nmean: [0.1, 0.2]\nnothing:\n");
    ck_assert(config_override(&config, "seed=7", NULL));
    char *text = printed(&config, true);
    ck_assert_str_eq(text, "name: \"a b\"                               # a.yaml:1\n"
                           "model:\n"
                           "  layers:\n"
                           "    - dense:\n"
                           "        units: 10                         # a.yaml:4\n"
                           "        bias: no                          # a.yaml:4\n"
                           "    - relu                                # a.yaml:5\n"
                           "empty: {}                                 # a.yaml:6\n"
                           "mean: [0.1, 0.2]                          # a.yaml:7\n"
                           "nothing: null                             # a.yaml:8\n"
                           "seed: 7                                   # command line\n");
    free(text);
    config_free(&config);
}
END_TEST

START_TEST(test_print_reads_back)
{
    static const char *const texts[] = {
        "a: 1\n",
        "a: {b: {c: [[1, 2], [3, [4]], {d: e}, [], {}]}}\n",
        "a: \"null\"\nb: ~\nc: ''\nd: \"~\"\ne: \"# no comment\"\nf: \"a: b\"\ng: '- x'\nh: "
        "\"[\"\n",
        "a: \"line\\nbreak\\ttab\\\\ \\\" quote\\x07\\u2028\\ufeff\\U0001F600\\x85 \\e[31m\"\n",
        "a: |\n  literal\n    block\n\nb: >-\n  folded\n  text\n",
        "\"odd: key\": 1\n\"\\n\": 2\n'?': 3\n\"#\": 4\n",
        "b: --\nc: ---\nd: ...\ne: -1\nf: .5\ng: +3\nh: ../x\ni: ./y\nj: /z\nk: a,b\nl: 'a, "
        "b'\n",
        "a: ' leading'\nb: 'trailing '\nc: '*x'\nd: '&x'\ne: '!x'\nf: '%x'\ng: '@x'\nh: '`x'\n",
        "a: [aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb]\n",
        "a: \"5\"\nb: 'word'\n",
        "a: [{b: 1, c: 2}, {d: [{e: f}]}]\n",
    };
    for (size_t i = 0; i < COUNT(texts); i++)
        for (int origins = 0; origins < 2; origins++) {
            Config config = parse(texts[i]);
            char *text = printed(&config, origins);
            Config again = parse(text);
            ck_assert_msg(same_tree(config.root, again.root), "%s\nbecame\n%s", texts[i], text);
            config_free(&again);
            config_free(&config);
            free(text);
        }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config");
    add_test(suite, test_tree);
    add_test(suite, test_aliases);
    add_test(suite, test_limits);
    add_test(suite, test_bytes);
    add_test(suite, test_file);
    add_test(suite, test_override);
    add_test(suite, test_override_errors);
    add_test(suite, test_override_below_scalar);
    add_test(suite, test_environment);
    add_test(suite, test_environment_errors);
    add_test(suite, test_option_defaults);
    add_test(suite, test_option_values);
    add_test(suite, test_option_errors);
    add_test(suite, test_scalar_is_first_option);
    add_test(suite, test_print);
    add_test(suite, test_print_reads_back);
    return run_suite(suite);
}
