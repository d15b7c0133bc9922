/* Probes: what is switched on and what cannot be, all memory, what a checkpoint keeps
 * (probes_step.c looks at steps). */
#include "probes_parts.h"

#include "lockstep/log.h"
#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <stdio.h>
#include <string.h>

/* ---- options ---- */

static bool refuse(const Trainer *t, const char *option, Err *err, const char *why)
{
    const Config *config = &t->settings->config;
    const ConfigNode *section = config_get(config->root, "probes");
    return config_error(config, config_get(section, option), err, "%s", why);
}

/* The mean gradient has to be that of the lanes. */
static bool check_noise(const Trainer *t, Err *err)
{
    const Settings *s = t->settings;
    if (!s->probes.noise)
        return true;
    if (t->lanes.count < 2)
        return refuse(t, "noise", err,
                      "the noise scale is made of differences between lanes, and train.lanes is 1: "
                      "2 or more are wanted, or noise: false");
    if (s->train.reduce == REDUCE_ADASUM)
        return refuse(t, "noise", err,
                      "Adasum does not make the mean of the lanes: noise: false is wanted with it");
    if (t->compression.type)
        return refuse(t, "noise", err,
                      "compressed gradients (comm.compress) are not the mean of the lanes: noise: "
                      "false is wanted with them");
    return true;
}

static bool read_invariant(Trainer *t, Err *err)
{
    const Config *config = &t->settings->config;
    const ConfigNode *list = t->settings->probes.scale_invariant;
    if (!list || list->kind == CONFIG_NULL) {
        model_scale_invariant(&t->model, t->probes->invariant);
        return true;
    }
    if (list->kind != CONFIG_LIST)
        return config_error(config, list, err,
                            "a list of tensors is wanted, such as [stem.weight]");
    for (size_t i = 0; i < list->count; i++) {
        const ConfigNode *name = list->children[i];
        char quoted[256];
        int tensor = name->text ? layout_find(&t->model.layout, name->text) : -1;
        if (tensor < 0 || !is_probed(&t->model.layout, tensor))
            return config_error(config, name, err, "there is no trained tensor %s",
                                text_quoted(quoted, sizeof quoted, name->text ? name->text : ""));
        t->probes->invariant[tensor] = true;
    }
    return true;
}

bool probes_read(Trainer *t, Err *err)
{
    const ProbeSettings *s = &t->settings->probes;
    if (s->every.value <= 0)
        return true;
    if (t->local)
        return refuse(t, "every", err,
                      "with train.local lanes have weights and gradients of their own: there is no "
                      "common step to probe");
    if (!check_noise(t, err))
        return false;
    t->probes = mem_new(Probes);
    t->probes->settings = s;
    t->probes->invariant = mem_array(bool, t->model.layout.count);
    return read_invariant(t, err);
}

const char *probes_text(const Trainer *t, char *text, size_t size)
{
    const ProbeSettings *s = &t->settings->probes;
    const ConfigNode *section = config_get(t->settings->config.root, "probes");
    const struct {
        bool on;
        const char *name;
    } probes[] = { { s->noise, "noise" },
                   { s->norms, "norms" },
                   { s->trust, "trust" },
                   { s->update, "update" },
                   { s->effective_lr, "effective_lr" },
                   { s->distance, "distance" },
                   { s->cosine, "cosine" } };
    text[0] = '\0';
    if (!t->probes)
        return text;
    text_append(text, size, "every %s:", config_get(section, "every")->text);
    for (size_t i = 0; i < sizeof probes / sizeof *probes; i++)
        if (probes[i].on)
            text_append(text, size, " %s", probes[i].name);
    return text;
}

/* ---- memory ---- */

/* mem_alloc that counts. */
static void *take(Probes *p, size_t bytes)
{
    p->bytes += bytes;
    return mem_alloc(bytes);
}

static float *take_slice(const Trainer *t, Probes *p)
{
    return take(p, (t->slice.hi - t->slice.lo) * sizeof(float));
}

/* Gradients of lanes travel while backward goes on, so each has to be seen when it is final. */
static void allocate_lanes(const Trainer *t, Probes *p, int lanes)
{
    const Layout *layout = &t->model.layout;
    p->lane_sq = take(p, (size_t)lanes * (size_t)layout->count * sizeof(double));
    p->seen = take(p, (size_t)layout->count * sizeof *p->seen);
    if (!t->model.watcher.passed)
        return;
    p->nodes = take(p, (size_t)layout->count * sizeof *p->nodes);
    model_last_nodes(&t->model, p->nodes);
}

static void allocate_blocks(const Trainer *t, Probes *p)
{
    const ProbeSettings *s = p->settings;
    p->before_floats = optimizer_update_floats(&t->optimizer);
    p->before = take(p, p->before_floats * sizeof *p->before);
    p->scratch = take(p, LAYOUT_BLOCK * sizeof *p->scratch);
    p->sums = take(p, (size_t)t->model.layout.blocks * sizeof *p->sums);
    if (s->distance)
        p->start = take_slice(t, p);
    if (s->cosine) {
        p->last_update = take_slice(t, p);
        p->last_gradient = take_slice(t, p);
    }
}

void probes_allocate(Trainer *t, int lanes)
{
    Probes *p = t->probes;
    size_t tensors = (size_t)t->model.layout.count;
    if (!p)
        return;
    const ProbeSettings *s = p->settings;
    if (s->noise)
        allocate_lanes(t, p, lanes);
    p->blocks = s->norms || s->update || s->effective_lr || s->distance || s->cosine;
    if (p->blocks)
        allocate_blocks(t, p);
    p->rows = take(p, tensors * PROBE_ROWS * sizeof *p->rows);
    size_t bytes = sizeof(ProbeState) + (tensors + 1) * sizeof(NoiseMean);
    p->state = take(p, bytes);
    p->state_values = bytes / sizeof(double);
}

size_t probes_board_bytes(const Trainer *t, int lanes)
{
    const Layout *layout = &t->model.layout;
    size_t of_lanes = (size_t)lanes * (size_t)layout->count * sizeof(double);
    size_t of_blocks = (size_t)layout->blocks * sizeof(BlockSums);
    return !t->probes ? 0 : of_lanes > of_blocks ? of_lanes : of_blocks;
}

void probes_start(Trainer *t)
{
    Probes *p = t->probes;
    if (!p)
        return;
    p->start_digest[0] = (double)(uint32_t)(t->digest >> 32); /* halves are whole doubles */
    p->start_digest[1] = (double)(uint32_t)t->digest;
    memcpy(p->state->start, p->start_digest, sizeof p->start_digest);
    p->start_known = p->start != NULL;
    if (p->start)
        memcpy(p->start, t->w + t->slice.lo, (t->slice.hi - t->slice.lo) * sizeof *p->start);
}

void probes_free(Trainer *t)
{
    Probes *p = t->probes;
    if (!p)
        return;
    void *const arrays[] = { p->nodes,         p->seen,      p->lane_sq, p->before,
                             p->scratch,       p->start,     p->sums,    p->last_update,
                             p->last_gradient, p->invariant, p->state,   p->rows };
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        mem_free(arrays[i]);
    mem_free(p);
    t->probes = NULL;
}

size_t probes_bytes(const Trainer *t)
{
    return t->probes ? t->probes->bytes : 0;
}

/* ---- checkpoints ---- */

size_t probes_state(Trainer *t, double **values)
{
    if (!t->probes)
        return 0;
    *values = &t->probes->state->captured;
    return t->probes->state_values;
}

float *probes_arena(Trainer *t, int number, int64_t done, const char **name)
{
    static const char *const names[] = { "update", "gradient" };
    const Probes *p = t->probes;
    if (!p || !p->settings->cosine || number > 1)
        return NULL;
    if (done < INT64_MAX && !batch_plan_due(&t->loader.plan, done + 1, p->settings->every))
        return NULL;
    *name = names[number];
    return number == 0 ? p->last_update : p->last_gradient;
}

void probes_loaded(Trainer *t)
{
    Probes *p = t->probes;
    if (!p || !p->start)
        return;
    p->start_known = memcmp(p->state->start, p->start_digest, sizeof p->start_digest) == 0;
    if (!p->start_known)
        log_warn("probes.distance: the start values are not those that the run began with "
                 "(train.weights?): left out");
}
