/* A text file as a data set: tokenized when it is loaded, cut into a training and a validation
 * part. `lockstep tokenize` does the first once for all. */
#include "lockstep/tokenizer.h"
#include "window_options.h"

enum { TOKENIZER_CHAR, TOKENIZER_BYTE, TOKENIZER_GPT2 };

typedef struct TextOptions {
    char *file, *validation_file, *vocab;
    int tokenizer;
    double validation;
    WindowOptions cut;
} TextOptions;

static const Option options[] = {
    { "file", OPTION_STRING, OPTION_AT(TextOptions, file), 0, 0, NULL, NULL,
      "the text, plain, .gz or .xz" },
    { "tokenizer", OPTION_CHOICE, OPTION_AT(TextOptions, tokenizer), 0, 0, "char|byte|gpt2", "char",
      "char: each character of the file is a token; byte: 256 tokens; gpt2: byte-level BPE" },
    { "vocab", OPTION_STRING, OPTION_AT(TextOptions, vocab), 0, 0, NULL, "",
      "gpt2: file of merges, a vocab.bpe" },
    { "validation", OPTION_FLOAT, OPTION_AT(TextOptions, validation), 0, 0.99, NULL, "0.1",
      "the last part of the file, as a fraction of its bytes, is for validation" },
    { "validation_file", OPTION_STRING, OPTION_AT(TextOptions, validation_file), 0, 0, NULL, "",
      "validate on this text, train on all of `file`" },
    WINDOW_OPTIONS(TextOptions),
    OPTION_END,
};

static bool check(const void *chosen, Err *err)
{
    const TextOptions *o = chosen;
    bool gpt2 = o->tokenizer == TOKENIZER_GPT2;
    if (gpt2 && !*o->vocab)
        return err_set(err, "tokenizer: gpt2 wants vocab, the name of a vocab.bpe");
    if (!gpt2 && *o->vocab)
        return err_set(err, "vocab is for tokenizer: gpt2");
    if (o->validation <= 0 && !*o->validation_file)
        return err_set(err, "validation: 0 leaves no text to validate on; validation_file names "
                            "another");
    return window_options_check(&o->cut, err);
}

static const TokenizerType *chosen_type(const TextOptions *o)
{
    static const char *const names[] = { "char", "byte", "gpt2" };
    return tokenizer_find(names[o->tokenizer]);
}

static bool tokenize(const Tokenizer *t, const char *name, const uint8_t *text, size_t n,
                     TokenStream *stream, Err *err)
{
    tokens_begin(stream, t->vocabulary, t->type->vocab ? n / 4 : n);
    return tokenizer_encode(t, name, text, n, stream, err);
}

/* The two parts of `file`, or `file` and `validation_file`, as tokens. */
static bool tokenize_parts(const TextOptions *o, const Tokenizer *t, const uint8_t *text, size_t n,
                           TokenStream parts[2], Err *err)
{
    bool split = !*o->validation_file;
    size_t cut = split ? tokenizer_split(t->type, text, n, o->validation) : n;
    if (!tokenize(t, o->file, text, cut, &parts[0], err))
        return false;
    if (split)
        return tokenize(t, o->file, text + cut, n - cut, &parts[1], err);
    uint8_t *other;
    size_t bytes;
    bool ok = tokenizer_read_text(o->validation_file, t->type->utf8, &other, &bytes, err) &&
              tokenize(t, o->validation_file, other, bytes, &parts[1], err);
    mem_free(other);
    return ok;
}

/* The text is let go before the windows are made: only tokens stay. */
static bool load_parts(const TextOptions *o, TokenStream parts[2], Err *err)
{
    const TokenizerType *type = chosen_type(o);
    Tokenizer t = { 0 };
    uint8_t *text;
    size_t bytes;
    if (!tokenizer_read_text(o->file, type->utf8, &text, &bytes, err))
        return false;
    TokenizerSource source = { .vocab = o->vocab, .text = text, .bytes = bytes };
    bool ok =
        tokenizer_init(&t, type, &source, err) && tokenize_parts(o, &t, text, bytes, parts, err);
    tokenizer_free(&t);
    mem_free(text);
    return ok;
}

static bool load(const void *chosen, const DatasetRequest *request, Dataset *train, Dataset *test,
                 Err *err)
{
    const TextOptions *o = chosen;
    TokenStream parts[2] = { { 0 } };
    const char *test_name = *o->validation_file ? o->validation_file : "validation part";
    bool ok = load_parts(o, parts, err) &&
              window_train_set(&o->cut, &parts[0], request->train_limit, o->file, train, err) &&
              window_test_set(&o->cut, &parts[1], request->test_limit, test_name, test, err);
    tokens_free(&parts[0]);
    tokens_free(&parts[1]);
    return ok;
}

const DatasetType dataset_text = {
    .name = "text",
    .help = "windows on a text file: language models",
    .source = "Karpathy 2015",
    .options = options,
    .options_bytes = sizeof(TextOptions),
    .check = check,
    .load = load,
};
