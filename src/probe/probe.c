/* `lockstep probe`: finds the probe, reads its options, brings the trainer to the weights, makes
 * the landscape of the samples, runs it, prints and writes what it found. */
#include "lockstep/probe.h"

#include "lockstep/checkpoint.h"
#include "lockstep/log.h"
#include "lockstep/memory.h"
#include "lockstep/text.h"
#include "lockstep/version.h"
#include "lockstep/weights.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- registry ---- */

#define PROBE(name) extern const ProbeType probe_##name;
#include "probes/probes.def"
#undef PROBE
static const ProbeType *const types[] = {
#define PROBE(name) &probe_##name,
#include "probes/probes.def"
#undef PROBE
};
enum { TYPES = sizeof types / sizeof *types };

const ProbeType *const *probe_all(int *count)
{
    *count = TYPES;
    return types;
}

const ProbeType *probe_find(const char *name)
{
    for (int i = 0; i < TYPES; i++)
        if (strcmp(types[i]->name, name) == 0)
            return types[i];
    return NULL;
}

/* ---- options ---- */

const Option probe_common_options[] = {
    { "samples", OPTION_INT, OPTION_AT(ProbeCommon, samples), 0, 1 << 30, NULL, "0",
      "samples to look at, at most all; 0: the probe's own number" },
    { "set", OPTION_CHOICE, OPTION_AT(ProbeCommon, set), 0, 0, "train|test", "train",
      "training set in the order of epoch 0, not augmented, or test set in file order" },
    { "mode", OPTION_CHOICE, OPTION_AT(ProbeCommon, mode), 0, 0, "eval|train", "eval",
      "batch norm by its running statistics, or by those of each chunk of a lane's size; no "
      "dropout "
      "in either" },
    { "seed", OPTION_INT, OPTION_AT(ProbeCommon, seed), 0, 1e15, NULL, "1", "of random vectors" },
    { "points", OPTION_CHOICE, OPTION_AT(ProbeCommon, points), 0, 0, "2|4", "2",
      "gradients that make a product with the Hessian" },
    { "step", OPTION_FLOAT, OPTION_AT(ProbeCommon, step), 1e-4, 1e4, NULL, "1",
      "factor of the difference's step" },
    OPTION_END,
};

static bool unknown_probe(const char *name, Err *err)
{
    const char *names[TYPES];
    char quoted[256];
    for (int i = 0; i < TYPES; i++)
        names[i] = types[i]->name;
    const char *nearest = text_nearest(name, names, TYPES);
    err_set(err, "probe: unknown probe %s", text_quoted(quoted, sizeof quoted, name));
    if (nearest)
        text_append(err->text, sizeof err->text, "; did you mean \"%s\"?", nearest);
    text_append(err->text, sizeof err->text, " (probes: ");
    for (int i = 0; i < TYPES; i++)
        text_append(err->text, sizeof err->text, "%s%s", i ? ", " : "", names[i]);
    text_append(err->text, sizeof err->text, ")");
    return false;
}

/* Two tables read one map; each passes over the other's names. */
static bool read_options(const ProbeRequest *request, const ProbeType *type, ProbeCommon *common,
                         void *own, Err *err)
{
    Config config = { 0 };
    const char *own_names[OPTIONS_MAX], *common_names[OPTIONS_MAX];
    bool ok = config_parse(&config, type->name, "{}", 2, err);
    for (int i = 0; ok && i < request->count; i++)
        ok = config_override(&config, request->assignments[i], err);
    options_names(type->options, own_names);
    options_names(probe_common_options, common_names);
    ok = ok && options_read(&config, config.root, probe_common_options, own_names, common, err);
    if (ok && !options_read(&config, config.root, type->options, common_names, own, err)) {
        options_free(probe_common_options, common);
        ok = false;
    }
    config_free(&config);
    return ok;
}

bool probe_check(const ProbeRequest *request, Err *err)
{
    const ProbeType *type = probe_find(request->name);
    ProbeCommon common;
    if (!type)
        return unknown_probe(request->name, err);
    void *own = mem_alloc(type->options_bytes);
    bool ok = read_options(request, type, &common, own, err);
    if (ok)
        options_free(type->options, own);
    if (ok && type->single && common.mode == PROBE_TRAINING)
        ok = err_set(err,
                     "probe %s: mode=train: it looks at samples one by one, which have no "
                     "statistics of their own",
                     type->name);
    mem_free(own);
    return ok;
}

/* ---- weights ---- */

/* "400" is "step-400". */
static const char *checkpoint_name(const char *which, char text[32])
{
    int64_t step;
    if (!text_to_int(which, &step) || step < 0)
        return which;
    snprintf(text, 32, "step-%lld", (long long)step);
    return text;
}

static bool is_initial(const char *which)
{
    return strcmp(which, "init") == 0;
}

/* The whole state of a checkpoint, for training to go on. */
static bool restore(Probe *probe, const char *name, Err *err)
{
    Trainer *t = probe->trainer;
    bool ok = checkpoint_restore(t, probe->folder, name, err);
    probe->step = t->step;
    return ok;
}

/* Sets *w to weights (borrowed), and probe->step. Only a checkpoint brings the trainer's step with
 * it and an average of the optimizer to be made; a file's weights are taken as they are. */
static bool load(Probe *probe, const char *which, float **w, Err *err)
{
    Trainer *t = probe->trainer;
    char text[32];
    const char *name = checkpoint_name(which, text);
    *w = t->w;
    probe->step = 0;
    if (is_initial(which))
        return true;
    if (probe->type->resumes && strcmp(which, "final") != 0)
        return restore(probe, name, err);
    t->step = 0;
    t->average_is_final = false;
    if (!checkpoint_weights(t, probe->folder, name, &probe->step, err))
        return false;
    if (t->step > 0)
        *w = trainer_final_weights(t);
    if (probe->step < 0) /* not recorded */
        probe->step = t->steps;
    return true;
}

bool probe_weights(Probe *probe, const char *which, float *w, Err *err)
{
    int64_t step = probe->step;
    size_t bytes = probe->landscape.space.layout->n * sizeof *w;
    float *loaded = probe->initial;
    probe->code = EXIT_CHECKPOINT;
    if (!is_initial(which) && !load(probe, which, &loaded, err))
        return false;
    memcpy(w, loaded, bytes);
    comm_barrier(probe->trainer->comm); /* everybody has them before they are overwritten */
    probe->code = EXIT_USAGE;
    probe->step = step;
    return true;
}

double probe_lr(const Probe *probe)
{
    const Trainer *t = probe->trainer;
    int64_t step = probe->step < t->steps ? probe->step : t->steps - 1;
    return schedule_lr(&t->schedule, step) * t->recovery.lr_factor;
}

int probe_batch(const Probe *probe)
{
    const Trainer *t = probe->trainer;
    int64_t step = probe->step < t->steps ? probe->step : t->steps - 1;
    return batch_plan_at(&t->loader.plan, step).batch;
}

/* ---- samples ---- */

static const Batch *read_samples(void *context, int64_t first, int count)
{
    Probe *probe = context;
    return loader_plain(&probe->trainer->loader, probe->common.set == PROBE_TEST, first, count);
}

static int64_t set_size(const Probe *probe)
{
    const Loader *loader = &probe->trainer->loader;
    return probe->common.set == PROBE_TEST ? loader->test.count : loader->train.count;
}

/* The trainer's network once more, with a memory for sides; in fp32, whatever training computes in,
 * as differences of rounder gradients would be noise. */
static bool make_model(Probe *probe, Err *err)
{
    const Trainer *t = probe->trainer;
    const Settings *s = t->settings;
    ModelWish wish = { .input = t->loader.shape, .output = t->model.output, .sides = true };
    if (!model_build(&probe->model, &s->config, s->model, s->loss, &wish, err) ||
        !model_check_lanes(&probe->model, t->lanes.size, err))
        return false;
    expect(probe->model.layout.n == t->model.layout.n);
    model_allocate(&probe->model, t->lanes.size);
    return true;
}

/* Gradients are added as they are, whatever training does to them on the way. */
static bool make_landscape(Probe *probe, float *w, Err *err)
{
    Trainer *t = probe->trainer;
    ProbeCommon *common = &probe->common;
    int64_t all = set_size(probe);
    if (common->samples == 0)
        common->samples = probe->type->samples;
    if (common->samples > all)
        common->samples = all;
    LandscapeWish wish = { .model = &probe->model,
                           .comm = t->comm,
                           .list = { read_samples, probe, common->samples },
                           .least_lanes = t->settings->train.lanes,
                           .lane_size = t->lanes.size,
                           .statistics = common->mode == PROBE_TRAINING,
                           .points = common->points == 0 ? 2 : 4,
                           .step = common->step };
    comm_set_compression(t->comm, NULL);
    comm_set_wire(t->comm, (Wire){ .type = WIRE_FP32 });
    bool ok = landscape_init(&probe->landscape, &wish, w, err);
    if (t->compression.type)
        comm_set_compression(t->comm, &t->compression);
    return ok;
}

bool probe_check_group(const Probe *probe, int64_t group, Err *err)
{
    const LandscapeWish *wish = &probe->landscape.wish;
    if (wish->list.count < 2 * group)
        return err_set(err, "probe %s: %lld samples are less than two groups of %lld",
                       probe->type->name, (long long)wish->list.count, (long long)group);
    if (group > wish->lane_size || wish->list.count % group != 0)
        return err_set(err,
                       "probe %s: group=%lld: a number up to %d (a lane's samples) wanted that "
                       "divides the %lld samples",
                       probe->type->name, (long long)group, wish->lane_size,
                       (long long)wish->list.count);
    if (group == 1 && wish->statistics)
        return err_set(err, "probe %s: mode=train wants a group of more than one sample",
                       probe->type->name);
    return true;
}

void probe_points(Probe *probe, int count, ProbePlace *place, const void *context, Tally *tallies)
{
    Landscape *l = &probe->landscape;
    int rank = comm_rank(l->wish.comm), ranks = comm_size(l->wish.comm);
    size_t *bounds = mem_array(size_t, ranks + 1);
    for (int r = 0; r <= ranks; r++)
        bounds[r] = (size_t)((int64_t)count * r / ranks);
    for (size_t i = bounds[rank]; i < bounds[rank + 1]; i++) {
        place(context, (int)i, l->point);
        tallies[i] = landscape_own_loss(l, l->point);
    }
    comm_allgather(l->wish.comm, tallies, bounds, sizeof *tallies);
    mem_free(bounds);
}

/* ---- a run ---- */

static const char *norm_words(const Probe *probe)
{
    return probe->common.mode == PROBE_TRAINING ? "batch norm by statistics of each chunk"
                                                : "batch norm by running statistics";
}

static void say_head(const Probe *probe)
{
    const ProbeCommon *common = &probe->common;
    char text[160];
    snprintf(text, sizeof text, "loss %.9g", probe->tally.loss / probe->tally.count);
    if (probe->trainer->model.loss.type->wants_labels)
        text_append(text, sizeof text, ", accuracy %.4f",
                    probe->tally.correct / probe->tally.count);
    log_out("%s of %s, %s (step %lld): %s over %lld of %lld %s samples, %s", probe->type->name,
            probe->folder, probe->checkpoint, (long long)probe->step, text,
            (long long)common->samples, (long long)set_size(probe),
            common->set == PROBE_TEST ? "test" : "training", norm_words(probe));
}

/* Where the values come from; on stdout they are in the line above. */
static void note_origin(const Probe *probe, const ProbeRequest *request)
{
    const Trainer *t = probe->trainer;
    const ProbeCommon *common = &probe->common;
    Findings *f = probe->findings;
    char digest[17], version[64];
    snprintf(digest, sizeof digest, "%016llx",
             (unsigned long long)weights_digest(&t->model.layout, probe->landscape.w));
    snprintf(version, sizeof version, "%s (%s)", version_string(), version_git());
    found_text(f, "probe", probe->type->name);
    found_text(f, "run", probe->folder);
    found_text(f, "checkpoint", probe->checkpoint);
    found_integer(f, "at_step", probe->step);
    found_text(f, "weights", digest);
    found_text(f, "command", request->command);
    found_text(f, "version", version);
    found_text(f, "set", common->set == PROBE_TEST ? "test" : "train");
    found_integer(f, "samples", common->samples);
    found_text(f, "statistics", norm_words(probe));
    found_integer(f, "seed", common->seed);
    found_integer(f, "points", probe->landscape.wish.points);
    found(f, "step_factor", common->step, NULL);
}

static int write_findings(const Probe *probe, const ProbeRequest *request, Err *err)
{
    struct {
        bool ok;
        Err err;
    } answer = { .ok = true };
    if (!request->quiet)
        findings_print(probe->findings);
    if (comm_rank(probe->trainer->comm) == 0 && request->out)
        answer.ok = findings_write(probe->findings, request->out, probe->type->name, &answer.err);
    comm_broadcast(probe->trainer->comm, &answer, sizeof answer, 0);
    if (answer.ok)
        return EXIT_OK;
    *err = answer.err;
    return EXIT_USAGE;
}

static int run(Probe *probe, const ProbeRequest *request, Err *err)
{
    Trainer *t = probe->trainer;
    float *w;
    if (!load(probe, request->checkpoint, &w, err))
        return EXIT_CHECKPOINT;
    size_t bytes = t->model.layout.n * sizeof *w;
    float *copy = memcpy(mem_alloc(bytes), w, bytes); /* a probe may load others */
    bool ok = make_model(probe, err) && make_landscape(probe, copy, err);
    if (ok) {
        probe->tally = landscape_loss(&probe->landscape, copy);
        if (!request->quiet)
            say_head(probe);
        note_origin(probe, request);
        found(probe->findings, "loss", probe->tally.loss / probe->tally.count, "at the weights");
        ok = probe->type->run(probe, err);
    }
    landscape_free(&probe->landscape);
    model_free(&probe->model);
    mem_free(copy);
    return ok ? write_findings(probe, request, err) : probe->code;
}

int probe_run(Trainer *trainer, const ProbeRequest *request, Err *err)
{
    Probe probe = { .type = probe_find(request->name),
                    .trainer = trainer,
                    .folder = request->folder,
                    .checkpoint = request->checkpoint,
                    .code = EXIT_USAGE };
    expect(probe.type); /* probe_check has found it */
    probe.options = mem_alloc(probe.type->options_bytes);
    if (!read_options(request, probe.type, &probe.common, probe.options, err)) {
        mem_free(probe.options);
        return EXIT_USAGE;
    }
    size_t bytes = trainer->model.layout.n * sizeof *probe.initial;
    probe.initial = memcpy(mem_alloc(bytes), trainer->w, bytes);
    comm_barrier(trainer->comm);
    probe.findings = findings_new();
    int code = run(&probe, request, err);
    findings_free(probe.findings);
    mem_free(probe.initial);
    options_free(probe.type->options, probe.options);
    mem_free(probe.options);
    return code;
}
