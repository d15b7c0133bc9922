/* train.grow: the global batch gets larger during the run (Smith et al. 2018, "Don't decay the
 * learning rate, increase the batch size"). More lanes of the same size: what a lane computes, its
 * memory and its ghost batches stay, and the rank count still changes nothing. */
#include "growth.h"

#include "lockstep/log.h"

typedef struct GrowthOptions {
    Span at;
    int64_t batch;
} GrowthOptions;

static const Option growth_options[] = {
    { "at", OPTION_SPAN, OPTION_AT(GrowthOptions, at), 0, 1e15, NULL, NULL, "when" },
    { "batch", OPTION_INT, OPTION_AT(GrowthOptions, batch), 1, SETTINGS_MAX_BATCH, NULL, NULL,
      "the global batch from then on" },
    OPTION_END,
};

static bool check_batch(const Trainer *t, const ConfigNode *node, int64_t batch, int64_t before,
                        Err *err)
{
    const Config *config = &t->settings->config;
    int64_t lanes = batch / t->lanes.size;
    bool whole = lanes * t->lanes.size == batch && (lanes & (lanes - 1)) == 0;
    if (!whole || batch <= before || lanes > SETTINGS_MAX_LANES)
        return config_error(config, config_get(node, "batch"), err,
                            "%lld found; more than %lld and a power of two of lanes of %d samples "
                            "wanted, such as %lld; at most %d lanes",
                            (long long)batch, (long long)before, t->lanes.size,
                            2 * (long long)before, SETTINGS_MAX_LANES);
    return true;
}

bool growth_read(Trainer *t, Err *err)
{
    const Config *config = &t->settings->config;
    const ConfigNode *list = t->settings->train.grow;
    if (!list || list->kind == CONFIG_NULL)
        return true;
    if (list->kind != CONFIG_LIST)
        return config_error(config, list, err,
                            "a list is wanted, such as [{at: 30ep, batch: 1024}]");
    if (t->loader.drop_last)
        return config_error(config, list, err, "data.last_batch: keep is wanted with it");
    int64_t before = t->lanes.batch;
    for (size_t i = 0; i < list->count; i++) {
        GrowthOptions o;
        Err problem;
        if (!options_read(config, list->children[i], growth_options, NULL, &o, err) ||
            !check_batch(t, list->children[i], o.batch, before, err))
            return false;
        if (!batch_plan_grow(&t->loader.plan, o.at, (int)o.batch, &problem))
            return config_error(config, list->children[i], err, "%s", problem.text);
        before = o.batch;
    }
    return true;
}

Lanes growth_lanes(const Trainer *t, int batch)
{
    Lanes lanes;
    Err err;
    expect(lanes_init(&lanes, batch, batch / t->lanes.size, t->lanes.rank, t->lanes.ranks, &err));
    return lanes;
}

Lanes growth_last_lanes(const Trainer *t)
{
    const BatchPlan *plan = &t->loader.plan;
    return growth_lanes(t, plan->stages[plan->count - 1].batch);
}

void growth_set_bounds(Trainer *t)
{
    for (int rank = 0; rank <= t->lanes.ranks; rank++)
        t->lane_bounds[rank] = (size_t)lanes_first(t->lanes.count, rank, t->lanes.ranks);
}

void growth_step(Trainer *t, int64_t step)
{
    int batch = batch_plan_at(&t->loader.plan, step).batch;
    if (batch == t->lanes.batch)
        return;
    log_verbose("step %lld: batch %d -> %d", (long long)step, t->lanes.batch, batch);
    reducer_free(t->reducer);
    t->lanes = growth_lanes(t, batch);
    growth_set_bounds(t);
    t->reducer = trainer_reducer(t, &t->lanes);
}
