/* Token files as a data set: those of `lockstep tokenize`, and bare ones as nanoGPT and llm.c write
 * them. */
#include "lockstep/tokenizer.h"
#include "window_options.h"

#include <string.h>

enum Format { FORMAT_LOCKSTEP, FORMAT_UINT16, FORMAT_UINT32 };

typedef struct TokensOptions {
    char *train, *validation;
    int format, vocabulary;
    int64_t skip;
    WindowOptions cut;
} TokensOptions;

static const Option options[] = {
    { "train", OPTION_STRING, OPTION_AT(TokensOptions, train), 0, 0, NULL, NULL,
      "token file (`lockstep tokenize`), plain, .gz or .xz" },
    { "validation", OPTION_STRING, OPTION_AT(TokensOptions, validation), 0, 0, NULL, NULL,
      "token file to validate on" },
    { "format", OPTION_CHOICE, OPTION_AT(TokensOptions, format), 0, 0, "lockstep|uint16|uint32",
      "lockstep", "uint16, uint32: nothing but little-endian tokens, as nanoGPT writes them" },
    { "vocabulary", OPTION_INT, OPTION_AT(TokensOptions, vocabulary), 0, TOKENS_MAX_VOCABULARY,
      NULL, "0", "number of different tokens (format: uint16, uint32)" },
    { "skip", OPTION_INT, OPTION_AT(TokensOptions, skip), 0, 1 << 20, NULL, "0",
      "bytes before the first token; llm.c: 1024 (format: uint16, uint32)" },
    WINDOW_OPTIONS(TokensOptions),
    OPTION_END,
};

static bool check(const void *chosen, Err *err)
{
    const TokensOptions *o = chosen;
    bool bare = o->format != FORMAT_LOCKSTEP;
    if (bare && o->vocabulary == 0)
        return err_set(err, "format: files of bare tokens do not tell the vocabulary, give it");
    if (!bare && (o->vocabulary > 0 || o->skip > 0))
        return err_set(err, "vocabulary and skip are for format: uint16 or uint32");
    return window_options_check(&o->cut, err);
}

static bool check_pair(const TokensOptions *o, const TokenFile *a, const TokenFile *b, Err *err)
{
    if (a->stream.vocabulary != b->stream.vocabulary)
        return err_set(err, "%s, %s: vocabularies of %u and %u; the same is wanted", o->train,
                       o->validation, a->stream.vocabulary, b->stream.vocabulary);
    bool same = a->tokenizer == b->tokenizer && a->table_bytes == b->table_bytes &&
                (a->table_bytes == 0 || memcmp(a->table, b->table, a->table_bytes) == 0);
    return same || err_set(err, "%s, %s: made by different tokenizers; the same is wanted",
                           o->train, o->validation);
}

static bool read_one(const TokensOptions *o, const char *path, TokenFile *file, Err *err)
{
    if (o->format == FORMAT_LOCKSTEP)
        return token_file_read(path, file, err);
    return tokens_read_bare(path, o->format == FORMAT_UINT16 ? 2 : 4, (size_t)o->skip,
                            (uint32_t)o->vocabulary, &file->stream, err);
}

static bool load(const void *chosen, const DatasetRequest *request, Dataset *train, Dataset *test,
                 Err *err)
{
    const TokensOptions *o = chosen;
    TokenFile a = { 0 }, b = { 0 };
    bool ok = read_one(o, o->train, &a, err) && read_one(o, o->validation, &b, err) &&
              check_pair(o, &a, &b, err) &&
              window_train_set(&o->cut, &a.stream, request->train_limit, o->train, train, err) &&
              window_test_set(&o->cut, &b.stream, request->test_limit, o->validation, test, err);
    token_file_free(&a);
    token_file_free(&b);
    return ok;
}

const DatasetType dataset_tokens = {
    .name = "tokens",
    .help = "windows on token files: language models",
    .options = options,
    .options_bytes = sizeof(TokensOptions),
    .check = check,
    .load = load,
};
