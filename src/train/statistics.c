/* Batch norm's running statistics belong to the weights of the last steps. A mean of many weights
 * has activations of its own, so its statistics are taken anew at the end of a run, by the passes
 * of a training step whose gradient nobody uses (Izmailov et al. 2018). */
#include "statistics.h"

int64_t statistics_steps(const Trainer *t)
{
    const Layout *layout = &t->model.layout;
    const BatchStage *stage = &t->loader.plan.stages[t->loader.plan.count - 1];
    int64_t wanted = t->settings->eval.statistics_steps;
    bool any = false;
    while (stage->step >= t->step && stage->step > 0)
        stage--;
    int64_t last = t->step - stage->step; /* with these lanes */
    int64_t most = stage->per_epoch < last ? stage->per_epoch : last;
    for (int i = 0; i < layout->count; i++)
        any = any || layout->tensors[i].flags & LAYOUT_STATISTIC;
    return !any ? 0 : wanted < most ? wanted : most;
}

void statistics_step(Trainer *t, float *w, int64_t step)
{
    reducer_set_learning(t->reducer, false);
    Gradient gradient = trainer_gradient(t, w, step);
    reducer_set_learning(t->reducer, true);
    gradient.updated = NULL; /* the digest is about the weights that were trained */
    layout_update_statistics(&t->model.layout, t->slice, w, gradient);
}
