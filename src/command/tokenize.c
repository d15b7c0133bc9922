/* lockstep tokenize: text to token files and back. */
#include "lockstep/tokenize.h"
#include "command.h"
#include "lockstep/text.h"

static const char usage[] =
    "usage: lockstep tokenize TEXT ... --tokenizer NAME --out PREFIX\n"
    "       lockstep tokenize --decode FILE ... [--out TEXT]\n"
    "\n"
    "Turns text files, one after the other, into PREFIX.train.tokens and "
    "PREFIX.validation.tokens,\n"
    "for `data: {type: tokens}`. TEXT may be plain, gzip or xz.\n"
    "\n"
    "  --tokenizer NAME       byte; char: the text's characters; gpt2: byte-level BPE\n"
    "  --vocab FILE           gpt2: the merges, a vocab.bpe\n"
    "  --validation FRACTION  of the text, its end (default 0.1; 0: no validation file)\n"
    "  --out PREFIX           where the token files go; with --decode: a file instead of the\n"
    "                         standard output\n"
    "  --decode               token files back to their text\n"
    "  --force                replace existing files\n"
    "\n"
    "Exit codes: 0 done, 2 command line, 3 data.\n";

static const Flag flags[] = {
    { "--tokenizer", true }, { "--vocab", true },  { "--validation", true }, { "--out", true },
    { "--decode", false },   { "--force", false }, { NULL, false },
};

/* Rank 0 does it; the others wait for its answer. */
static int tokenize(Comm *comm, const Line *line)
{
    struct {
        bool ok;
        int code;
        Err err;
    } answer = { .code = EXIT_USAGE };
    TokenizeRequest request = { .inputs = line->words + 1,
                                .count = line->count - 1,
                                .tokenizer = line_value(line, "--tokenizer"),
                                .vocab = line_value(line, "--vocab"),
                                .out = line_value(line, "--out"),
                                .validation = 0.1,
                                .force = line_has(line, "--force") };
    answer.ok = !line_value(line, "--validation") ||
                text_to_double(line_value(line, "--validation"), &request.validation) ||
                err_set(&answer.err, "tokenize: --validation %s: a number is wanted",
                        line_value(line, "--validation"));
    if (answer.ok && comm_rank(comm) == 0)
        answer.ok = line_has(line, "--decode")
                        ? tokenize_decode(&request, &answer.code, &answer.err)
                        : tokenize_encode(&request, &answer.code, &answer.err);
    comm_broadcast(comm, &answer, sizeof answer, 0);
    if (!answer.ok)
        die_all(answer.code, "%s", answer.err.text);
    return EXIT_OK;
}

extern const Command command_tokenize;
const Command command_tokenize = {
    .name = "tokenize",
    .summary = "  tokenize TEXT ... --out PREFIX turn text into token files, and back\n",
    .usage = usage,
    .flags = flags,
    .run = tokenize,
};
