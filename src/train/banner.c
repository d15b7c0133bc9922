/* What a run is about to do: the start banner and, for --dry-run, the whole plan. */
#include "compression.h"
#include "local.h"
#include "probes.h"

#include "lockstep/bf16.h"
#include "lockstep/cpu.h"
#include "lockstep/log.h"
#include "lockstep/memory.h"
#include "lockstep/text.h"
#include "lockstep/trainer.h"
#include "lockstep/version.h"

#include <stdio.h>
#include <string.h>

typedef struct Text {
    char s[96];
} Text;

static Text count(double value)
{
    Text text;
    text_count(text.s, sizeof text.s, (int64_t)value);
    return text;
}

static Text si(double value)
{
    Text text;
    text_si(text.s, sizeof text.s, value);
    return text;
}

static Text bytes(double value)
{
    Text text;
    text_bytes(text.s, sizeof text.s, value);
    return text;
}

static Text shape(Shape value)
{
    Text text;
    shape_text(value, text.s, sizeof text.s);
    return text;
}

static void say_machine(const Trainer *t)
{
    log_info("Lockstep %s (%s)", version_string(), version_git());
    char inherited[64] = "";
    if (strcmp(cpu_blas_core(), cpu_blas_inherited()) != 0)
        snprintf(inherited, sizeof inherited, " (it had started with %s)", cpu_blas_inherited());
    char precision[64] = "";
    if (t->settings->compute.precision == PRECISION_BF16)
        snprintf(precision, sizeof precision, "; bf16 products by %s kernels", bf16_kernel());
    log_info("machine    %d %s on %d %s, %s; %s, OpenBLAS %s%s%s", comm_size(t->comm),
             comm_size(t->comm) == 1 ? "rank" : "ranks", comm_hosts(t->comm),
             comm_hosts(t->comm) == 1 ? "host" : "hosts", comm_library(), cpu_isa_name(cpu_isa()),
             cpu_blas_core(), inherited, precision);
}

static void say_data(const Trainer *t)
{
    const Loader *loader = &t->loader;
    char classes[48] = "regression";
    if (loader->train.classes)
        snprintf(classes, sizeof classes, "%d classes%s", loader->train.classes,
                 loader->train.per_position ? " at each position" : "");
    log_info("data       %s training and %s test samples of shape %s, %s",
             count((double)loader->train.count).s, count((double)loader->test.count).s,
             shape(loader->shape).s, classes);
    char text[256];
    log_verbose("           %s", loader_text(loader, text, sizeof text));
}

static void say_model(const Trainer *t)
{
    log_info("model      %d layers, %s parameters, %sFLOP forward a sample, loss %s",
             t->model.count, count((double)t->model.layout.trained).s, si(model_flops(&t->model)).s,
             t->model.loss.type->name);
}

static void say_batch(const Trainer *t)
{
    const BatchPlan *plan = &t->loader.plan;
    double samples = (double)batch_plan_samples(plan, t->steps);
    log_info("batch      %d = %d lanes x %d samples, for up to %d ranks", t->lanes.batch,
             t->lanes.count, t->lanes.size, t->lanes.count);
    for (int i = 1; i < plan->count; i++)
        log_info("           %d = %d lanes x %d samples from step %s = %.4g epochs",
                 plan->stages[i].batch, plan->stages[i].batch / t->lanes.size, t->lanes.size,
                 count((double)plan->stages[i].step).s,
                 (double)plan->stages[i].samples / (double)plan->epoch_samples);
    log_info("length     %s steps = %.4g epochs = %s samples", count((double)t->steps).s,
             samples / (double)plan->epoch_samples, count(samples).s);
}

/* The method, its two defaults that change results most, and whatever the user has set. */
static void say_optimizer(const Trainer *t)
{
    const Optimizer *o = &t->optimizer;
    const ConfigNode *node = t->settings->optimizer;
    char line[512] = "";
    text_append(line, sizeof line, "optimizer  %s, weight_decay %g", o->type->name,
                o->weight_decay);
    if (o->clip_norm > 0)
        text_append(line, sizeof line, ", clip_norm %g", o->clip_norm);
    static const char *const said[] = { "type", "lr", "weight_decay", "clip_norm" };
    for (size_t i = 0; i < node->count; i++) {
        const ConfigNode *option = node->children[i];
        bool skip = option->origin == ORIGIN_DEFAULT || option->kind != CONFIG_SCALAR;
        for (size_t k = 0; k < sizeof said / sizeof *said; k++)
            skip = skip || strcmp(option->key, said[k]) == 0;
        if (!skip)
            text_append(line, sizeof line, ", %s %s", option->key, option->text);
    }
    log_info("%s", line);
}

/* Where the learning rate comes from, so that nobody has to guess who multiplied by what. */
static void say_lr(const Trainer *t)
{
    static const char *const rules[] = { "none", "linear", "sqrt" };
    const Schedule *s = &t->schedule;
    char line[512] = "";
    if (s->scaling == LR_SCALING_NONE)
        text_append(line, sizeof line, "lr         base %g, no scaling = peak %g", s->run.base_lr,
                    s->peak);
    else
        text_append(
            line, sizeof line, "lr         base %g for batch %g, x %.4g (%s, batch %d) = peak %.6g",
            s->run.base_lr, s->base_batch, s->factor, rules[s->scaling], t->lanes.batch, s->peak);
    text_append(line, sizeof line, ", then %s", s->type->name);
    log_info("%s", line);
    double warm = (double)batch_plan_samples(&t->loader.plan, s->warmup_steps);
    if (s->warmup_steps > 0)
        log_info("warm-up    lr %.4g to %.4g over %s steps = %.4g epochs = %s samples",
                 schedule_lr(s, 0), s->peak, count((double)s->warmup_steps).s,
                 warm / (double)t->loader.epoch_samples, count(warm).s);
}

/* By rank 0 in a step; where lanes have weights of their own, on average. */
static double sent_bytes(const Trainer *t)
{
    double sent = reducer_step_bytes(t->reducer);
    const size_t *bounds = t->world_slices.float_bounds;
    if (bounds && t->settings->train.reduce == REDUCE_ADASUM) /* and its slice to all */
        sent += (double)(bounds[1] - bounds[0]) * (comm_size(t->comm) - 1) * sizeof(float);
    return t->local ? sent * local_travels(t) : sent;
}

void trainer_say_memory(const Trainer *t)
{
    log_info("memory     of rank 0: predicted %s, peak %s", bytes((double)t->planned_bytes).s,
             bytes((double)mem_use().peak_bytes).s);
}

static void say_local(const Trainer *t)
{
    char text[160];
    if (t->local)
        log_info("local      %s", local_text(t, text, sizeof text));
}

static void say_probes(const Trainer *t)
{
    char text[160];
    if (*probes_text(t, text, sizeof text))
        log_info("probes     %s", text);
}

void trainer_banner(const Trainer *t, const char *folder)
{
    say_machine(t);
    say_data(t);
    say_model(t);
    say_batch(t);
    say_optimizer(t);
    say_lr(t);
    char travels[160] = "in shared memory", sent[160];
    if (t->host != t->comm)
        snprintf(travels, sizeof travels, "shared on a host, rank 0 sends others %s a step",
                 bytes(sent_bytes(t)).s);
    else if (!comm_shares(t->comm))
        snprintf(travels, sizeof travels, "rank 0 sends %s a step", bytes(sent_bytes(t)).s);
    static const char *const sums[] = { "one fixed tree", "FAST, MPI's own sum",
                                        "Adasum on one fixed tree" };
    bool fast = t->settings->train.reduce == REDUCE_FAST;
    log_info("reduction  %s over %d lanes, %s for any number of ranks; %s",
             sums[t->settings->train.reduce], t->lanes.count,
             fast ? "NOT the same bits" : "the same bits", travels);
    if (t->group != t->host)
        log_info("           weights and optimizer state once a NUMA domain, rank 0's has %d %s",
                 comm_size(t->group), comm_size(t->group) == 1 ? "rank" : "ranks");
    say_local(t);
    say_probes(t);
    if (*compression_text(t, sent, sizeof sent))
        log_info("           gradients travel as %s: another trajectory than in fp32", sent);
    log_info("run        %s, seed %lld, initial weights %016llx", folder,
             (long long)t->settings->seed, (unsigned long long)t->digest);
}

static void plan_layers(const Trainer *t)
{
    log_out("%-28s %-16s %12s %14s %8s", "layer", "output", "parameters", "FLOP a sample", "share");
    double total = model_flops(&t->model);
    for (int i = 0; i < t->model.count; i++) {
        const ModelNode *node = &t->model.nodes[i];
        size_t parameters = 0;
        for (int k = 0; node->layer && k < node->layer->tensor_count; k++) {
            const LayoutTensor *tensor = &t->model.layout.tensors[node->layer->tensors[k].index];
            bool counts = !node->layer->tensors[k].tied &&
                          !(tensor->flags & (LAYOUT_STATISTIC | LAYOUT_FROZEN));
            parameters += counts ? tensor->n : 0;
        }
        double flops = node->layer ? node->layer->flops : 0;
        log_out("%-28s %-16s %12s %14s %7.1f%%", node->layer ? node->layer->name : "(add)",
                shape(node->shape).s, count((double)parameters).s, si(flops).s,
                total > 0 ? 100 * flops / total : 0);
    }
}

/* Reduce-scatter and all-gather of slices: twice the arena less a rank's own part, when the rank
 * count is a power of two; a little more when it is not. */
static void plan_traffic(const Trainer *t, double arena)
{
    int ranks = comm_size(t->comm);
    if (ranks == 1)
        log_out("one rank: nothing travels; each of P ranks would send and receive %s x 2 (P - 1) "
                "/ P a step",
                bytes(arena).s);
    else if (comm_shares(t->comm))
        log_out("nothing travels: the %d ranks share memory", ranks);
    else if (t->host != t->comm)
        log_out("rank 0 sends %s a step to the other hosts; the ranks of a host share memory",
                bytes(sent_bytes(t)).s);
    else
        log_out("each of %d ranks sends and receives about %s a step", ranks,
                bytes(2 * arena * (ranks - 1) / ranks).s);
}

static void plan_compression(const Trainer *t, double arena)
{
    char text[160];
    int lanes = t->lanes.last - t->lanes.first;
    if (!*compression_text(t, text, sizeof text))
        return;
    log_out("gradients travel as %s: another trajectory than in fp32", text);
    if (t->compression.type)
        log_out("error memories of rank 0's %d lanes: %s of the gradients' memory below", lanes,
                bytes(lanes * arena).s);
}

void trainer_plan(Trainer *t)
{
    say_machine(t);
    say_data(t);
    say_model(t);
    say_batch(t);
    say_optimizer(t);
    say_lr(t);
    plan_layers(t);
    double arena = (double)t->model.layout.n * sizeof(float);
    double activations = (double)t->model.activation_bytes;
    double layers = (double)model_state_bytes(&t->model);
    double data = (double)(dataset_bytes(&t->loader.train) + dataset_bytes(&t->loader.test));
    double gradients = (double)reducer_bytes(t->reducer);
    double state = (double)optimizer_bytes(&t->optimizer);
    log_out("a training step computes %sFLOP (forward and backward, 3 x forward)",
            si(3 * model_flops(&t->model) * t->lanes.batch).s);
    plan_traffic(t, arena);
    plan_compression(t, arena);
    log_out(
        "memory of rank 0: %s in all; weights %s, gradients %s, optimizer state %s, activations "
        "%s, packed and saved by layers %s, data %s",
        bytes((double)t->planned_bytes).s, bytes(arena).s, bytes(gradients).s, bytes(state).s,
        bytes(activations).s, bytes(layers).s, bytes(data).s);
    char text[160];
    if (t->local)
        log_out("local: %s; rank 0 has %s of weights and state of its lanes in that",
                local_text(t, text, sizeof text), bytes((double)local_bytes(t)).s);
    if (*probes_text(t, text, sizeof text))
        log_out("probes %s: %s of rank 0's memory in that", text, bytes((double)probes_bytes(t)).s);
    log_out("nothing was trained (--dry-run)");
}
