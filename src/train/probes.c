/* Probes at work: what is switched on, where a step is looked at, and all memory. Lanes are seen
 * when their backward is over, before anything is added to them; blocks while the optimizer has
 * them in the cache, before and after their update. */
#include "probes_parts.h"
#include "trainer_parts.h"

#include "lockstep/clock.h"
#include "lockstep/kernels.h"
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

/* ---- lanes ---- */

void probes_begin(Trainer *t)
{
    Probes *p = t->probes;
    if (!p)
        return;
    const BatchPlan *plan = &t->loader.plan;
    const ProbeSettings *s = p->settings;
    p->record.step = -1;
    p->due = batch_plan_due(plan, t->step + 1, s->every);
    p->captures = s->cosine && batch_plan_due(plan, t->step + 2, s->every);
    p->follows = p->state->captured > 0 && (int64_t)p->state->captured == t->step;
    p->lanes = p->due && s->noise;
}

void probes_lane(Trainer *t, int lane)
{
    Probes *p = t->probes;
    if (!p || !p->lanes)
        return;
    p->lane = lane;
    memset(p->seen, 0, (size_t)t->model.layout.count * sizeof *p->seen);
}

static void see_lane(Trainer *t, int tensor, const float *gradient)
{
    Probes *p = t->probes;
    const Layout *layout = &t->model.layout;
    const LayoutTensor *shape = &layout->tensors[tensor];
    double sum = 0;
    p->seen[tensor] = true;
    if (!is_probed(layout, tensor))
        return;
    for (int i = 0; gradient && i < shape->blocks; i++) {
        LayoutBlock block = layout_block(layout, shape->first_block + i);
        sum += kernels()->squares(gradient + block.offset, block.n);
    }
    p->lane_sq[(size_t)p->lane * (size_t)layout->count + (size_t)tensor] = sum;
}

void probes_passed(Trainer *t, int node)
{
    const Probes *p = t->probes;
    if (!p || !p->lanes || !p->nodes)
        return;
    for (int i = 0; i < t->model.layout.count; i++)
        if (!p->seen[i] && p->nodes[i] >= node)
            see_lane(t, i, t->model.dw);
    trainer_lap(t, PHASE_PROBE);
}

void probes_lane_ends(Trainer *t, const float *gradient)
{
    const Probes *p = t->probes;
    if (!p || !p->lanes)
        return;
    for (int i = 0; i < t->model.layout.count; i++)
        if (!p->seen[i])
            see_lane(t, i, gradient);
    trainer_lap(t, PHASE_PROBE);
}

void probes_lanes_end(Trainer *t)
{
    if (t->probes)
        t->probes->lanes = false;
}

/* ---- blocks ---- */

/* Room for w of a block until its update is over: a whole tensor's, where that is updated at
 * once. */
static float *place_before(const Trainer *t, LayoutBlock block)
{
    const LayoutTensor *tensor = &t->model.layout.tensors[block.tensor];
    bool whole = tensor->padded <= t->probes->before_floats;
    return t->probes->before + (whole ? block.offset - tensor->offset : 0);
}

/* y = a - b */
static const float *subtract(float *y, const float *a, const float *b, size_t n)
{
    kernels()->blend(y, 1, a, -1, b, n);
    return y;
}

static void see_gradient(Probes *p, const float *g, size_t at, size_t n, double *sums)
{
    float *last = p->last_gradient + at;
    sums[SUM_GG] = kernels()->squares(g, n);
    if (p->follows) {
        sums[SUM_GG_BEFORE] = kernels()->squares(last, n);
        sums[SUM_G_G] = kernels()->dot(g, last, n);
    }
    if (p->captures)
        memcpy(last, g, n * sizeof *g);
}

static void block_updating(void *trainer, LayoutBlock block, const float *g)
{
    Trainer *t = trainer;
    Probes *p = t->probes;
    double start = clock_seconds();
    const float *w = t->w + block.offset;
    size_t at = block.offset - t->slice.lo, n = block.n;
    double *sums = p->sums[block.index].of;
    memset(sums, 0, sizeof p->sums[block.index].of);
    memcpy(place_before(t, block), w, n * sizeof *w);
    if (p->start && p->due)
        sums[SUM_GD] = kernels()->dot(g, subtract(p->scratch, w, p->start + at, n), n);
    if (p->last_gradient)
        see_gradient(p, g, at, n, sums);
    p->inside += clock_seconds() - start;
}

static void see_update(Probes *p, const float *u, size_t at, size_t n, double *sums)
{
    float *last = p->last_update + at;
    if (p->follows) {
        sums[SUM_UU_BEFORE] = kernels()->squares(last, n);
        sums[SUM_U_U] = kernels()->dot(u, last, n);
    }
    if (p->captures)
        memcpy(last, u, n * sizeof *u);
}

static void block_updated(void *trainer, LayoutBlock block)
{
    Trainer *t = trainer;
    Probes *p = t->probes;
    p->updated(p->listener, block);
    if (!is_probed(&t->model.layout, block.tensor)) /* a running statistic */
        return;
    double start = clock_seconds();
    const float *w = t->w + block.offset, *before = place_before(t, block);
    size_t at = block.offset - t->slice.lo, n = block.n;
    double *sums = p->sums[block.index].of;
    const float *u = subtract(p->scratch, w, before, n);
    sums[SUM_WW] = kernels()->squares(before, n);
    sums[SUM_UU] = kernels()->squares(u, n);
    if (p->last_update)
        see_update(p, u, at, n, sums);
    if (p->start && p->due)
        sums[SUM_DD] = kernels()->squares(subtract(p->scratch, w, p->start + at, n), n);
    p->inside += clock_seconds() - start;
}

void probes_watch(Trainer *t, Gradient *gradient)
{
    Probes *p = t->probes;
    if (!p || !p->blocks || !(p->due || p->captures))
        return;
    p->updated = gradient->updated;
    p->listener = gradient->listener;
    gradient->updating = block_updating;
    gradient->updated = block_updated;
    gradient->listener = t;
}

void probes_watched(Trainer *t)
{
    if (!t->probes || t->probes->inside <= 0)
        return;
    trainer_lap_of(t, PHASE_PROBE, t->probes->inside);
    t->probes->inside = 0;
}

/* ---- the end of a step ---- */

void probes_end(Trainer *t)
{
    Probes *p = t->probes;
    if (!p)
        return;
    if (p->captures)
        p->state->captured = (double)t->step;
    if (!p->due)
        return;
    if (p->settings->noise)
        comm_allgather(t->comm, p->lane_sq, t->lane_bounds,
                       (size_t)t->model.layout.count * sizeof *p->lane_sq);
    if (p->blocks)
        exchange_complete(t->exchange, p->sums, sizeof *p->sums);
    p->count++;
    probes_make_record(t);
    trainer_lap(t, PHASE_PROBE);
}

const ProbeRecord *probes_record(const Trainer *t)
{
    const Probes *p = t->probes;
    return p && p->due && p->record.step == t->step ? &p->record : NULL;
}

int64_t probes_count(const Trainer *t)
{
    return t->probes ? t->probes->count : 0;
}
