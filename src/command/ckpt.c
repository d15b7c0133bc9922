/* lockstep ckpt: checkpoints of a run folder. */
#include "command.h"
#include "lockstep/checkpoint.h"

static const char usage[] =
    "usage: lockstep ckpt list RUN\n"
    "       lockstep ckpt show|verify RUN [WHICH]\n"
    "       lockstep ckpt export RUN [WHICH] --out PLACE [--format npy|safetensors]\n"
    "       lockstep ckpt import FILE --out PLACE\n"
    "\n"
    "Checkpoints of a run folder. WHICH: latest (default), best or step-N; verify takes all of "
    "them "
    "if\n"
    "none is named.\n"
    "  list     step, size, time, digest of each\n"
    "  show     where the run stood, every tensor with shape and digest\n"
    "  verify   reads everything and compares all digests\n"
    "  export   the weights under their plain names: a safetensors file, or a folder of .npy "
    "files\n"
    "  import   a safetensors file of F64, F16 or BF16 tensors as F32, for train.weights=PLACE\n"
    "\n"
    "  --force  replace what is at PLACE\n"
    "\n"
    "Exit codes: 0 done, all valid; 2 command line, 4 damaged or not there.\n";

static const Flag flags[] = {
    { "--out", true },
    { "--format", true },
    { "--force", false },
    { NULL, false },
};

/* Rank 0 does it; the others wait for its answer. */
static int ckpt(Comm *comm, const Line *line)
{
    struct {
        int code;
        Err err;
    } answer = { .code = EXIT_OK };
    CkptRequest request = { .words = line->words + 1,
                            .count = line->count - 1,
                            .out = line_value(line, "--out"),
                            .format = line_value(line, "--format"),
                            .force = line_has(line, "--force") };
    if (comm_rank(comm) == 0)
        answer.code = ckpt_command(&request, &answer.err);
    comm_broadcast(comm, &answer, sizeof answer, 0);
    if (answer.code != EXIT_OK)
        die_all(answer.code, "%s", answer.err.text);
    return EXIT_OK;
}

extern const Command command_ckpt;
const Command command_ckpt = {
    .name = "ckpt",
    .summary = "  ckpt list|show|verify RUN      checkpoints of a run; export and import weights\n",
    .usage = usage,
    .flags = flags,
    .run = ckpt,
};
