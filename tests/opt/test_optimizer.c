/* Laws of every optimizer in the registry, and the exact messages of wrong options. What the
 * numbers are is tested against golden vectors in tests/golden. */
#include "lockstep/cpu.h"
#include "lockstep/memory.h"
#include "lockstep/optimizer.h"
#include "lockstep/random.h"
#include "lockstep/text.h"
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

enum { STEPS = 4, PARTS_MAX = 8 };

/* Options that every method has; each is tried with every method. */
static const char *const everywhere[] = {
    "weight_decay: 0.01",
    "clip_norm: 0",
    "clip_norm: 0.5",
    "clip_value: 0.01, clip_norm: 3",
    "decay_all: true, adapt_all: true, weight_decay: 0.1",
    "maximize: true",
    "norm_bias_lr_factor: 0.5, decay_all: true, weight_decay: 0.1",
};

/* Ways that a method's own options lead through its code. */
static const char *const paths[] = {
    "type: sgd, momentum: 0",
    "type: sgd, nesterov: true, decay: decoupled, weight_decay: 0.01",
    "type: sgd, dampening: 0.3",
    "type: lars, nesterov: true",
    "type: lars, variant: outside, trust_clip: on",
    "type: lars, variant: wd_in_norm, weight_decay: 0.01, clip_norm: 1",
    "type: lars, variant: optax, weight_decay: 0.01, nesterov: true",
    "type: lars, variant: larc, trust_coefficient: 0.02",
    "type: lamb, decay: decoupled, weight_decay: 0.1, norm_clamp: 1",
    "type: lamb, decay: l2, weight_decay: 0.1, ratio_min: 0.01, ratio_max: 0.5",
    "type: lamb, bias_correction: false, grad_averaging: false, trust_clip: true, ratio_eps: 1e-6",
    "type: adamw, decay: l2, weight_decay: 0.01, amsgrad: true, eps_hat: true",
    "type: adam, decay: scheduled, weight_decay: 0.01",
    "type: adam, decay: direct, weight_decay: 1e-4",
    "type: nadam, decay: decoupled, weight_decay: 0.01, momentum_decay: 0",
    "type: radam, threshold: 1e6, weight_decay: 0.01", /* momentum steps */
    "type: radam, below: skip, beta2: 0.9, threshold: 4",
    "type: adabelief, amsgrad: true",
    "type: adabelief, rectify: true, beta2: 0.9",
    "type: adabelief, rectify: true, beta2: 0.9, below: skip, amsgrad: true",
    "type: adabound, gamma: 10",
    "type: adagrad, initial_accumulator: 0.1, eps_inside: true, lr_decay: 0.1",
    "type: rmsprop, momentum: 0.9",
    "type: rmsprop, centered: true",
    "type: rmsprop, centered: true, momentum: 0.9, lr_in_momentum: true",
    "type: rmsprop_tf, centered: true, momentum: 0, lr_in_momentum: false",
    "type: ademamix, alpha_warmup: 3, beta3_warmup: 3",
    "type: adan, decay: decoupled, weight_decay: 0.01",
    "type: madgrad, momentum: 0",
    "type: asgd, t0: 1",
    "type: novograd, grad_averaging: true, amsgrad: true",
    "type: schedulefree_sgd, warmup_steps: 3, r: 1",
    "type: schedulefree_adamw, weight_decay: 0.01",
    "type: prodigy, safeguard_warmup: true",
    "type: prodigy, bias_correction: true, decay: l2",
    "type: prodigy, growth_rate: 1.5",
    "type: l4, inner: adam",
    "type: igt, nesterov: true",
    "type: igt, momentum: 0",
    "type: entropy_sgd, inner_steps: 3, nesterov: false",
    "type: stagewise, stage_steps: 2, restart_average: false",
    "type: sophia, decay: l2, weight_decay: 0.01, period: 2",
    "type: sm3, beta: 0.9, momentum: 0",
    "type: adafactor, beta1: 0.9, min_dim: 2, factor: kernel",
    "type: adafactor, min_dim: 2, factor: last, relative_step: false, lr: 0.01",
    "type: muon, nesterov: false, scale: rms",
    "type: shampoo, start: 2, period: 2, graft: rmsprop, nesterov: true",
    "type: shampoo, start: 1, max_dim: 25, graft: none, grad_averaging: true, decay: decoupled",
    "type: soap, period: 2, vectors: true, max_dim: 100, normalize: true",
    "type: muon, groups: [{match: dense.*, type: adamw, lr: 0.001}], wrap: [lookahead]",
    "type: sgd, groups: [{match: '*.bias', lr_factor: 2}, {dims: 4, type: lamb, lr: 0.1}, {dims: "
    "1, "
    "type: lars, weight_decay: 0.1, adapt: true}, {match: dense.*, nesterov: true}]",
    "type: lamb, groups: [{match: 'dense.*', type: adamw, lazy_rows: true}], wrap: [ema]",
    "type: adamw, wrap: [{ema: {decay: 0.5, every: 2}}, {ema: {warmup: true}}]",
};

/* ---- an optimizer in a small arena ---- */

typedef struct Bench {
    Config config;
    Layout layout;
    float *w, *g;
} Bench;

static void bench_init(Bench *bench, const char *options)
{
    *bench = (Bench){ .w = NULL };
    char text[512];
    snprintf(text, sizeof text, "optimizer: {%s}\n", options);
    Err err = { "" };
    bool parsed = config_parse(&bench->config, "test.yaml", text, strlen(text), &err);
    ck_assert_msg(parsed, "%s", err.text);
    Layout *layout = &bench->layout;
    layout_add(layout, "conv.weight", 4, (int[]){ 20, 30, 5, 5 }, LAYOUT_DECAY | LAYOUT_ADAPT);
    layout_add(layout, "norm.gain", 1, (int[]){ 20 }, 0);
    layout_add(layout, "norm.mean", 1, (int[]){ 5000 }, LAYOUT_STATISTIC);
    layout_add(layout, "dense.weight", 2, (int[]){ 70, 100 }, LAYOUT_DECAY | LAYOUT_ADAPT);
    layout_add(layout, "dense.bias", 1, (int[]){ 4100 }, 0);
    layout_add(layout, "norm.bias", 1, (int[]){ 20 }, LAYOUT_NORM_BIAS);
    layout_seal(layout);
    bench->w = mem_array(float, layout->n);
    bench->g = mem_array(float, layout->n);
}

static void bench_free(Bench *bench)
{
    mem_free(bench->w);
    mem_free(bench->g);
    layout_free(&bench->layout);
    config_free(&bench->config);
}

/* Random numbers inside the tensors, zero in the padding. */
static void fill(const Layout *layout, uint64_t seed, uint64_t step, double scale, float *x)
{
    memset(x, 0, layout->n * sizeof *x);
    for (int i = 0; i < layout->count; i++) {
        RandomKey key = random_key(seed, RANDOM_TEST, step, (uint64_t)i);
        const LayoutTensor *tensor = &layout->tensors[i];
        random_fill_normal(key, 0, x + tensor->offset, tensor->n);
        for (size_t k = 0; k < tensor->n; k++)
            x[tensor->offset + k] *= (float)scale;
    }
}

static void start_unowned(Bench *bench, Optimizer *optimizer)
{
    Err err = { "" };
    ConfigNode *node = config_get(bench->config.root, "optimizer");
    bool ok = optimizer_init(optimizer, &bench->config, node, &bench->layout, &err);
    ck_assert_msg(ok, "%s", err.text);
}

static void start(Bench *bench, Optimizer *optimizer, Slice slice)
{
    start_unowned(bench, optimizer);
    optimizer_own(optimizer, slice);
}

static const Exchange alone = { NULL, NULL };

/* Calls `law` for every method with every option set. */
static void for_all(void (*law)(const char *options))
{
    int count;
    const OptimizerType *const *types = optimizer_all(&count);
    ck_assert_int_ge(count, 4);
    for (int i = 0; i < count; i++) {
        char options[256];
        snprintf(options, sizeof options, "type: %s", types[i]->name);
        law(options);
        for (size_t k = 0; k < sizeof everywhere / sizeof *everywhere; k++) {
            snprintf(options, sizeof options, "type: %s, %s", types[i]->name, everywhere[k]);
            law(options);
        }
    }
    for (size_t k = 0; k < sizeof paths / sizeof *paths; k++)
        law(paths[k]);
}

/* Wrappers so that they have something to do within STEPS. */
static const char *const busy[] = {
    "adagc: {warmup: 2}",
    "agc: {max: 0.1}",
    "centralize",
    "clip_layer: {max: 0.5}",
    "ema",
    "larc: {trust_coefficient: 0.001}",
    "lookahead: {k: 2}",
    "noise: {decay: 0.55}",
    "perturb: {threshold: 1e9, wait: 2}",
    "swa: {every: 1st, start: 2st}",
};
enum { BUSY = sizeof busy / sizeof *busy };

/* Calls `law` for every wrapper around every method, and for one heap of them. */
static void for_wrappers(void (*law)(const char *options))
{
    int count, wrappers;
    const OptimizerType *const *types = optimizer_all(&count);
    const WrapperType *const *all = wrapper_all(&wrappers);
    ck_assert_int_eq(wrappers, BUSY);
    for (int i = 0; i < count; i++) {
        char options[512];
        for (int k = 0; k < wrappers; k++) {
            ck_assert_int_eq(strncmp(busy[k], all[k]->name, strlen(all[k]->name)), 0);
            snprintf(options, sizeof options, "type: %s, wrap: [%s]", types[i]->name, busy[k]);
            law(options);
        }
        snprintf(options, sizeof options,
                 "type: %s, clip_norm: 3, wrap: [%s, %s, %s, %s, %s, %s, %s, %s]", types[i]->name,
                 busy[7], busy[1], busy[2], busy[0], busy[3], busy[8], busy[6], busy[9]);
        law(options);
    }
}

/* ---- any cut into slices gives the same bits ---- */

enum { STACK_BYTES = 1 << 18 };

/* Ranks as coroutines that take turns, which is a barrier wherever they give way; `complete` merges
 * the arrays of all of them. */
typedef struct Ranks {
    int parts, turn; /* whose turn it is */
    int from, to;    /* steps */
    size_t bounds[PARTS_MAX + 1];
    ucontext_t caller, contexts[PARTS_MAX];
    bool done[PARTS_MAX];
    const Layout *layout;
    Bench *bench;
    Optimizer optimizers[PARTS_MAX];
    char merged[1 << 14];
} Ranks;

typedef struct RankContext {
    Ranks *ranks;
    int rank;
} RankContext;

static Ranks *running;

static void wait_for_others(Ranks *ranks)
{
    if (ranks->parts > 1)
        swapcontext(&ranks->contexts[ranks->turn], &ranks->caller);
}

static void merge(void *context, void *array, size_t bytes)
{
    const RankContext *mine = context;
    Ranks *ranks = mine->ranks;
    size_t first = ranks->bounds[mine->rank] * bytes, last = ranks->bounds[mine->rank + 1] * bytes;
    size_t all = (size_t)ranks->layout->blocks * bytes;
    wait_for_others(ranks);
    memcpy(ranks->merged + first, (char *)array + first, last - first);
    wait_for_others(ranks);
    memcpy(array, ranks->merged, all);
}

static void take_steps(Ranks *ranks, int rank)
{
    RankContext context = { ranks, rank };
    Exchange exchange = ranks->parts > 1 ? (Exchange){ merge, &context } : alone;
    Bench *bench = ranks->bench;
    for (int t = ranks->from; t < ranks->to; t++) {
        if (rank == 0)
            fill(&bench->layout, 1, (uint64_t)t, t == 2 ? 10 : 0.1, bench->g);
        wait_for_others(ranks);
        Rates rates = { .lr = 0.05 / (t + 1), .step = t, .loss = 2.0 / (t + 1), .seed = 5 };
        optimizer_step(&ranks->optimizers[rank], &rates, bench->w, gradient_at(bench->g), exchange);
        wait_for_others(ranks);
    }
}

static void rank_main(void)
{
    int rank = running->turn;
    take_steps(running, rank);
    running->done[rank] = true;
}

/* As the optimizer cuts; or oddly, at tensors' beginnings. */
static void cut_slices(Ranks *ranks, bool oddly)
{
    const Layout *layout = ranks->layout;
    int parts = ranks->parts;
    optimizer_cut(&ranks->optimizers[0], parts, ranks->bounds);
    for (int r = 1; oddly && r < parts; r++) {
        int tensor = layout->block_tensor[layout->blocks - 1 - layout->blocks / (r + 1)];
        ranks->bounds[r] = (size_t)layout->tensors[tensor].first_block;
    }
}

static void ranks_start(Ranks *ranks, Bench *bench, int parts, bool oddly)
{
    ranks->parts = parts;
    ranks->bench = bench;
    ranks->layout = &bench->layout;
    size_t bytes = (size_t)bench->layout.blocks * 4 * sizeof(double);
    ck_assert_uint_le(bytes, sizeof ranks->merged);
    for (int r = 0; r < parts; r++) {
        start_unowned(bench, &ranks->optimizers[r]);
        if (r == 0)
            cut_slices(ranks, oddly);
        optimizer_own(&ranks->optimizers[r], layout_blocks(&bench->layout, (int)ranks->bounds[r],
                                                           (int)ranks->bounds[r + 1]));
    }
}

static void ranks_run(Ranks *ranks, int from, int to)
{
    int parts = ranks->parts;
    ranks->from = from;
    ranks->to = to;
    if (parts == 1) {
        take_steps(ranks, 0);
        return;
    }
    char *stacks = mem_alloc((size_t)parts * STACK_BYTES);
    running = ranks;
    for (int r = 0; r < parts; r++) {
        ucontext_t *context = &ranks->contexts[r];
        ck_assert_int_eq(getcontext(context), 0);
        context->uc_stack.ss_sp = stacks + (ptrdiff_t)r * STACK_BYTES;
        context->uc_stack.ss_size = STACK_BYTES;
        context->uc_link = &ranks->caller;
        ranks->done[r] = false;
        makecontext(context, rank_main, 0);
    }
    while (!ranks->done[parts - 1]) /* all are done in the same round */
        for (ranks->turn = 0; ranks->turn < parts; ranks->turn++)
            swapcontext(&ranks->caller, &ranks->contexts[ranks->turn]);
    mem_free(stacks);
}

static void ranks_free(Ranks *ranks)
{
    for (int r = 0; r < ranks->parts; r++)
        optimizer_free(&ranks->optimizers[r]);
    mem_free(ranks);
}

/* `bench->w` after STEPS steps on `parts` ranks; the optimizers are left for inspection. */
static void train(Ranks *ranks, Bench *bench, int parts)
{
    fill(&bench->layout, 0, 0, 1, bench->w);
    ranks_start(ranks, bench, parts, false);
    ranks_run(ranks, 0, STEPS);
}

static void same_reports(const Optimizer *a, const Optimizer *b, const char *options)
{
    bool same = memcmp(&a->grad_norm, &b->grad_norm, sizeof a->grad_norm) == 0 &&
                memcmp(&a->clip_factor, &b->clip_factor, sizeof a->clip_factor) == 0 &&
                memcmp(a->trust, b->trust, (size_t)a->layout->count * sizeof *a->trust) == 0;
    ck_assert_msg(same, "%s: norm, clip factor or trust ratios differ between ranks", options);
}

/* ---- everything that has to be saved ---- */

enum { PIECES_MAX = 256 };

typedef struct Saved {
    int count;
    OptimizerPiece pieces[PIECES_MAX]; /* whole: data is owned */
} Saved;

static size_t piece_bytes(const OptimizerPiece *piece)
{
    return piece->type == BUFFER_FLOAT ? sizeof(float) : sizeof(double);
}

/* Every piece, put together from the parts that the ranks hold. */
static Saved *save(Ranks *ranks, const char *options)
{
    Saved *saved = mem_new(Saved);
    OptimizerPiece piece;
    while (optimizer_piece(&ranks->optimizers[0], saved->count, &piece)) {
        OptimizerPiece *whole = &saved->pieces[saved->count];
        size_t bytes = piece_bytes(&piece), held = 0;
        *whole = piece;
        whole->data = mem_alloc(piece.total * bytes);
        for (int r = 0; r < ranks->parts; r++) {
            ck_assert(optimizer_piece(&ranks->optimizers[r], saved->count, &piece));
            ck_assert_str_eq(piece.name, whole->name);
            ck_assert_uint_eq(piece.total, whole->total);
            ck_assert((piece.count > 0) == (piece.data != NULL));
            if (piece.replicated && r > 0)
                ck_assert_msg(memcmp(whole->data, piece.data, bytes) == 0, "%s: %s differs",
                              options, piece.name);
            if (piece.count > 0)
                memcpy((char *)whole->data + piece.first * bytes, piece.data, piece.count * bytes);
            held += piece.replicated && r > 0 ? 0 : piece.count;
        }
        ck_assert_msg(held == whole->total, "%s: %s: %zu of %zu elements", options, whole->name,
                      held, whole->total);
        ck_assert_int_lt(++saved->count, PIECES_MAX);
    }
    return saved;
}

static void restore(Ranks *ranks, const Saved *saved)
{
    for (int r = 0; r < ranks->parts; r++)
        for (int i = 0; i < saved->count; i++) {
            OptimizerPiece piece;
            ck_assert(optimizer_piece(&ranks->optimizers[r], i, &piece));
            size_t bytes = piece_bytes(&piece);
            if (piece.count > 0)
                memcpy(piece.data, (const char *)saved->pieces[i].data + piece.first * bytes,
                       piece.count * bytes);
        }
}

static void same_saved(const Saved *a, const Saved *b, const char *options)
{
    ck_assert_int_eq(a->count, b->count);
    for (int i = 0; i < a->count; i++) {
        const OptimizerPiece *x = &a->pieces[i], *y = &b->pieces[i];
        ck_assert_str_eq(x->name, y->name);
        ck_assert_msg(memcmp(x->data, y->data, x->total * piece_bytes(x)) == 0, "%s: %s differs",
                      options, x->name);
    }
}

static void saved_free(Saved *saved)
{
    for (int i = 0; i < saved->count; i++)
        mem_free(saved->pieces[i].data);
    mem_free(saved);
}

/* The weights to evaluate, of all ranks. */
static float *evaluated(Ranks *ranks)
{
    float *out = mem_array(float, ranks->layout->n);
    for (int r = 0; r < ranks->parts; r++)
        optimizer_evaluated(&ranks->optimizers[r], ranks->bench->w, out);
    return out;
}

static void same_end(Ranks *one, Ranks *many, const char *options)
{
    size_t n = one->layout->n, first = first_difference(one->bench->w, many->bench->w, n);
    float *a = evaluated(one), *b = evaluated(many);
    Saved *x = save(one, options), *y = save(many, options);
    ck_assert_msg(first == n, "%s: %d slices: weight %zu differs", options, many->parts, first);
    ck_assert_msg(same_bits(a, b, n), "%s: the weights to evaluate differ", options);
    same_saved(x, y, options);
    for (int r = 0; r < many->parts; r++)
        same_reports(&one->optimizers[0], &many->optimizers[r], options);
    saved_free(x);
    saved_free(y);
    mem_free(a);
    mem_free(b);
}

static void law_slices(const char *options)
{
    static const struct {
        int parts;
        bool oddly;
    } cuts[] = { { 2, false }, { 3, false }, { 4, false }, { 8, false }, { 3, true }, { 5, true } };
    Bench whole, cut;
    Ranks *one = mem_new(Ranks);
    bench_init(&whole, options);
    train(one, &whole, 1);
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        Ranks *many = mem_new(Ranks);
        bench_init(&cut, options);
        fill(&cut.layout, 0, 0, 1, cut.w);
        ranks_start(many, &cut, cuts[i].parts, cuts[i].oddly);
        ranks_run(many, 0, STEPS);
        same_end(one, many, options);
        ranks_free(many);
        bench_free(&cut);
    }
    ranks_free(one);
    bench_free(&whole);
}

/* Stop in the middle, save, go on with another rank count: the same bits as without a stop. */
static void law_resume(const char *options)
{
    Bench straight, broken;
    Ranks *one = mem_new(Ranks), *before = mem_new(Ranks), *after = mem_new(Ranks);
    bench_init(&straight, options);
    bench_init(&broken, options);
    train(one, &straight, 1);
    fill(&broken.layout, 0, 0, 1, broken.w);
    ranks_start(before, &broken, 3, false);
    ranks_run(before, 0, STEPS / 2);
    Saved *saved = save(before, options);
    ranks_start(after, &broken, 2, true);
    restore(after, saved);
    ranks_run(after, STEPS / 2, STEPS);
    same_end(one, after, options);
    saved_free(saved);
    ranks_free(one);
    ranks_free(before);
    ranks_free(after);
    bench_free(&straight);
    bench_free(&broken);
}

START_TEST(test_resume)
{
    for_all(law_resume);
    for_wrappers(law_resume);
}
END_TEST

START_TEST(test_slices)
{
    for_all(law_slices);
    for_wrappers(law_slices);
}
END_TEST

/* ---- laws of one process ---- */

static void law_padding(const char *options)
{
    Bench bench;
    Ranks *ranks = mem_new(Ranks);
    bench_init(&bench, options);
    train(ranks, &bench, 1);
    Optimizer *optimizer = &ranks->optimizers[0];
    for (int i = 0; i < bench.layout.count; i++) {
        const LayoutTensor *tensor = &bench.layout.tensors[i];
        for (size_t k = tensor->offset + tensor->n; k < tensor->offset + tensor->padded; k++) {
            ck_assert_msg(bench.w[k] == 0, "%s: padding of %s is %g", options, tensor->name,
                          (double)bench.w[k]);
            const OptimizerMethod *method = &optimizer->methods[optimizer->tensor_method[i]];
            for (int s = 0; s < method->type->states; s++)
                ck_assert_msg(!(method->states & 1U << s) ||
                                  optimizer->state[s][optimizer->state_at[s][tensor->first_block] +
                                                      k - tensor->offset] == 0,
                              "%s: padding of state %d", options, s);
            for (int v = 0; v < optimizer->wrapper_count; v++)
                for (int s = 0; s < optimizer->wrappers[v].type->states; s++)
                    ck_assert_msg(optimizer->wrappers[v].state[s][k] == 0,
                                  "%s: padding of wrapper %d", options, v);
        }
    }
    optimizer_free(optimizer);
    bench_free(&bench);
    mem_free(ranks);
}

START_TEST(test_padding_stays_zero)
{
    for_all(law_padding);
    for_wrappers(law_padding);
}
END_TEST

/* What makes methods move without a gradient, switched off: a decay of its own, moments that do not
 * start at zero. */
static const char *at_rest(const char *options)
{
    if (strstr(options, "type: asgd"))
        return ", lambda: 0";
    if (strstr(options, "type: entropy_sgd"))
        return ", noise: 0";
    return strstr(options, "type: yogi") ? ", initial_accumulator: 0" : "";
}

static void law_rest(const char *options)
{
    char without[512];
    Bench bench;
    Optimizer optimizer;
    snprintf(without, sizeof without, "%s%s", options, at_rest(options));
    bench_init(&bench, without);
    start(&bench, &optimizer, layout_slice(&bench.layout, 0, 1));
    float *before = mem_array(float, bench.layout.n);
    fill(&bench.layout, 0, 0, 1, bench.w);
    memcpy(before, bench.w, bench.layout.n * sizeof *before);
    for (int i = 0; i < bench.layout.count; i++)
        optimizer.tensor_decay[i] = 0;
    for (int t = 0; t < STEPS; t++)
        optimizer_step(&optimizer, &(Rates){ .lr = 0.1, .step = t }, bench.w, gradient_at(bench.g),
                       alone);
    ck_assert_msg(same_bits(bench.w, before, bench.layout.n), "%s: weights moved", options);
    ck_assert_double_eq(optimizer.grad_norm, 0);
    ck_assert_double_eq(optimizer.clip_factor, 1);
    mem_free(before);
    optimizer_free(&optimizer);
    bench_free(&bench);
}

START_TEST(test_no_gradient_no_decay_no_change)
{
    for_all(law_rest);
}
END_TEST

/* Neither updated, nor part of any norm. */
static void law_statistics(const char *options)
{
    Bench with, without;
    Optimizer a, b;
    bench_init(&with, options);
    bench_init(&without, options);
    start(&with, &a, layout_slice(&with.layout, 0, 1));
    start(&without, &b, layout_slice(&without.layout, 0, 1));
    int mean = layout_find(&with.layout, "norm.mean");
    const LayoutTensor *tensor = &with.layout.tensors[mean];
    fill(&with.layout, 0, 0, 1, with.w);
    memcpy(without.w, with.w, with.layout.n * sizeof *with.w);
    for (int t = 0; t < STEPS; t++) {
        fill(&with.layout, 1, (uint64_t)t, 0.1, with.g);
        memcpy(without.g, with.g, with.layout.n * sizeof *with.g);
        memset(without.g + tensor->offset, 0, tensor->n * sizeof *without.g);
        Rates rates = { .lr = 0.05, .step = t };
        optimizer_step(&a, &rates, with.w, gradient_at(with.g), alone);
        optimizer_step(&b, &rates, without.w, gradient_at(without.g), alone);
    }
    ck_assert_msg(same_bits(with.w, without.w, with.layout.n), "%s: statistics leak", options);
    same_reports(&a, &b, options);
    ck_assert_msg(a.trust[mean] == 1, "%s", options);
    for (int t = 0; t < 2; t++) /* and they themselves stay where they were */
        fill(&with.layout, 0, 0, 1, without.w);
    ck_assert_msg(same_bits(with.w + tensor->offset, without.w + tensor->offset, tensor->n),
                  "%s: a statistic was updated", options);
    optimizer_free(&a);
    optimizer_free(&b);
    bench_free(&with);
    bench_free(&without);
}

START_TEST(test_statistics_are_passed_over)
{
    for_all(law_statistics);
}
END_TEST

/* A frozen tensor stays where it was, whatever stands in the place of its gradient. */
static void law_frozen(const char *options)
{
    Bench bench, zero;
    Optimizer a, b;
    bench_init(&bench, options);
    bench_init(&zero, options);
    int frozen = layout_find(&bench.layout, "dense.weight");
    bench.layout.tensors[frozen].flags = zero.layout.tensors[frozen].flags = LAYOUT_FROZEN;
    start(&bench, &a, layout_slice(&bench.layout, 0, 1));
    start(&zero, &b, layout_slice(&zero.layout, 0, 1));
    const LayoutTensor *tensor = &bench.layout.tensors[frozen];
    fill(&bench.layout, 0, 0, 1, bench.w);
    memcpy(zero.w, bench.w, bench.layout.n * sizeof *zero.w);
    float *before = mem_array(float, tensor->n);
    memcpy(before, bench.w + tensor->offset, tensor->n * sizeof *before);
    for (int t = 0; t < STEPS; t++) {
        fill(&bench.layout, 1, (uint64_t)t, 0.1, bench.g);
        memcpy(zero.g, bench.g, bench.layout.n * sizeof *zero.g);
        for (size_t k = 0; k < tensor->n; k++) {
            bench.g[tensor->offset + k] = (float)NAN;
            zero.g[tensor->offset + k] = 0;
        }
        Rates rates = { .lr = 0.05, .step = t };
        ck_assert_msg(optimizer_step(&a, &rates, bench.w, gradient_at(bench.g), alone), "%s",
                      options);
        optimizer_step(&b, &rates, zero.w, gradient_at(zero.g), alone);
    }
    ck_assert_msg(same_bits(bench.w + tensor->offset, before, tensor->n), "%s: it moved", options);
    ck_assert_msg(same_bits(bench.w, zero.w, bench.layout.n), "%s: it leaks", options);
    same_reports(&a, &b, options);
    mem_free(before);
    optimizer_free(&a);
    optimizer_free(&b);
    bench_free(&bench);
    bench_free(&zero);
}

START_TEST(test_frozen_tensors_stay)
{
    for_all(law_frozen);
}
END_TEST

/* One step of w -= lr f (g + wd w): f is the tensor's factor, and for the bias of a norm the
 * option's, which leaves lr f wd as it was. */
START_TEST(test_lr_factors)
{
    Bench bench;
    Optimizer optimizer;
    bench_init(&bench, "type: sgd, momentum: 0, weight_decay: 0.5, decay_all: true, "
                       "norm_bias_lr_factor: 16");
    Layout *layout = &bench.layout;
    int gain = layout_find(layout, "norm.gain"), bias = layout_find(layout, "norm.bias");
    layout->tensors[gain].lr_factor = 0.25;
    start(&bench, &optimizer, layout_slice(layout, 0, 1));
    for (int i = 0; i < layout->count; i++) {
        bench.w[layout->tensors[i].offset] = 1;
        bench.g[layout->tensors[i].offset] = 2;
    }
    optimizer_step(&optimizer, &(Rates){ .lr = 0.125 }, bench.w, gradient_at(bench.g), alone);
    for (int i = 0; i < layout->count; i++) {
        float wanted = i == gain   ? 1 - 0.125f * 0.25f * (2 + 0.5f)
                       : i == bias ? 1 - 0.125f * 16 * (2 + 0.5f / 16)
                                   : 1 - 0.125f * (2 + 0.5f);
        if (!(layout->tensors[i].flags & LAYOUT_STATISTIC))
            ck_assert(bench.w[layout->tensors[i].offset] == wanted);
    }
    optimizer_free(&optimizer);
    bench_free(&bench);
}
END_TEST

/* ---- groups and wrappers ---- */

START_TEST(test_groups)
{
    static const char options[] =
        "type: adamw, lr: 0.1, beta2: 0.5, weight_decay: 0.2, groups: [{match: '*.bias', dims: 1, "
        "lr_factor: 3, weight_decay: 0.7}, {match: dense.weigh?, type: lars, adapt: false}, {dims: "
        "[1, 4], eps: 0.25, lr: 0.5}]";
    static const struct {
        const char *tensor, *type;
        double lr, decay;
        bool adapt;
    } wanted[] = {
        { "conv.weight", "adamw", 5, 0.2, true },    { "norm.gain", "adamw", 5, 0, false },
        { "dense.weight", "lars", 10, 1e-4, false }, { "dense.bias", "adamw", 3, 0.7, false },
        { "norm.bias", "adamw", 3, 0.7, false },
    };
    Bench bench;
    Optimizer optimizer;
    bench_init(&bench, options);
    start(&bench, &optimizer, layout_slice(&bench.layout, 0, 1));
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        int k = layout_find(&bench.layout, wanted[i].tensor);
        const OptimizerMethod *method = &optimizer.methods[optimizer.tensor_method[k]];
        ck_assert_str_eq(method->type->name, wanted[i].type);
        ck_assert_double_eq_tol(optimizer.tensor_lr[k], wanted[i].lr, 1e-12);
        ck_assert_double_eq(optimizer.tensor_decay[k], wanted[i].decay);
        ck_assert_int_eq(optimizer.tensor_adapt[k], wanted[i].adapt);
    }
    ck_assert_int_eq(optimizer.method_count, 3);
    const ConfigNode *groups = config_get(config_get(bench.config.root, "optimizer"), "groups");
    ck_assert_str_eq(config_get(groups->children[2], "beta2")->text, "0.5"); /* the optimizer's */
    ck_assert_str_eq(config_get(groups->children[1], "momentum")->text, "0.9");
    optimizer_free(&optimizer);
    bench_free(&bench);
}
END_TEST

/* Rows without gradient stay as they were, moments too; the others are as without the option. */
START_TEST(test_lazy_rows)
{
    Bench lazy, plain;
    Optimizer a, b;
    bench_init(&lazy, "type: adamw, groups: [{match: dense.weight, lazy_rows: true}]");
    bench_init(&plain, "type: adamw");
    start(&lazy, &a, layout_slice(&lazy.layout, 0, 1));
    start(&plain, &b, layout_slice(&plain.layout, 0, 1));
    const LayoutTensor *tensor = &lazy.layout.tensors[3];
    size_t at = tensor->offset, row = 100, n = lazy.layout.n;
    fill(&lazy.layout, 0, 0, 1, lazy.w);
    memcpy(plain.w, lazy.w, n * sizeof *lazy.w);
    float *before = mem_array(float, n), *moment = mem_array(float, row);
    for (int t = 0; t < STEPS; t++) {
        fill(&lazy.layout, 1, (uint64_t)t, 0.1, lazy.g);
        memcpy(before, lazy.w, n * sizeof *before);
        memcpy(moment, a.state[0] + at + 4 * row, row * sizeof *moment);
        memset(lazy.g + at + 3 * row, 0, (t == 2 ? 2 : 1) * row * sizeof *lazy.g);
        memcpy(plain.g, lazy.g, n * sizeof *lazy.g);
        Rates rates = { .lr = 0.1, .step = t };
        optimizer_step(&a, &rates, lazy.w, gradient_at(lazy.g), alone);
        optimizer_step(&b, &rates, plain.w, gradient_at(plain.g), alone);
        ck_assert(same_bits(lazy.w + at + 3 * row, before + at + 3 * row, row));
        ck_assert(same_bits(lazy.w + at + 4 * row, before + at + 4 * row, row) == (t == 2));
        ck_assert(same_bits(a.state[0] + at + 4 * row, moment, row) == (t == 2));
    }
    ck_assert(same_bits(lazy.w, plain.w, at + 3 * row)); /* before the lazy rows, and behind them */
    ck_assert(same_bits(lazy.w + at + 5 * row, plain.w + at + 5 * row, n - at - 5 * row));
    ck_assert(!same_bits(lazy.w + at + 3 * row, plain.w + at + 3 * row, row)); /* it decays */
    mem_free(before);
    mem_free(moment);
    optimizer_free(&a);
    optimizer_free(&b);
    bench_free(&lazy);
    bench_free(&plain);
}
END_TEST

/* e = d e + (1 - d) w from the start weights; training does not feel it. */
START_TEST(test_ema)
{
    Bench bench, plain;
    Ranks *ranks = mem_new(Ranks), *without = mem_new(Ranks);
    bench_init(&bench, "type: sgd, wrap: [{ema: {decay: 0.75}}]");
    bench_init(&plain, "type: sgd");
    size_t n = bench.layout.n;
    double *mean = mem_array(double, n);
    fill(&bench.layout, 0, 0, 1, bench.w);
    fill(&plain.layout, 0, 0, 1, plain.w);
    for (size_t i = 0; i < n; i++)
        mean[i] = (double)bench.w[i];
    ranks_start(ranks, &bench, 1, false);
    ranks_start(without, &plain, 1, false);
    ck_assert(optimizer_averages(&ranks->optimizers[0]));
    ck_assert(!optimizer_averages(&without->optimizers[0]));
    for (int t = 0; t < STEPS; t++) {
        ranks_run(ranks, t, t + 1);
        ranks_run(without, t, t + 1);
        const LayoutTensor *left = &bench.layout.tensors[layout_find(&bench.layout, "norm.mean")];
        for (size_t i = 0; i < n; i++)
            mean[i] = i >= left->offset && i < left->offset + left->n
                          ? (double)bench.w[i]
                          : 0.75 * mean[i] + 0.25 * (double)bench.w[i];
    }
    ck_assert(same_bits(bench.w, plain.w, n));
    float *out = evaluated(ranks);
    for (size_t i = 0; i < n; i++)
        ck_assert_double_eq_tol((double)out[i], mean[i], 1e-5);
    mem_free(out);
    mem_free(mean);
    ranks_free(ranks);
    ranks_free(without);
    bench_free(&bench);
    bench_free(&plain);
}
END_TEST

/* sum of (w - target)^2 / 2 goes down, or up when maximizing. */
static void law_quadratic(const char *options)
{
    /* L4 divides what is to be won by the slope; cut element by element there is no slope left. */
    if (strstr(options, "type: l4") && strstr(options, "clip_value"))
        return;
    Bench bench;
    Optimizer optimizer;
    bench_init(&bench, options);
    start(&bench, &optimizer, layout_slice(&bench.layout, 0, 1));
    for (int i = 0; i < bench.layout.count; i++)
        optimizer.tensor_decay[i] = 0;
    float *target = mem_array(float, bench.layout.n);
    fill(&bench.layout, 0, 0, 1, bench.w);
    fill(&bench.layout, 7, 0, 1, target);
    double first = 0, last = 0;
    double lr = fmax(0.01, optimizer.type->default_lr / 2); /* lars, adadelta: not of that size */
    for (int t = 0; t < 100; t++) {
        last = 0;
        for (size_t k = 0; k < bench.layout.n; k++) {
            bench.g[k] = bench.w[k] - target[k];
            last += 0.5 * (double)bench.g[k] * (double)bench.g[k];
        }
        if (t == 0)
            first = last;
        Rates rates = { .lr = lr, .step = t, .loss = last };
        optimizer_step(&optimizer, &rates, bench.w, gradient_at(bench.g), alone);
    }
    if (optimizer.maximize)
        ck_assert_msg(last > 1.01 * first, "%s: from %g to %g", options, first, last);
    else
        ck_assert_msg(last < 0.999 * first, "%s: from %g to %g", options, first, last);
    mem_free(target);
    optimizer_free(&optimizer);
    bench_free(&bench);
}

START_TEST(test_quadratic)
{
    for_all(law_quadratic);
}
END_TEST

/* Every ISA level gives the same numbers up to rounding. */
static void law_levels(const char *options)
{
    static const char *const levels[] = { "v2", "v3", "v4" };
    Bench first, other;
    Ranks *ranks = mem_new(Ranks);
    Err err;
    Isa best = cpu_isa_best();
    ck_assert(cpu_set_isa("v2", &err));
    bench_init(&first, options);
    train(ranks, &first, 1);
    optimizer_free(&ranks->optimizers[0]);
    for (Isa isa = ISA_V3; isa <= best; isa++) {
        ck_assert(cpu_set_isa(levels[isa], &err));
        bench_init(&other, options);
        train(ranks, &other, 1);
        optimizer_free(&ranks->optimizers[0]);
        ck_assert_msg(all_close(other.w, first.w, first.layout.n, 2e-6, 2e-6), "%s at %s", options,
                      levels[isa]);
        bench_free(&other);
    }
    ck_assert(cpu_set_isa("auto", &err));
    bench_free(&first);
    mem_free(ranks);
}

START_TEST(test_levels_agree)
{
    for_all(law_levels);
}
END_TEST

static void law_no_allocation(const char *options)
{
    Bench bench;
    Optimizer optimizer;
    bench_init(&bench, options);
    start(&bench, &optimizer, layout_slice(&bench.layout, 0, 1));
    MemUse before = mem_use();
    optimizer_step(&optimizer, &(Rates){ .lr = 0.1 }, bench.w, gradient_at(bench.g), alone);
    MemUse after = mem_use();
    ck_assert_uint_eq(before.blocks, after.blocks);
    ck_assert_uint_eq(before.peak_bytes, after.peak_bytes);
    optimizer_free(&optimizer);
    bench_free(&bench);
}

START_TEST(test_no_allocation_in_a_step)
{
    for_all(law_no_allocation);
}
END_TEST

static void law_divergence(const char *options)
{
    static const float bad[] = { NAN, INFINITY, -INFINITY };
    for (int i = 0; i < 3; i++) {
        Bench bench;
        Optimizer optimizer;
        bench_init(&bench, options);
        start(&bench, &optimizer, layout_slice(&bench.layout, 0, 1));
        Rates rates = { .lr = 0.1 };
        ck_assert(optimizer_step(&optimizer, &rates, bench.w, gradient_at(bench.g), alone));
        bench.g[bench.layout.tensors[3].offset + 5] = bad[i];
        ck_assert_msg(!optimizer_step(&optimizer, &rates, bench.w, gradient_at(bench.g), alone),
                      "%s", options);
        optimizer_free(&optimizer);
        bench_free(&bench);
    }
}

START_TEST(test_divergence_is_told)
{
    for_all(law_divergence);
}
END_TEST

/* ---- clipping ---- */

START_TEST(test_clip_norm)
{
    Bench bench;
    Optimizer optimizer;
    bench_init(&bench, "type: sgd, momentum: 0, lr: 1, clip_norm: 0.25");
    start(&bench, &optimizer, layout_slice(&bench.layout, 0, 1));
    fill(&bench.layout, 1, 0, 1, bench.g);
    optimizer_step(&optimizer, &(Rates){ .lr = 1 }, bench.w, gradient_at(bench.g), alone);
    double sum = 0, moved = 0;
    for (int i = 0; i < bench.layout.count; i++) {
        const LayoutTensor *tensor = &bench.layout.tensors[i];
        for (size_t k = tensor->offset; k < tensor->offset + tensor->n; k++) {
            moved += (double)bench.w[k] * (double)bench.w[k];
            if (!(tensor->flags & LAYOUT_STATISTIC))
                sum += (double)bench.g[k] * (double)bench.g[k];
        }
    }
    ck_assert_double_eq_tol(optimizer.grad_norm, sqrt(sum), 1e-9 * sqrt(sum));
    ck_assert_double_eq_tol(optimizer.clip_factor, 0.25 / (sqrt(sum) + 1e-6), 1e-12);
    ck_assert_double_eq_tol(sqrt(moved), 0.25, 1e-6);
    optimizer_free(&optimizer);
    bench_free(&bench);
}
END_TEST

START_TEST(test_clip_value_reports_the_norm_before)
{
    Bench bench;
    Optimizer optimizer;
    bench_init(&bench, "type: sgd, momentum: 0, clip_value: 0.5, clip_norm: 100");
    start(&bench, &optimizer, layout_slice(&bench.layout, 0, 1));
    bench.g[bench.layout.tensors[0].offset] = 3;
    bench.g[bench.layout.tensors[3].offset] = -4;
    optimizer_step(&optimizer, &(Rates){ .lr = 1 }, bench.w, gradient_at(bench.g), alone);
    ck_assert_double_eq(optimizer.grad_norm, 5);
    ck_assert_double_eq(optimizer.clip_factor, 1);
    ck_assert_double_eq((double)bench.w[bench.layout.tensors[0].offset], -0.5);
    ck_assert_double_eq((double)bench.w[bench.layout.tensors[3].offset], 0.5);
    optimizer_free(&optimizer);
    bench_free(&bench);
}
END_TEST

/* ---- options ---- */

START_TEST(test_defaults)
{
    static const struct {
        const char *options;
        double lr, weight_decay, clip_norm;
    } cases[] = {
        { "", 0.1, 0, 0 },
        { "type: sgd", 0.1, 0, 0 },
        { "type: lars", 1, 1e-4, 0 },
        { "type: lamb", 1e-3, 0.01, 1 },
        { "type: adamw", 1e-3, 0.01, 0 },
        { "type: lamb, clip_norm: 0, lr: 2", 2, 0.01, 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Bench bench;
        Optimizer optimizer;
        bench_init(&bench, cases[i].options);
        start(&bench, &optimizer, layout_slice(&bench.layout, 0, 1));
        ck_assert_double_eq(optimizer.lr, cases[i].lr);
        ck_assert_double_eq(optimizer.weight_decay, cases[i].weight_decay);
        ck_assert_double_eq(optimizer.clip_norm, cases[i].clip_norm);
        for (int k = 0; k < bench.layout.count; k++) { /* matrices only */
            bool matrix = bench.layout.tensors[k].ndim > 1;
            ck_assert_double_eq(optimizer.tensor_decay[k], matrix ? cases[i].weight_decay : 0);
            ck_assert_int_eq(optimizer.tensor_adapt[k], matrix);
        }
        optimizer_free(&optimizer);
        bench_free(&bench);
    }
}
END_TEST

START_TEST(test_resolved_config_has_the_methods_defaults)
{
    Bench bench;
    Optimizer optimizer;
    bench_init(&bench, "type: lamb");
    start(&bench, &optimizer, layout_slice(&bench.layout, 0, 1));
    ConfigNode *node = config_get(bench.config.root, "optimizer");
    ck_assert_str_eq(config_get(node, "lr")->text, "0.001");
    ck_assert_str_eq(config_get(node, "clip_norm")->text, "1");
    ck_assert_str_eq(config_get(node, "beta2")->text, "0.999");
    optimizer_free(&optimizer);
    bench_free(&bench);
}
END_TEST

/* `text` with the names of all methods in the place of @, so that a new one changes no message. */
static const char *expand(char buffer[2048], const char *text)
{
    const char *place = strchr(text, '@');
    if (!place)
        return text;
    int count;
    const OptimizerType *const *types = optimizer_all(&count);
    snprintf(buffer, 2048, "%.*s", (int)(place - text), text);
    for (int i = 0; i < count; i++)
        text_append(buffer, 2048, "%s%s", types[i]->name, i + 1 < count ? ", " : place + 1);
    return buffer;
}

START_TEST(test_methods_are_in_order)
{
    int count;
    const OptimizerType *const *types = optimizer_all(&count);
    for (int i = 1; i < count; i++)
        ck_assert_int_lt(strcmp(types[i - 1]->name, types[i]->name), 0);
}
END_TEST

START_TEST(test_messages)
{
    static const struct {
        const char *options, *message;
    } cases[] = {
        { "type: lambs",
          "test.yaml:1:19: optimizer.type: unknown optimizer \"lambs\"; did you mean "
          "\"lamb\"? (optimizers: @)" },
        { "type: sgd, nesterov: true, momentum: 0",
          "test.yaml:1:12: optimizer: nesterov needs momentum above 0 and dampening 0, found 0 and "
          "0" },
        { "type: lars, nesterov: true, dampening: 0.5",
          "test.yaml:1:12: optimizer: nesterov needs momentum above 0 and dampening 0, found 0.9 "
          "and "
          "0.5" },
        { "type: adamw, beta3: 0.9",
          "test.yaml:1:26: optimizer.beta3: unknown option; did you "
          "mean \"beta1\"? (options here: type, "
          "lr, weight_decay, clip_norm, clip_value, decay_all, "
          "adapt_all, norm_bias_lr_factor, maximize, groups, wrap, beta1, beta2, eps, decay, "
          "amsgrad, eps_hat)" },
        { "type: sgd, momentum: 1.5",
          "test.yaml:1:34: optimizer.momentum: 1.5 is out of range, wanted 0 to 1" },
        { "groups: 3", "test.yaml:1:21: optimizer.groups: a list is wanted, such as [{match: "
                       "\"*.bias\", weight_decay: 0}]" },
        { "groups: [{type: sdg}]", "test.yaml:1:29: optimizer.groups[0].type: unknown optimizer "
                                   "\"sdg\"; did you mean \"sgd\"? (optimizers: @)" },
        { "groups: [{beta1: 0.5}]",
          "test.yaml:1:23: optimizer.groups[0].beta1: unknown option (options "
          "here: match, dims, type, lr, lr_factor, weight_decay, adapt, lazy_rows, momentum, "
          "dampening, nesterov, decay)" },
        { "groups: [{type: lamb, lazy_rows: true}]",
          "test.yaml:1:46: optimizer.groups[0].lazy_rows: lamb needs more than a row at a time and "
          "cannot leave out rows" },
        { "lr: 0, groups: [{lr: 2}]", "test.yaml:1:34: optimizer.groups[0].lr: a group's lr is a "
                                      "multiple of optimizer.lr, which is 0 here" },
        { "wrap: [emma]", "test.yaml:1:20: optimizer.wrap[0]: unknown wrapper \"emma\"; did you "
                          "mean \"ema\"? (wrappers: adagc, agc, centralize, clip_layer, ema, "
                          "larc, lookahead, noise, perturb, swa)" },
        { "wrap: {ema: 3}",
          "test.yaml:1:19: optimizer.wrap: a list is wanted, such as [{ema: {decay: 0.99}}]" },
        { "type: sgd, lr: -1",
          "test.yaml:1:28: optimizer.lr: -1 is out of range, wanted 0 to 1000000000" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char buffer[2048];
        Bench bench;
        Optimizer optimizer;
        Err err = { "" };
        bench_init(&bench, cases[i].options);
        ConfigNode *node = config_get(bench.config.root, "optimizer");
        ck_assert(!optimizer_init(&optimizer, &bench.config, node, &bench.layout, &err));
        ck_assert_str_eq(err.text, expand(buffer, cases[i].message));
        optimizer_free(&optimizer);
        bench_free(&bench);
    }
}
END_TEST

int main(void)
{
    if (!cpu_blas_setup("keep", NULL)) /* one thread: two wait for each other on a busy machine */
        return 1;
    Suite *suite = suite_create("optimizer");
    add_test(suite, test_slices);
    add_test(suite, test_resume);
    add_test(suite, test_groups);
    add_test(suite, test_lazy_rows);
    add_test(suite, test_ema);
    add_test(suite, test_padding_stays_zero);
    add_test(suite, test_no_gradient_no_decay_no_change);
    add_test(suite, test_statistics_are_passed_over);
    add_test(suite, test_frozen_tensors_stay);
    add_test(suite, test_lr_factors);
    add_test(suite, test_quadratic);
    add_test(suite, test_levels_agree);
    add_test(suite, test_no_allocation_in_a_step);
    add_test(suite, test_divergence_is_told);
    add_test(suite, test_clip_norm);
    add_test(suite, test_clip_value_reports_the_norm_before);
    add_test(suite, test_defaults);
    add_test(suite, test_resolved_config_has_the_methods_defaults);
    add_test(suite, test_methods_are_in_order);
    add_test(suite, test_messages);
    return run_suite(suite);
}
