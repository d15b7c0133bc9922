/* The work of `lockstep tokenize`. */
#include "lockstep/tokenize.h"
#include "file.h"
#include "lockstep/clock.h"
#include "lockstep/log.h"
#include "lockstep/text.h"
#include "lockstep/tokenizer.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The inputs one after the other. */
typedef struct Joined {
    uint8_t *text;
    size_t bytes;
} Joined;

typedef struct Paths {
    char train[FILE_PATH], validation[FILE_PATH];
} Paths;

static bool find_tokenizer(const char *name, const TokenizerType **type, Err *err)
{
    const char *names[16];
    char list[256] = "";
    int count;
    const TokenizerType *const *types = tokenizer_all(&count);
    for (int i = 0; i < count && i < 16; i++) {
        names[i] = types[i]->name;
        text_append(list, sizeof list, "%s%s", i ? ", " : "", names[i]);
    }
    if (!name)
        return err_set(err, "tokenize: --tokenizer NAME is wanted (%s)", list);
    *type = tokenizer_find(name);
    if (*type)
        return true;
    const char *nearest = text_nearest(name, names, (size_t)count);
    return err_set(err, "tokenize: unknown tokenizer \"%s\"%s%s%s (%s)", name,
                   nearest ? "; did you mean \"" : "", nearest ? nearest : "", nearest ? "\"?" : "",
                   list);
}

static bool check_request(const TokenizeRequest *request, const TokenizerType **type, Err *err)
{
    if (request->count < 1)
        return err_set(err, "tokenize: which text? for example: lockstep tokenize input.txt "
                            "--tokenizer char --out input");
    if (!find_tokenizer(request->tokenizer, type, err))
        return false;
    if (!request->out)
        return err_set(err, "tokenize: --out PREFIX is wanted");
    if ((*type)->vocab && !request->vocab)
        return err_set(err, "tokenize: tokenizer %s wants --vocab FILE (a vocab.bpe)",
                       (*type)->name);
    if (!(*type)->vocab && request->vocab)
        return err_set(err, "tokenize: tokenizer %s has no use for --vocab", (*type)->name);
    if (!(request->validation >= 0 && request->validation < 1))
        return err_set(err, "tokenize: --validation %g is out of range, wanted 0 to less than 1",
                       request->validation);
    return true;
}

/* Where a part goes, into `path`; an existing file is refused before anything is read. */
static bool part_path(const TokenizeRequest *request, const char *part, char path[FILE_PATH],
                      Err *err)
{
    if (snprintf(path, FILE_PATH, "%s.%s.tokens", request->out, part) >= FILE_PATH)
        return err_set(err, "tokenize: a file name of more than %d bytes", FILE_PATH - 1);
    return request->force || access(path, F_OK) != 0 ||
           err_set(err, "%s: is there already; --force replaces it", path);
}

static void append_text(Joined *joined, size_t *capacity, uint8_t *text, size_t bytes)
{
    if (joined->bytes + bytes > *capacity) {
        *capacity = 2 * (joined->bytes + bytes);
        uint8_t *grown = mem_alloc(*capacity);
        memcpy(grown, joined->text, joined->bytes);
        mem_free(joined->text);
        joined->text = grown;
    }
    memcpy(joined->text + joined->bytes, text, bytes);
    joined->bytes += bytes;
    mem_free(text);
}

static bool join_inputs(const TokenizeRequest *request, bool utf8, Joined *joined, Err *err)
{
    size_t capacity = 0;
    for (int i = 0; i < request->count; i++) {
        uint8_t *text;
        size_t bytes;
        if (!tokenizer_read_text(request->inputs[i], utf8, &text, &bytes, err))
            return false;
        if (i > 0) {
            append_text(joined, &capacity, text, bytes);
        } else {
            joined->text = text;
            joined->bytes = capacity = bytes;
        }
    }
    return true;
}

/* The vocabulary has every character of the text, so encoding cannot fail. */
static bool write_part(const Tokenizer *t, const Joined *joined, size_t from, size_t to,
                       const char *path, Err *err)
{
    TokenFile file = { .tokenizer = t->type->number,
                       .table = t->table,
                       .table_bytes = t->table_bytes };
    char count[32];
    tokens_begin(&file.stream, t->vocabulary, 1 << 16);
    size_t done = t->type->encode(t, joined->text + from, to - from, &file.stream);
    expect(done == to - from);
    bool ok = to > from ? token_file_write(path, &file, err)
                        : err_set(err, "%s: no text is left for it", path);
    if (ok)
        log_out("%s: %s tokens of %d bytes, %.3f bytes of text a token", path,
                text_count(count, sizeof count, (int64_t)file.stream.count),
                tokens_width(&file.stream), (double)(to - from) / (double)file.stream.count);
    tokens_free(&file.stream);
    return ok;
}

static bool write_parts(const Paths *paths, const TokenizeRequest *request,
                        const TokenizerType *type, const Joined *joined, Err *err)
{
    char count[32], bytes[32];
    Tokenizer t;
    TokenizerSource source = { .vocab = request->vocab,
                               .text = joined->text,
                               .bytes = joined->bytes };
    double began = clock_seconds();
    if (!tokenizer_init(&t, type, &source, err))
        return false;
    size_t end = joined->bytes, cut = tokenizer_split(type, joined->text, end, request->validation);
    bool ok =
        write_part(&t, joined, 0, cut, paths->train, err) &&
        (request->validation <= 0 || write_part(&t, joined, cut, end, paths->validation, err));
    if (ok)
        log_out("tokenizer %s, vocabulary %s, %s of text, %.0f MB/s", type->name,
                text_count(count, sizeof count, t.vocabulary),
                text_bytes(bytes, sizeof bytes, (double)end),
                (double)end / 1e6 / (clock_seconds() - began));
    tokenizer_free(&t);
    return ok;
}

bool tokenize_encode(const TokenizeRequest *request, int *exit_code, Err *err)
{
    const TokenizerType *type = NULL;
    Joined joined = { 0 };
    Paths paths;
    *exit_code = EXIT_USAGE;
    if (!check_request(request, &type, err) || !part_path(request, "train", paths.train, err) ||
        (request->validation > 0 && !part_path(request, "validation", paths.validation, err)))
        return false;
    *exit_code = EXIT_DATA;
    bool ok = join_inputs(request, type->utf8, &joined, err) &&
              write_parts(&paths, request, type, &joined, err);
    mem_free(joined.text);
    return ok;
}

/* ---- back to text ---- */

static bool decode_stream(const char *path, const TokenFile *file, FILE *out, Err *err)
{
    const TokenizerType *type = tokenizer_numbered(file->tokenizer);
    Tokenizer t;
    if (!type)
        return err_set(err, "%s: does not say which tokenizer made it", path);
    if (!tokenizer_init_table(&t, type, file->table, file->table_bytes, path, err))
        return false;
    bool ok = t.vocabulary == file->stream.vocabulary;
    if (!ok)
        err_set(err, "%s: vocabulary of %u, its table has %u", path, file->stream.vocabulary,
                t.vocabulary);
    for (size_t i = 0; ok && i < file->stream.count; i++) {
        size_t bytes;
        const uint8_t *piece = type->piece(&t, token_at(&file->stream, i), &bytes);
        ok = fwrite(piece, 1, bytes, out) == bytes ||
             err_set(err, "cannot write: %s", strerror(errno));
    }
    tokenizer_free(&t);
    return ok;
}

static bool decode_all(const TokenizeRequest *request, FILE *out, Err *err)
{
    bool ok = true;
    for (int i = 0; ok && i < request->count; i++) {
        TokenFile file;
        ok = token_file_read(request->inputs[i], &file, err) &&
             decode_stream(request->inputs[i], &file, out, err);
        token_file_free(&file);
    }
    return ok;
}

static bool check_decode(const TokenizeRequest *request, Err *err)
{
    if (request->count < 1)
        return err_set(err, "tokenize: --decode: which token file?");
    if (request->tokenizer || request->vocab)
        return err_set(err, "tokenize: --decode: tokenizer and vocabulary are in the token file");
    if (request->out && !request->force && access(request->out, F_OK) == 0)
        return err_set(err, "%s: is there already; --force replaces it", request->out);
    return true;
}

bool tokenize_decode(const TokenizeRequest *request, int *exit_code, Err *err)
{
    *exit_code = EXIT_USAGE;
    if (!check_decode(request, err))
        return false;
    *exit_code = EXIT_DATA;
    FILE *out = request->out ? fopen(request->out, "wb") : stdout;
    if (!out)
        return err_set(err, "%s: cannot write: %s", request->out, strerror(errno));
    bool ok = decode_all(request, out, err);
    if (fflush(out) != 0 && ok)
        ok = err_set(err, "%s: cannot write: %s", request->out ? request->out : "standard output",
                     strerror(errno));
    if (request->out)
        fclose(out);
    return ok;
}
