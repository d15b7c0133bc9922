/* Gradients that travel in fewer bits (docs/compression.md): the settings, and what is known from
 * step to step. */
#include "compression.h"

#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

bool compression_scales(const Trainer *t)
{
    return t->settings->comm.wire == WIRE_FP16 && t->settings->comm.wire_scale <= 0;
}

static bool refuse(const Trainer *t, Err *err, const char *why)
{
    return config_error(&t->settings->config, t->settings->comm.compress, err, "%s", why);
}

/* What travels for lanes that are not simply added are weights or products. */
static bool check_sum(const Trainer *t, Err *err)
{
    const Config *config = &t->settings->config;
    bool wide = !t->compression.type && t->settings->comm.wire == WIRE_FP32;
    if (wide || (!t->local && t->settings->train.reduce == REDUCE_TREE))
        return true;
    return config_error(config, config_get(config->root, "train"), err,
                        "lanes that are not added up in every step (local, reduce) travel in fp32: "
                        "not together with comm.wire or comm.compress");
}

static bool check(const Trainer *t, Err *err)
{
    const Settings *s = t->settings;
    if (!check_sum(t, err))
        return false;
    if (!t->compression.type)
        return true;
    if (s->comm.wire != WIRE_FP32)
        return refuse(t, err,
                      "comm.wire is for sums of lanes, and lanes travel compressed: fp32 is "
                      "wanted there");
    if (t->loader.plan.count > 1)
        return refuse(t, err, "with train.grow there would be lanes that have no error memory yet");
    for (int i = 0; i < t->optimizer.method_count; i++)
        if (t->optimizer.methods[i].type->curvature)
            return refuse(t, err,
                          "the optimizer takes a second gradient of some batches, which "
                          "would spoil the error memories");
    return true;
}

bool compression_start(Trainer *t, Err *err)
{
    const Settings *s = t->settings;
    if (!compression_init(&t->compression, &s->config, s->comm.compress, (uint64_t)s->seed, err) ||
        !check(t, err))
        return false;
    comm_set_compression(t->comm, &t->compression);
    t->wire_scale = s->comm.wire_scale;
    if (t->wire_scale <= 0)
        t->wire_scale = ldexp(1, WIRE_START_EXPONENT);
    compression_begin(t);
    return true;
}

void compression_stop(Trainer *t)
{
    comm_set_compression(t->comm, NULL);
    compression_free(&t->compression);
}

const char *compression_text(const Trainer *t, char *text, size_t size)
{
    static const char *const formats[] = { "", "bf16", "fp16" };
    const ConfigNode *node = t->settings->comm.compress;
    snprintf(text, size, "%s",
             t->compression.type ? t->compression.type->name : formats[t->settings->comm.wire]);
    for (size_t i = 0; t->compression.type && i < node->count; i++)
        if (node->children[i]->kind == CONFIG_SCALAR && strcmp(node->children[i]->key, "type") != 0)
            text_append(text, size, ", %s %s", node->children[i]->key, node->children[i]->text);
    return text;
}

void compression_begin(Trainer *t)
{
    Wire wire = { .type = (WireFormat)t->settings->comm.wire, .scale = (float)t->wire_scale };
    comm_set_wire(t->comm, wire);
}

void compression_end(Trainer *t)
{
    if (compression_scales(t))
        t->wire_scale = (double)wire_next_scale((float)t->wire_scale, t->optimizer.grad_norm);
}

double compression_sent(const Trainer *t)
{
    int ranks = comm_size(t->comm);
    double mine = comm_sent_bytes(t->comm), sum = 0;
    double *all = mem_array(double, ranks);
    comm_gather(t->comm, &mine, all, sizeof mine);
    for (int rank = 0; rank < ranks; rank++)
        sum += all[rank];
    mem_free(all);
    return sum;
}
