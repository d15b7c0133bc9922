/* A run's settings: the config's own sections as structs, the families' sections as nodes. */
#include "lockstep/settings.h"
#include "lockstep/bf16.h"
#include "lockstep/compress.h"
#include "lockstep/cpu.h"
#include "lockstep/loader.h"
#include "lockstep/memory.h"
#include "lockstep/model.h"
#include "lockstep/optimizer.h"
#include "lockstep/precision.h"
#include "lockstep/schedule.h"

#include <math.h>
#include <string.h>

static const Option top_options[] = {
    { "name", OPTION_STRING, OPTION_AT(Settings, name), 0, 0, NULL, "",
      "the run's name and folder below output; default: the config file's name without .yaml" },
    { "seed", OPTION_INT, OPTION_AT(Settings, seed), 0, 9007199254740992.0, NULL, "1",
      "of everything random: initial weights, sample order, augmentation, dropout" },
    { "output", OPTION_STRING, OPTION_AT(Settings, folder), 0, 0, NULL, "runs",
      "folder in which run folders are made" },
    { "data", OPTION_NODE, OPTION_AT(Settings, data), 0, 0, NULL, NULL, "the data set" },
    { "model", OPTION_NODE, OPTION_AT(Settings, model), 0, 0, NULL, NULL, "the network" },
    OPTION_END,
};
enum { TOP_NAME = 0 };

static const Option train_options[] = {
    { "batch", OPTION_INT, OPTION_AT(TrainSettings, batch), 1, SETTINGS_MAX_BATCH, NULL, NULL,
      "global batch: samples of a step, over all ranks" },
    { "lanes", OPTION_STRING, OPTION_AT(TrainSettings, lanes_text), 0, 0, NULL, "auto",
      "parts of the batch, a power of two up to 4096 that divides it; at most so many ranks; auto: "
      "the largest up to 8" },
    { "epochs", OPTION_FLOAT, OPTION_AT(TrainSettings, epochs), 1e-6, 1e6, NULL, "",
      "length of the training in passes over the training set; this or steps or "
      "samples" },
    { "steps", OPTION_INT, OPTION_AT(TrainSettings, steps), 1, 1e12, NULL, "",
      "length of the training in optimizer steps; this or epochs or samples" },
    { "samples", OPTION_FLOAT, OPTION_AT(TrainSettings, samples), 1, 1e15, NULL, "",
      "length of the training in training samples seen, to the nearest step; this or epochs or "
      "steps" },
    { "seconds", OPTION_FLOAT, OPTION_AT(TrainSettings, seconds), 0, 1e9, NULL, "0",
      "a budget: training ends with the first step after so many seconds of all its sessions "
      "(status time_limit), where that is depends on the machine; 0: none" },
    { "target_accuracy", OPTION_FLOAT, OPTION_AT(TrainSettings, target_accuracy), 0, 1, NULL, "0",
      "a target: steps, samples and seconds until an evaluation first has this test accuracy go "
      "into summary.json; 0: none" },
    { "target_loss", OPTION_FLOAT, OPTION_AT(TrainSettings, target_loss), 0, 1e30, NULL, "0",
      "the same for this test loss" },
    { "stop_at_target", OPTION_BOOL, OPTION_AT(TrainSettings, stop_at_target), 0, 0, NULL, "false",
      "end when the target is met (status target)" },
    { "stop_at", OPTION_SPAN, OPTION_AT(TrainSettings, stop_at), 0, 0, NULL, "0",
      "stop there in order with a checkpoint (status interrupted), as a part of the whole run, "
      "whose schedule stays; 0: not" },
    { "weights", OPTION_STRING, OPTION_AT(TrainSettings, weights), 0, 0, NULL, "",
      "safetensors file with the start values of all weights and running statistics, by their "
      "names; default: those of the initialisers" },
    { "grow", OPTION_NODE, OPTION_AT(TrainSettings, grow), 0, 0, NULL, "",
      "larger batches later on, such as [{at: 30ep, batch: 1024}]: more lanes of the same size; "
      "see schedule.on_growth" },
    { "on_diverged", OPTION_CHOICE, OPTION_AT(TrainSettings, on_diverged), 0, 0,
      "stop|skip|rollback", "stop",
      "what happens when loss or gradient are not finite: the run stops (exit code 5), the step is "
      "left out, or the run goes back to its newest checkpoint of checkpoint.every "
      "(docs/checkpoints.md)" },
    { "diverged_limit", OPTION_INT, OPTION_AT(TrainSettings, diverged_limit), 1,
      SETTINGS_MAX_ROLLBACKS, NULL, "10",
      "so many steps in a row are left out (skip), or so many times the run goes back (rollback); "
      "then it stops" },
    { "rollback_lr", OPTION_FLOAT, OPTION_AT(TrainSettings, rollback_lr), 1e-6, 1, NULL, "0.5",
      "factor of the learning rate from each rollback on" },
    { "rollback_skip", OPTION_INT, OPTION_AT(TrainSettings, rollback_skip), 0, 1e9, NULL, "1",
      "batches that are passed over after a rollback: the one that diverged and those before it; "
      "0: none" },
    { "reduce", OPTION_CHOICE, OPTION_AT(TrainSettings, reduce), 0, 0, "tree|fast|adasum", "tree",
      "what is made of the lanes' gradients: their sum over the fixed tree; the sum by "
      "MPI_Allreduce, which gives other bits for another number of ranks (fast: to measure what "
      "the tree costs); or Adasum over the same tree, the same bits for any number of ranks" },
    { "local", OPTION_NODE, OPTION_AT(TrainSettings, local), 0, 0, NULL, "",
      "local SGD: lanes with weights of their own that are averaged every so many steps, such as "
      "{steps: 8, after: 20ep, state: keep}; see docs/local.md" },
    OPTION_END,
};

static const Option eval_options[] = {
    { "every", OPTION_SPAN, OPTION_AT(EvalSettings, every), 0, 0, NULL, "1ep",
      "how often the test set is evaluated; 0: only at the end" },
    { "tta", OPTION_CHOICE, OPTION_AT(EvalSettings, tta), 0, 0, "none|flip|multicrop", "none",
      "test-time augmentation, at the end of the run and in `lockstep eval`: mean outputs for the "
      "image and its mirror image (flip), both also moved by a pixel (multicrop)" },
    { "statistics_steps", OPTION_INT, OPTION_AT(EvalSettings, statistics_steps), 0, 1e9, NULL,
      "100",
      "averaged weights (wrappers ema, swa, lookahead): training batches, at most an epoch, from "
      "which batch norm's running statistics are taken anew at the end; 0: they stay" },
    OPTION_END,
};

static const Option log_options[] = {
    { "every", OPTION_SPAN, OPTION_AT(LogSettings, every), 0, 0, NULL, "50st",
      "how often a line is printed when the output is not a terminal; 0: never" },
    { "metrics", OPTION_SPAN, OPTION_AT(LogSettings, metrics), 0, 0, NULL, "1st",
      "how often a step is recorded in metrics.jsonl and metrics.csv; 0: only the last" },
    { "tensorboard", OPTION_BOOL, OPTION_AT(LogSettings, tensorboard), 0, 0, NULL, "true",
      "write TensorBoard event files" },
    { "timeline", OPTION_STRING, OPTION_AT(LogSettings, timeline), 0, 0, NULL, "",
      "file for a Chrome trace of the last steps of all ranks: phases, layers, messages" },
    OPTION_END,
};

static const Option compute_options[] = {
    { "blas_core", OPTION_STRING, OPTION_AT(ComputeSettings, blas_core), 0, 0, NULL, "auto",
      "OpenBLAS kernels: auto (the CPU's best), keep (as inherited) or a name such as SkylakeX" },
    { "isa", OPTION_STRING, OPTION_AT(ComputeSettings, isa), 0, 0, NULL, "auto",
      "level of our own kernels: auto (the CPU's best), v2, v3 or v4" },
    { "precision", OPTION_CHOICE, OPTION_AT(ComputeSettings, precision), 0, 0, "fp32|bf16", "fp32",
      "of matrix products: fp32, or bf16 (operands rounded to bfloat16, the rest in fp32); "
      "convolutions stay fp32" },
    { "bf16_kernel", OPTION_CHOICE, OPTION_AT(ComputeSettings, bf16_kernel), 0, 0,
      "auto|amx|avx512|portable", "auto",
      "kernels of precision bf16: auto (the CPU's best), AMX tiles, AVX512-BF16 or any CPU's" },
    OPTION_END,
};

static const Option comm_options[] = {
    { "memory", OPTION_CHOICE, OPTION_AT(CommSettings, memory), 0, 0, "auto|private", "auto",
      "auto: the ranks of a host share one copy of the weights and read each other's gradients; "
      "private: every rank has its own copy and sends messages; the bits are the same" },
    { "update", OPTION_CHOICE, OPTION_AT(CommSettings, update), 0, 0, "sharded|replicated",
      "sharded",
      "sharded: every rank updates its slice of the weights and has the optimizer state of that; "
      "replicated: every rank updates a copy of all weights; the bits are the same" },
    { "domain", OPTION_CHOICE, OPTION_AT(CommSettings, domain), 0, 0, "host|numa", "host",
      "ranks that share one copy of the weights and the optimizer's state: those of a host, or of "
      "a "
      "NUMA domain, to which they have to be bound (mpirun --bind-to numa); the bits are the "
      "same" },
    { "warn_after", OPTION_FLOAT, OPTION_AT(CommSettings, warn_after), 0, 1e9, NULL, "60",
      "seconds without a step's progress on any rank after which a warning names the ranks that "
      "have not arrived; 0: never" },
    { "abort_after", OPTION_FLOAT, OPTION_AT(CommSettings, abort_after), 0, 1e9, NULL, "600",
      "seconds after which the job is ended with exit code 6; 0: never" },
    { "overlap", OPTION_CHOICE, OPTION_AT(CommSettings, overlap), 0, 0, "off|polling|thread",
      "thread",
      "between hosts the sum travels while backward is at earlier layers, moved by a thread of its "
      "own or by polling between layers; on one host nothing travels; the bits are the same" },
    { "bucket", OPTION_FLOAT, OPTION_AT(CommSettings, bucket), 1e-3, 1024, NULL, "4",
      "MiB of gradient that travel between hosts at once; the bits are the same" },
    { "algorithm", OPTION_STRING, OPTION_AT(CommSettings, algorithm), 0, 0, NULL, "auto",
      "of collectives between hosts: auto (measured, or a rule of thumb) or a name, see `lockstep "
      "list collectives`; the bits are the same" },
    { "table", OPTION_STRING, OPTION_AT(CommSettings, table), 0, 0, NULL, "",
      "file of measurements that auto goes by, written by `lockstep bench comm --tune FILE`" },
    { "wire", OPTION_CHOICE, OPTION_AT(CommSettings, wire), 0, 0, "fp32|bf16|fp16", "fp32",
      "number format of gradient sums, also of every lane's; between hosts messages are as wide as "
      "that; bf16 and fp16 change the trajectory, alike for all ranks and hosts "
      "(docs/compression.md)" },
    { "wire_scale", OPTION_FLOAT, OPTION_AT(CommSettings, wire_scale), 0, 1099511627776.0, NULL,
      "0",
      "a power of two that gradients are multiplied with before they become fp16, 2^-40 to 2^40; "
      "0: "
      "found from step to step, by the norm of the last gradient" },
    { "compress", OPTION_NODE, OPTION_AT(CommSettings, compress), 0, 0, NULL, "",
      "compressed gradients with error feedback, such as {type: topk, ratio: 0.01}; changes the "
      "trajectory, alike for all ranks and hosts (docs/compression.md)" },
    { "virtual_hosts", OPTION_STRING, OPTION_AT(CommSettings, virtual_hosts), 0, 0, NULL, "",
      "pretend that the ranks are on this many hosts, or on hosts of so many ranks (2+1+1)" },
    { "virtual_domains", OPTION_INT, OPTION_AT(CommSettings, virtual_domains), 0, 4096, NULL, "0",
      "pretend that each host has this many NUMA domains, for comm.domain: numa; 0: the truth" },
    { "inject_delay_us", OPTION_FLOAT, OPTION_AT(CommSettings, inject_delay_us), 0, 1e9, NULL, "0",
      "injected network: a message between hosts takes so many microseconds longer" },
    { "inject_gbit", OPTION_FLOAT, OPTION_AT(CommSettings, inject_gbit), 0, 1e6, NULL, "0",
      "injected network: Gbit/s of a host's network card, each way; 0: no limit" },
    { "inject_jitter_us", OPTION_FLOAT, OPTION_AT(CommSettings, inject_jitter_us), 0, 1e9, NULL,
      "0", "injected network: up to so many microseconds more for each message, at random" },
    { "inject_slow_rank", OPTION_INT, OPTION_AT(CommSettings, inject_slow_rank), -1, 1e6, NULL,
      "-1", "a rank that computes inject_slow_factor times as long; -1: none" },
    { "inject_slow_factor", OPTION_FLOAT, OPTION_AT(CommSettings, inject_slow_factor), 1, 1000,
      NULL, "2", "see inject_slow_rank" },
    { "check_every", OPTION_SPAN, OPTION_AT(CommSettings, check_every), 0, 0, NULL, "100st",
      "how often all copies of the weights are read and compared, beside each checkpoint and the "
      "end; what the updates have written is compared in every step; exit code 7 if they differ; "
      "0: never any of it" },
    { "inject_flip_rank", OPTION_INT, OPTION_AT(CommSettings, inject_flip_rank), -1, 1e6, NULL,
      "-1", "a fault for tests: a rank in whose memory a bit of a weight flips; -1: none" },
    { "inject_flip_step", OPTION_INT, OPTION_AT(CommSettings, inject_flip_step), 1, 1e12, NULL, "1",
      "after which step; see inject_flip_rank" },
    { "inject_flip_tensor", OPTION_STRING, OPTION_AT(CommSettings, inject_flip_tensor), 0, 0, NULL,
      "", "in which tensor; default: the first; see inject_flip_rank" },
    OPTION_END,
};

static const Option checkpoint_options[] = {
    { "every", OPTION_SPAN, OPTION_AT(CheckpointSettings, every), 0, 0, NULL, "0",
      "how often a checkpoint is written, in steps, epochs or samples; 0: not by these" },
    { "minutes", OPTION_FLOAT, OPTION_AT(CheckpointSettings, minutes), 0, 1e6, NULL, "15",
      "the most minutes between two checkpoints, by rank 0's clock; 0: not by time" },
    { "best", OPTION_CHOICE, OPTION_AT(CheckpointSettings, best), 0, 0, "none|loss|accuracy",
      "none",
      "write a checkpoint after each evaluation with the best test loss or accuracy so far, and "
      "keep it until there is a better one" },
    { "keep", OPTION_INT, OPTION_AT(CheckpointSettings, keep), 1, 1e6, NULL, "3",
      "how many of the newest checkpoints stay" },
    { "keep_every", OPTION_INT, OPTION_AT(CheckpointSettings, keep_every), 0, 1e6, NULL, "0",
      "every so manieth checkpoint stays for good; 0: none" },
    { "resume", OPTION_CHOICE, OPTION_AT(CheckpointSettings, resume), 0, 0, "never|auto|always",
      "never",
      "go on with the run of this name from its newest valid checkpoint: auto starts a new run if "
      "there is none, always (as --resume) is an error then" },
    OPTION_END,
};

static const Option probe_options[] = {
    { "every", OPTION_SPAN, OPTION_AT(ProbeSettings, every), 0, 0, NULL, "0",
      "how often a step is probed, such as 20st or 1ep; 0: never (docs/probes.md)" },
    { "noise", OPTION_BOOL, OPTION_AT(ProbeSettings, noise), 0, 0, NULL, "true",
      "gradient noise scale from the gradients of the lanes; at least two lanes" },
    { "norms", OPTION_BOOL, OPTION_AT(ProbeSettings, norms), 0, 0, NULL, "true",
      "norms of gradient and weights" },
    { "trust", OPTION_BOOL, OPTION_AT(ProbeSettings, trust), 0, 0, NULL, "true",
      "trust ratios as the optimizer has used them, and how many were clamped; lars and lamb" },
    { "update", OPTION_BOOL, OPTION_AT(ProbeSettings, update), 0, 0, NULL, "true",
      "|dw| / |w|: how far a step moves the weights" },
    { "effective_lr", OPTION_BOOL, OPTION_AT(ProbeSettings, effective_lr), 0, 0, NULL, "true",
      "lr / |w|^2 of weights in front of a normalisation" },
    { "distance", OPTION_BOOL, OPTION_AT(ProbeSettings, distance), 0, 0, NULL, "false",
      "|w - w0| from the start values, of which a copy is kept, and the product of gradient and "
      "w - w0" },
    { "cosine", OPTION_BOOL, OPTION_AT(ProbeSettings, cosine), 0, 0, NULL, "false",
      "angles between the updates and between the gradients of a probed step and the one before, "
      "which is copied" },
    { "smoothing", OPTION_FLOAT, OPTION_AT(ProbeSettings, smoothing), 0, 0.9999, NULL, "0.9",
      "of noise_scale: what the means of tr(C) and |G|^2 keep from one probed step to the next" },
    { "tensors", OPTION_BOOL, OPTION_AT(ProbeSettings, tensors), 0, 0, NULL, "true",
      "write probes.csv, with a row for each tensor and quantity" },
    { "scale_invariant", OPTION_NODE, OPTION_AT(ProbeSettings, scale_invariant), 0, 0, NULL, "",
      "list of the tensors that effective_lr is for; default: those whose products go straight, or "
      "through relu and pools, into a normalisation" },
    OPTION_END,
};

const SettingsSection settings_sections[] = {
    { "", "The top level.", top_options },
    { "train", "How much to train, in which batches.", train_options },
    { "eval", "Evaluation on the test set.", eval_options },
    { "log", "What is printed and recorded.", log_options },
    { "compute", "Kernels.", compute_options },
    { "comm", "How ranks exchange gradients and weights.", comm_options },
    { "comm.compress", "Compressed gradients: the compressor, options of all, and its own.",
      compression_common_options },
    { "checkpoint", "What a run can go on from (docs/checkpoints.md).", checkpoint_options },
    { "probes", "What is measured of training steps (docs/probes.md).", probe_options },
    { "data", "The data set: its type, options of all types, and the type's own.",
      loader_common_options },
    { "model", "The network: a list of layers.", model_options },
    { "loss", "The loss: its type and the type's own options.", loss_common_options },
    { "optimizer", "The optimizer: its type, options of all types, and the type's own.",
      optimizer_common_options },
    { "schedule",
      "The learning rate over time: its type, options of all types, and the type's own.",
      schedule_common_options },
    { NULL, NULL, NULL },
};

/* Sections that are read one by one, beside top_options. */
static const char *const other_sections[] = { "train",     "eval",       "log",    "compute",
                                              "comm",      "checkpoint", "probes", "loss",
                                              "optimizer", "schedule",   NULL };

/* ---- checks that a table cannot say ---- */

bool settings_is_name(const char *name)
{
    for (const char *c = name; *c; c++)
        if ((unsigned char)*c < 0x21 || *c == 0x7f || *c == '/' || *c == '\\')
            return false;
    return *name && *name != '.' && *name != '-' && strlen(name) <= SETTINGS_NAME_BYTES;
}

void settings_default_name(const char *file, char *name, size_t size)
{
    const char *slash = strrchr(file, '/');
    snprintf(name, size, "%s", slash ? slash + 1 : file);
    char *dot = strrchr(name, '.');
    if (dot && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0))
        *dot = '\0';
    bool plain = settings_is_name(name);
    for (const char *c = name; *c; c++)
        plain = plain && (unsigned char)*c < 0x80 && !strchr("[{", *c);
    if (!plain)
        snprintf(name, size, "run");
}

static bool read_top(Settings *settings, Err *err)
{
    const Config *config = &settings->config;
    char name[256], quoted[256];
    Option table[sizeof top_options / sizeof *top_options];
    memcpy(table, top_options, sizeof table);
    settings_default_name(config->file, name, sizeof name);
    table[TOP_NAME].def = name;
    if (!options_read(config, config->root, table, other_sections, settings, err))
        return false;
    if (!settings_is_name(settings->name))
        return config_error(config, config_get(config->root, "name"), err,
                            "%s is not a folder name: 1 to %d characters without / or blanks, not "
                            "beginning with . or -",
                            text_quoted(quoted, sizeof quoted, settings->name),
                            SETTINGS_NAME_BYTES);
    return true;
}

static bool read_section(Settings *settings, const char *name, const Option *table, void *out,
                         Err *err)
{
    ConfigNode *node = config_section(settings->config.root, name);
    if (node->kind == CONFIG_SCALAR)
        return config_error(&settings->config, node, err, "a map of options is wanted (%s: ...)",
                            table->name);
    return options_read(&settings->config, node, table, NULL, out, err);
}

static bool is_given(const ConfigNode *node)
{
    return node && node->kind != CONFIG_NULL;
}

/* Of train.epochs, steps and samples the one with precedence stays: `lockstep train a.yaml
 * train.steps=5` works whatever the file says. */
static bool choose_length(const Settings *settings, Err *err)
{
    static const char *const names[] = { "epochs", "steps", "samples" };
    ConfigNode *train = config_get(settings->config.root, "train");
    const char *first = NULL; /* of those with the highest precedence so far */
    for (int i = 0; i < 3; i++) {
        ConfigNode *node = config_get(train, names[i]);
        ConfigNode *other = first ? config_get(train, first) : NULL;
        if (!is_given(node))
            continue;
        if (other && other->origin == node->origin)
            return config_error(&settings->config, node, err,
                                "train.%s is given as well; one of the two says how long to train",
                                first);
        if (other)
            config_remove(other->origin > node->origin ? node : other);
        if (!other || config_get(train, names[i]))
            first = names[i];
    }
    return true;
}

static bool read_train(Settings *settings, Err *err)
{
    TrainSettings *train = &settings->train;
    if (!choose_length(settings, err) ||
        !read_section(settings, "train", train_options, train, err))
        return false;
    if (train->steps == 0 && train->epochs <= 0.0 && train->samples <= 0.0)
        return config_error(&settings->config, config_get(settings->config.root, "train"), err,
                            "epochs, steps or samples is missing: how long to train");
    return true;
}

static int auto_lanes(int64_t batch)
{
    int lanes = SETTINGS_AUTO_LANES;
    while (batch % lanes != 0)
        lanes /= 2;
    return lanes;
}

static bool check_lanes(Settings *settings, Err *err)
{
    const Config *config = &settings->config;
    TrainSettings *train = &settings->train;
    const ConfigNode *node = config_get(config->root, "train");
    char quoted[256];
    int64_t lanes = 0;
    if (strcmp(train->lanes_text, "auto") == 0) {
        train->lanes = auto_lanes(train->batch);
        return true;
    }
    bool number = text_to_int(train->lanes_text, &lanes);
    bool power = number && lanes >= 1 && lanes <= SETTINGS_MAX_LANES && (lanes & (lanes - 1)) == 0;
    if (!power)
        return config_error(config, config_get(node, "lanes"), err,
                            "%s is neither auto nor a power of two from 1 to %d",
                            number ? train->lanes_text
                                   : text_quoted(quoted, sizeof quoted, train->lanes_text),
                            SETTINGS_MAX_LANES);
    if (train->batch % lanes != 0)
        return config_error(config, config_get(node, "batch"), err,
                            "%lld found, a multiple of the %lld lanes wanted",
                            (long long)train->batch, (long long)lanes);
    train->lanes = (int)lanes;
    return true;
}

static bool check_isa(const Settings *settings, Err *err)
{
    static const char *const names[] = { "auto", "v2", "v3", "v4" };
    const ConfigNode *compute = config_get(settings->config.root, "compute");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(settings->compute.isa, names[i]) == 0)
            return true;
    return config_unknown(&settings->config, config_get(compute, "isa"), false, "level", "levels",
                          names, sizeof names / sizeof *names, err);
}

/* A kernel that is asked for is one that is used. */
static bool check_bf16_kernel(const Settings *settings, Err *err)
{
    const ConfigNode *compute = config_get(settings->config.root, "compute");
    const char *name = settings_bf16_kernel(settings);
    if (settings->compute.precision == PRECISION_BF16 || strcmp(name, "auto") == 0)
        return true;
    return config_error(&settings->config, config_get(compute, "bf16_kernel"), err,
                        "%s is for precision bf16, and the precision is fp32: say "
                        "compute.precision=bf16, or leave this at auto",
                        name);
}

/* Lanes of their own and error memories are not finite either by the time that a step turns out not
 * to be. Checkpoints by minutes depend on how fast the machine was. */
static bool check_recovery(const Settings *settings, Err *err)
{
    const Config *config = &settings->config;
    const ConfigNode *node = config_get(config_get(config->root, "train"), "on_diverged");
    if (settings->train.on_diverged == DIVERGED_STOP)
        return true;
    if (is_given(settings->train.local) || is_given(settings->comm.compress))
        return config_error(config, node, err, "stop is wanted with %s",
                            is_given(settings->train.local) ? "train.local" : "comm.compress");
    if (settings->train.on_diverged != DIVERGED_ROLLBACK || settings->checkpoint.every.value > 0)
        return true;
    return config_error(config, node, err,
                        "rollback goes back to a checkpoint of checkpoint.every, which is 0");
}

/* A copy for each domain instead of one for the ranks of a host that share memory. */
static bool check_domain(const Settings *settings, Err *err)
{
    const CommSettings *comm = &settings->comm;
    const ConfigNode *node = config_get(config_get(settings->config.root, "comm"), "domain");
    const char *other = comm->memory == MEMORY_PRIVATE      ? "comm.memory: private"
                        : comm->update == UPDATE_REPLICATED ? "comm.update: replicated"
                        : is_given(settings->train.local)   ? "train.local"
                        : is_given(comm->compress)          ? "comm.compress"
                                                            : NULL;
    return comm->domain == DOMAIN_HOST || !other ||
           config_error(&settings->config, node, err, "host is wanted with %s", other);
}

static bool check_wire_scale(const Settings *settings, Err *err)
{
    int exponent;
    double scale = settings->comm.wire_scale;
    const ConfigNode *comm = config_get(settings->config.root, "comm");
    bool power = frexp(scale, &exponent) <= 0.5 && exponent > -WIRE_MAX_EXPONENT;
    return scale <= 0 || power ||
           config_error(&settings->config, config_get(comm, "wire_scale"), err,
                        "%g found, a power of two from 2^-40 to 2^40 wanted, or 0", scale);
}

/* ---- the module's functions ---- */

bool settings_read(Settings *settings, Err *err)
{
    ConfigNode *root = settings->config.root;
    if (!read_top(settings, err) || !read_train(settings, err) ||
        !read_section(settings, "eval", eval_options, &settings->eval, err) ||
        !read_section(settings, "log", log_options, &settings->log, err) ||
        !read_section(settings, "compute", compute_options, &settings->compute, err) ||
        !read_section(settings, "comm", comm_options, &settings->comm, err) ||
        !read_section(settings, "checkpoint", checkpoint_options, &settings->checkpoint, err) ||
        !read_section(settings, "probes", probe_options, &settings->probes, err) ||
        !check_lanes(settings, err) || !check_isa(settings, err) ||
        !check_bf16_kernel(settings, err) || !check_wire_scale(settings, err) ||
        !check_recovery(settings, err) || !check_domain(settings, err))
        return false;
    settings->loss = config_section(root, "loss");
    settings->optimizer = config_section(root, "optimizer");
    settings->schedule = config_section(root, "schedule");
    return true;
}

bool settings_read_comm(const Config *config, CommSettings *comm, Err *err)
{
    ConfigNode *node = config_section(config->root, "comm");
    if (node->kind == CONFIG_SCALAR)
        return config_error(config, node, err, "a map of options is wanted (memory: ...)");
    return options_read(config, node, comm_options, NULL, comm, err);
}

void settings_free_comm(CommSettings *comm)
{
    options_free(comm_options, comm);
}

bool settings_apply_compute(const Settings *settings, Err *err)
{
    return cpu_set_isa(settings->compute.isa, err) &&
           cpu_blas_setup(settings->compute.blas_core, err) &&
           (settings->compute.precision != PRECISION_BF16 ||
            bf16_set_kernel(settings_bf16_kernel(settings), err));
}

const char *settings_bf16_kernel(const Settings *settings)
{
    static const char *const names[] = { "auto", "amx", "avx512", "portable" };
    return names[settings->compute.bf16_kernel];
}

void settings_free(Settings *settings)
{
    options_free(top_options, settings);
    options_free(train_options, &settings->train);
    options_free(log_options, &settings->log);
    options_free(compute_options, &settings->compute);
    settings_free_comm(&settings->comm);
    config_free(&settings->config);
    *settings = (Settings){ 0 };
}
