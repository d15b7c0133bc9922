/* Ends before the last step: target, stop, seconds. A target and a stop are the same step on any
 * number of ranks; seconds depend on the machine, and the status says so. */
#include "ending.h"

#include "lockstep/clock.h"
#include "lockstep/log.h"

#include <math.h>

static bool has_target(const TrainSettings *train)
{
    return train->target_accuracy > 0 || train->target_loss > 0;
}

static bool check(const Trainer *t, Err *err)
{
    const TrainSettings *train = &t->settings->train;
    const Config *config = &t->settings->config;
    const ConfigNode *node = config_get(config->root, "train");
    if (train->target_accuracy > 0 && !t->model.loss.type->wants_labels)
        return config_error(config, config_get(node, "target_accuracy"), err,
                            "the loss %s knows no right and wrong; train.target_loss is for it",
                            t->model.loss.type->name);
    if (train->target_accuracy > 0 && train->target_loss > 0)
        return config_error(config, config_get(node, "target_loss"), err,
                            "train.target_accuracy is given as well; one of the two is the target");
    if (train->stop_at_target && !has_target(train))
        return config_error(config, config_get(node, "stop_at_target"), err,
                            "train.target_accuracy or train.target_loss is missing");
    return true;
}

bool ending_read(Trainer *t, Err *err)
{
    const TrainSettings *train = &t->settings->train;
    t->stop_step = batch_plan_step(&t->loader.plan, train->stop_at);
    return check(t, err);
}

/* A target that has changed since is not met yet. */
static void forget_other_target(Trainer *t)
{
    const TrainSettings *train = &t->settings->train;
    History *history = &t->history;
    bool same = train->target_accuracy <= history->target_accuracy &&
                train->target_accuracy >= history->target_accuracy &&
                train->target_loss <= history->target_loss &&
                train->target_loss >= history->target_loss;
    if (!same)
        history->target_step = 0;
    history->target_accuracy = train->target_accuracy;
    history->target_loss = train->target_loss;
}

void ending_begin(Trainer *t, double start)
{
    double seconds = t->settings->train.seconds;
    forget_other_target(t);
    t->deadline = seconds > 0 ? start + seconds : (double)INFINITY;
    t->late = seconds > 0 && t->history.seconds >= seconds;
}

void ending_note(Trainer *t, const EvalRecord *eval)
{
    const TrainSettings *train = &t->settings->train;
    bool met = (train->target_accuracy > 0 && eval->accuracy >= train->target_accuracy) ||
               (train->target_loss > 0 && eval->loss <= train->target_loss);
    if (!met || t->history.target_step > 0)
        return;
    t->history.target_step = eval->step;
    t->history.target_samples = eval->samples;
    t->history.target_seconds = eval->seconds;
}

bool ending_is_stop(const Trainer *t)
{
    return t->stop_step > 0 && t->step >= t->stop_step;
}

bool ending_met(const Trainer *t)
{
    return t->settings->train.stop_at_target && t->history.target_step > 0;
}

bool ending_reached(const Trainer *t)
{
    return t->step >= t->steps || ending_is_stop(t) || t->stop || t->late || ending_met(t);
}

const char *ending_status(const Trainer *t)
{
    if (t->step == t->steps)
        return "completed";
    if (ending_met(t))
        return "target";
    return t->late ? "time_limit" : "interrupted";
}
