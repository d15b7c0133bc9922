/* A probed step. Lanes are seen when their backward is over, before anything is added to them;
 * blocks while the optimizer has them in the cache, before and after their update. */
#include "probes_parts.h"
#include "trainer_parts.h"

#include "lockstep/clock.h"
#include "lockstep/kernels.h"

#include <string.h>

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
