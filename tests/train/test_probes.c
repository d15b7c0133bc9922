/* Probes against their definitions, computed in double from every lane's gradient; and the same
 * bits for every number of ranks.
 * ranks: 1 2 3 4 5 8 */
#include "../../src/train/probes.h"
#include "lockstep/cpu.h"
#include "lockstep/memory.h"
#include "lockstep/noise.h"
#include "lockstep/trainer.h"
#include "support.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define NETWORK                                                                                    \
    "data: {type: synthetic, shape: [3, 8, 8], classes: 5, train: 118, test: 8, augment: "         \
    "[flip]}\n"                                                                                    \
    "model:\n"                                                                                     \
    "  layers: [conv2d: {channels: 40, kernel: 3, padding: 1, name: first}, batchnorm: {ghost: "   \
    "2},\n"                                                                                        \
    "           relu, conv2d: {channels: 20, kernel: 3, padding: 1, bias: false, name: second},\n" \
    "           groupnorm: 4, relu, global_avgpool, dropout: 0.2, dense: {units: 5, name: "        \
    "last}]\n"
#define LENGTH "train: {batch: 32, lanes: 8, steps: 9}\n"
#define LARS "optimizer: {type: lars, lr: 0.02, trust_coefficient: 0.001, trust_clip: on}\n"
#define ALL "probes: {every: 1st, smoothing: 0.8, distance: true, cosine: true}\n"

enum { FLOATS = 12000, STEPS = 9, LANES = 8 };

static Comm *world;

static void open_trainer(Trainer *trainer, Settings *settings, Comm *comm, const char *config)
{
    Err err;
    int code;
    *settings = (Settings){ 0 };
    bool ok = config_parse(&settings->config, "test.yaml", config, strlen(config), &err) &&
              settings_read(settings, &err) && trainer_init(trainer, settings, comm, &code, &err);
    ck_assert_msg(ok, "%s", err.text);
    ck_assert(trainer->model.layout.n <= FLOATS);
}

static void close_trainer(Trainer *trainer, Settings *settings)
{
    trainer_free(trainer);
    settings_free(settings);
}

/* ---- by definition ---- */

/* What a step has done to a tensor, or to all of them; in double. */
typedef struct Truth {
    double trace, grad_sq;         /* of the noise */
    double g, w, u, d, gd, uu, gg; /* norms, and products, of this step */
    double u_before, g_before;     /* norms of the last step */
    double trust, rate;
    bool clamped;
} Truth;

/* Everything of a run that its probes may need. */
typedef struct Brute {
    float lane[LANES][FLOATS]; /* a lane's mean gradient */
    double g[FLOATS], u[FLOATS], last_g[FLOATS], last_u[FLOATS];
    float start[FLOATS], before[FLOATS];
    int samples[LANES];
    double all; /* samples */
} Brute;

static Brute brute; /* large */

/* Each lane's gradient at w, as the step has seen it. */
static void run_lanes(Trainer *t, float *w, int64_t step)
{
    static float sum[FLOATS] __attribute__((aligned(64)));
    const Layout *layout = &t->model.layout;
    int global = loader_batch_size(&t->loader, step);
    brute.all = global;
    memset(brute.g, 0, sizeof brute.g);
    model_bind(&t->model, w, sum);
    model_begin_step(&t->model, global);
    for (int lane = 0; lane < LANES; lane++) {
        const Batch *batch = loader_lane(&t->loader, step, lane);
        Pass pass = { .train = true,
                      .batch = batch->count,
                      .seed = (uint64_t)t->settings->seed,
                      .step = step,
                      .first_sample = lane * t->lanes.size,
                      .global_batch = global,
                      .lane_size = t->lanes.size,
                      .global_targets = global };
        brute.samples[lane] = batch->count;
        if (batch->count == 0)
            continue;
        model_forward(&t->model, batch, &pass);
        model_backward(&t->model, batch, &pass);
        for (size_t i = 0; i < layout->n; i++) {
            brute.lane[lane][i] = sum[i] * (float)(brute.all / batch->count);
            brute.g[i] += (double)sum[i];
        }
    }
}

/* tr(C) from its definition, the spread of the lanes around their mean. */
static double spread(size_t i)
{
    double sum = 0;
    int lanes = 0;
    for (int lane = 0; lane < LANES; lane++) {
        double off = (double)brute.lane[lane][i] - brute.g[i];
        if (brute.samples[lane] == 0)
            continue;
        sum += brute.samples[lane] * off * off;
        lanes++;
    }
    return sum / (lanes - 1);
}

static void add_tensor(Truth *sum, const LayoutTensor *tensor)
{
    for (size_t i = tensor->offset; i < tensor->offset + tensor->n; i++) {
        double w0 = (double)brute.start[i], w = (double)brute.before[i];
        sum->trace += spread(i);
        sum->g += brute.g[i] * brute.g[i];
        sum->w += w * w;
        sum->u += brute.u[i] * brute.u[i];
        sum->d += (w + brute.u[i] - w0) * (w + brute.u[i] - w0);
        sum->gd += brute.g[i] * (w - w0);
        sum->uu += brute.u[i] * brute.last_u[i];
        sum->gg += brute.g[i] * brute.last_g[i];
        sum->u_before += brute.last_u[i] * brute.last_u[i];
        sum->g_before += brute.last_g[i] * brute.last_g[i];
    }
    sum->grad_sq = sum->g - sum->trace / brute.all;
}

/* LARS with its ratio clipped (lars.c). */
static void add_trust(Truth *truth, const Trainer *t)
{
    double norm_g = sqrt(truth->g), norm_w = sqrt(truth->w), lr = t->rates.lr;
    double ratio = 0.001 * norm_w / (norm_g + 1e-4 * norm_w + 1e-7);
    truth->clamped = ratio >= lr;
    truth->trust = truth->clamped ? 1 : ratio / lr;
    truth->rate = lr * truth->trust / truth->w;
}

static bool is_trained(const LayoutTensor *tensor)
{
    return !(tensor->flags & LAYOUT_STATISTIC);
}

/* ---- comparison ---- */

static double value_of(const ProbeRecord *record, const char *key)
{
    for (int i = 0; i < record->value_count; i++)
        if (strcmp(record->values[i].key, key) == 0)
            return record->values[i].value;
    ck_abort_msg("no value %s", key);
}

static bool has_value(const ProbeRecord *record, const char *key)
{
    bool found = false;
    for (int i = 0; i < record->value_count; i++)
        found = found || strcmp(record->values[i].key, key) == 0;
    return found;
}

static double row_of(const ProbeRecord *record, const char *tensor, const char *quantity)
{
    for (int i = 0; i < record->row_count; i++)
        if (strcmp(record->rows[i].tensor, tensor) == 0 &&
            strcmp(record->rows[i].quantity, quantity) == 0)
            return record->rows[i].value;
    ck_abort_msg("no row %s of %s", quantity, tensor);
}

/* Sums of products have the error of their factors. */
static void near(const char *what, double got, double wanted, double scale)
{
    ck_assert_msg(fabs(got - wanted) <= 2e-5 * scale, "%s: %.9g, not %.9g", what, got, wanted);
}

static void compare_tensor(const ProbeRecord *record, const char *name, const Truth *truth,
                           bool follows)
{
    double scale = truth->g + truth->trace / brute.all;
    near("trace", row_of(record, name, "noise_trace"), truth->trace, truth->trace + truth->g * 8);
    near("grad_sq", row_of(record, name, "noise_grad_sq"), truth->grad_sq, scale);
    near("grad_norm", row_of(record, name, "grad_norm"), sqrt(truth->g), sqrt(truth->g));
    near("weight_norm", row_of(record, name, "weight_norm"), sqrt(truth->w), sqrt(truth->w));
    double ratio = sqrt(truth->u / truth->w);
    if (truth->w > 1e-6) /* a bias that starts at zero does not know */
        near("update_ratio", row_of(record, name, "update_ratio"), ratio, ratio);
    near("distance", row_of(record, name, "distance"), sqrt(truth->d), sqrt(truth->d));
    near("gradient_from_start", row_of(record, name, "gradient_from_start"), truth->gd,
         sqrt(truth->g * truth->d));
    if (!follows)
        return;
    near("update_cosine", row_of(record, name, "update_cosine"),
         truth->uu / sqrt(truth->u * truth->u_before), 1);
    near("grad_cosine", row_of(record, name, "grad_cosine"),
         truth->gg / sqrt(truth->g * truth->g_before), 1);
}

/* Trust ratios are those of tensors of two and more dimensions; the convolutions are in front of a
 * normalisation. Returns how many ratios were clamped. */
static int compare_rates(const Trainer *t, const ProbeRecord *record, const LayoutTensor *tensor,
                         Truth *truth)
{
    if (tensor->ndim < 2)
        return 0;
    add_trust(truth, t);
    near("trust", row_of(record, tensor->name, "trust"), truth->trust, truth->trust);
    ck_assert(row_of(record, tensor->name, "trust_clamped") == (truth->clamped ? 1 : 0));
    if (tensor->ndim == 4)
        near("effective_lr", row_of(record, tensor->name, "effective_lr"), truth->rate,
             truth->rate);
    return truth->clamped;
}

static int compare_step(Trainer *t, const ProbeRecord *record, bool follows, bool lars,
                        Noise *noise)
{
    const Layout *layout = &t->model.layout;
    Truth all = { 0 };
    int clamped = 0;
    for (int i = 0; i < layout->count; i++) {
        const LayoutTensor *tensor = &layout->tensors[i];
        Truth truth = { 0 };
        if (!is_trained(tensor))
            continue;
        add_tensor(&truth, tensor);
        add_tensor(&all, tensor);
        if (strcmp(tensor->name, "first.bias") != 0) /* its gradient is rounding: batchnorm */
            compare_tensor(record, tensor->name, &truth, follows);
        clamped += lars ? compare_rates(t, record, tensor, &truth) : 0;
    }
    double update = sqrt(all.u / all.w);
    near("noise_trace", value_of(record, "noise_trace"), all.trace, all.trace + 8 * all.g);
    near("noise_grad_sq", value_of(record, "noise_grad_sq"), all.grad_sq, all.g);
    near("noise_scale_biased", value_of(record, "noise_scale_biased"), all.trace / all.g,
         8 + all.trace / all.g);
    near("grad_norm", value_of(record, "grad_norm"), sqrt(all.g), sqrt(all.g));
    near("update_ratio", value_of(record, "update_ratio"), update, update);
    near("distance", value_of(record, "distance"), sqrt(all.d), sqrt(all.d));
    ck_assert(!lars || value_of(record, "trust_clamped") == clamped);
    *noise = (Noise){ value_of(record, "noise_trace"), value_of(record, "noise_grad_sq"), 0 };
    return clamped;
}

/* The ratio of weighted sums and its jackknife, each summed anew over all steps so far. */
static void compare_smoothed(const ProbeRecord *record, const Noise *noise, int count)
{
    double a = 0, b = 0, weights = 0, weights_sq = 0, error = 0;
    for (int i = 0; i < count; i++) {
        double w = 0.2 * pow(0.8, count - 1 - i);
        a += w * noise[i].trace;
        b += w * noise[i].grad_sq;
        weights += w;
        weights_sq += w * w;
    }
    for (int i = 0; i < count; i++) {
        double w = 0.2 * pow(0.8, count - 1 - i), off = noise[i].trace - a / b * noise[i].grad_sq;
        error += w * w * off * off;
    }
    double steps = weights * weights / weights_sq;
    double band = 1.96 * sqrt(error * steps / (steps - 1)) / b;
    ck_assert(b > 0); /* which the network has to be good for */
    near("noise_scale", value_of(record, "noise_scale"), a / b, a / b);
    if (count == 1) {
        ck_assert(isnan(value_of(record, "noise_scale_low")));
        return;
    }
    near("low", value_of(record, "noise_scale_low"), fmax(a / b - band, 0), a / b + band);
    near("high", value_of(record, "noise_scale_high"), a / b + band, a / b + band);
}

/* Trains on one rank and compares every step; returns how many trust ratios were clamped. */
static int compare_run(const char *config, bool lars)
{
    Settings settings;
    Trainer t;
    Noise noise[STEPS];
    int clamped = 0;
    Comm *alone = comm_split(world, comm_rank(world));
    open_trainer(&t, &settings, alone, config);
    size_t n = t.model.layout.n;
    float *copy = mem_array(float, n);
    memcpy(brute.start, t.w, n * sizeof *t.w);
    for (int step = 0; step < STEPS; step++) {
        memcpy(brute.last_g, brute.g, sizeof brute.g);
        memcpy(brute.last_u, brute.u, sizeof brute.u);
        memcpy(brute.before, t.w, n * sizeof *t.w);
        memcpy(copy, t.w, n * sizeof *t.w);
        ck_assert_int_eq(trainer_step(&t), STEP_OK);
        for (size_t i = 0; i < n; i++)
            brute.u[i] = (double)t.w[i] - (double)copy[i];
        run_lanes(&t, copy, step);
        const ProbeRecord *record = probes_record(&t);
        ck_assert(record && record->step == step + 1);
        clamped += compare_step(&t, record, step > 0, lars, &noise[step]);
        compare_smoothed(record, noise, step + 1);
    }
    mem_free(copy);
    close_trainer(&t, &settings);
    comm_free(alone);
    return clamped;
}

START_TEST(values_are_those_of_the_definitions)
{
    int clamped = compare_run(NETWORK LENGTH LARS ALL, true);
    ck_assert(clamped > 0 && clamped < 3 * STEPS); /* some of each */
    compare_run(NETWORK LENGTH "optimizer: {type: muon, lr: 0.005}\n" ALL, false);
}
END_TEST

/* ---- against the reference ---- */

#define GOLDEN "tests/golden/diagnostics/"

/* `bytes` bytes behind the header of an .npy file of version 1.0. */
static void read_npy(const char *path, void *data, size_t bytes)
{
    unsigned char head[10];
    FILE *file = fopen(path, "rb");
    ck_assert_msg(file && fread(head, 1, sizeof head, file) == sizeof head, "%s", path);
    ck_assert_int_eq(fseek(file, 10 + head[8] + 256 * head[9], SEEK_SET), 0);
    ck_assert_msg(fread(data, 1, bytes, file) == bytes && fgetc(file) == EOF, "%s", path);
    fclose(file);
}

/* The case's network, weights and samples in a trainer, which has made up others. */
static void take_case(Trainer *t)
{
    float w[43];
    const Layout *layout = &t->model.layout;
    size_t at = 0;
    read_npy(GOLDEN "w.npy", w, sizeof w);
    read_npy(GOLDEN "x.npy", t->loader.train.values, 12 * 4 * sizeof(float));
    read_npy(GOLDEN "y.npy", t->loader.train.labels, 12 * sizeof(int32_t));
    for (int i = 0; i < layout->count && comm_rank(t->comm) == 0; i++)
        for (size_t k = 0; k < layout->tensors[i].n; k++)
            t->w[layout->tensors[i].offset + k] = w[at++];
    trainer_send_weights(t);
}

static void near_case(const char *key, double got)
{
    json_error_t error;
    json_t *json = json_load_file(GOLDEN "case.json", 0, &error);
    double wanted = json_number_value(json_object_get(json, key));
    ck_assert(wanted > 0);
    near(key, got, wanted, wanted);
    json_decref(json);
}

/* 12 examples as 12 lanes of a sample; 4 lanes stay empty. The reference's noise scale is the plain
 * ratio tr(C) / |g|^2. */
START_TEST(the_golden_noise_scale)
{
    Settings settings;
    Trainer t;
    open_trainer(&t, &settings, world,
                 "data: {type: synthetic, shape: [4], classes: 3, train: 12, test: 4}\n"
                 "model: {layers: [dense: 5, tanh, dense: 3]}\n"
                 "train: {batch: 16, lanes: 16, steps: 1}\noptimizer: {type: sgd, lr: 0.1}\n"
                 "probes: {every: 1st}\n");
    take_case(&t);
    ck_assert_int_eq(trainer_step(&t), STEP_OK);
    const ProbeRecord *record = probes_record(&t);
    double norm = value_of(record, "grad_norm"), trace = value_of(record, "noise_trace");
    near_case("loss", t.tally.loss / t.tally.count);
    near_case("grad_norm_sq", norm * norm);
    near_case("grad_cov_trace", trace);
    near_case("simple_noise_scale", value_of(record, "noise_scale_biased"));
    near("noise_grad_sq", value_of(record, "noise_grad_sq"), norm * norm - trace / 12, 1);
    close_trainer(&t, &settings);
}
END_TEST

/* ---- ranks ---- */

/* Rows and values of all steps. */
typedef struct Found {
    double numbers[20000];
    int count;
} Found;

static void keep(Found *found, const ProbeRecord *record)
{
    for (int i = 0; i < record->value_count; i++)
        found->numbers[found->count++] = record->values[i].value;
    for (int i = 0; i < record->row_count; i++)
        found->numbers[found->count++] = record->rows[i].value;
    ck_assert(found->count < 19000);
}

static Found *probe(Comm *comm, const char *config)
{
    Settings settings;
    Trainer t;
    Found *found = mem_new(Found);
    open_trainer(&t, &settings, comm, config);
    while (t.step < t.steps) {
        ck_assert_int_eq(trainer_step(&t), STEP_OK);
        if (probes_record(&t))
            keep(found, probes_record(&t));
    }
    close_trainer(&t, &settings);
    return found;
}

static void check_ranks(const char *config)
{
    static const char *const places[] = {
        "", "comm: {memory: private}\n", "comm: {update: replicated}\n",
        /* sums that travel early are added into gradients of lanes */
        "comm: {virtual_hosts: 2, bucket: 0.01, overlap: polling}\n"
    };
    Comm *alone = comm_split(world, comm_rank(world));
    Found *one = probe(alone, config);
    comm_free(alone);
    ck_assert(one->count > 100);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char text[2048];
        if (comm_size(world) == 1 && i == 3)
            break;
        snprintf(text, sizeof text, "%s%s", config, places[i]);
        Found *all = probe(world, text);
        assert_all(all->count == one->count);
        assert_all(memcmp(all->numbers, one->numbers, (size_t)one->count * sizeof(double)) == 0);
        mem_free(all);
    }
    mem_free(one);
}

START_TEST(rank_count_changes_nothing)
{
    check_ranks(NETWORK LENGTH LARS ALL);
    check_ranks(NETWORK LENGTH "optimizer: {type: sgd, lr: 0.1, clip_value: 0.01}\n"
                               "probes: {every: 2st, distance: true, cosine: true}\n");
    check_ranks(NETWORK "train: {batch: 32, lanes: 8, steps: 9, grow: [{at: 4st, batch: 64}]}\n"
                        "optimizer: {type: muon, lr: 0.01}\n"
                        "probes: {every: 0.5ep, cosine: true}\n");
}
END_TEST

/* The gradient whose norm is probed is the mean of the lanes, whatever is made of it. */
START_TEST(a_changed_gradient_is_probed_before)
{
    Settings settings;
    Trainer t;
    double norms[2];
    for (int i = 0; i < 2; i++) {
        char config[2048];
        snprintf(config, sizeof config, "%soptimizer: {type: lars, lr: 0.1%s}\n%s", NETWORK LENGTH,
                 i ? ", clip_value: 0.001" : "", ALL);
        open_trainer(&t, &settings, world, config);
        ck_assert_int_eq(trainer_step(&t), STEP_OK);
        norms[i] = value_of(probes_record(&t), "grad_norm");
        ck_assert(fabs(norms[i] - t.optimizer.grad_norm) < 1e-12);
        close_trainer(&t, &settings);
    }
    ck_assert(memcmp(&norms[0], &norms[1], sizeof norms[0]) == 0);
}
END_TEST

/* What was kept of a step is not that of the step before, if one was left out in between. */
START_TEST(a_step_that_is_left_out_is_not_the_one_before)
{
    Settings settings;
    Trainer t;
    open_trainer(&t, &settings, world, NETWORK LENGTH LARS ALL);
    t.recovery.rollbacks = 1;
    t.recovery.passed[0].first = 4;
    t.recovery.passed[0].count = 1;
    for (int step = 0; step < 7; step++) {
        ck_assert_int_eq(trainer_step(&t), step == 4 ? STEP_SKIPPED : STEP_OK);
        const ProbeRecord *record = probes_record(&t);
        ck_assert(!record == (step == 4));
        if (record)
            ck_assert(has_value(record, "grad_cosine") == (step != 0 && step != 5));
    }
    close_trainer(&t, &settings);
}
END_TEST

/* A weight that stands to be scaled may be scaled. */
START_TEST(scale_invariant_weights_are_found)
{
    static const struct {
        const char *layers, *found;
    } nets[] = {
        { "conv2d: {channels: 8, kernel: 3, name: a}, batchnorm, relu, "
          "conv2d: {channels: 8, kernel: 3, bias: false, name: b}, relu, maxpool: 2, batchnorm, "
          "flatten, dense: {units: 5, name: c}",
          "a.weight b.weight" },
        { "flatten, dense: {units: 8, name: a}, layernorm, relu, dense: {units: 8, bias: false, "
          "name: b}, rmsnorm, dense: {units: 5, name: c}",
          "b.weight" },
        { "conv2d: {channels: 8, kernel: 3, name: a}, relu, batchnorm, residual: {body: [conv2d: "
          "{channels: 8, kernel: 3, padding: 1, bias: false, name: b}]}, batchnorm, flatten, "
          "dense: {units: 5, name: c}",
          "" },
    };
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++) {
        char config[2048], names[256] = "";
        Settings settings;
        Trainer t;
        bool tensors[64];
        snprintf(config, sizeof config,
                 "data: {type: synthetic, shape: [3, 8, 8], classes: 5, train: 64, test: 8}\n"
                 "model: {layers: [%s]}\ntrain: {batch: 32, lanes: 8, steps: 2}\n",
                 nets[i].layers);
        open_trainer(&t, &settings, world, config);
        model_scale_invariant(&t.model, tensors);
        for (int k = 0; k < t.model.layout.count; k++)
            if (tensors[k])
                snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s",
                         *names ? " " : "", t.model.layout.tensors[k].name);
        ck_assert_str_eq(names, nets[i].found);
        close_trainer(&t, &settings);
    }
}
END_TEST

/* Nothing is allocated in a step, probed or not. */
START_TEST(a_step_allocates_nothing)
{
    Settings settings;
    Trainer t;
    open_trainer(&t, &settings, world, NETWORK LENGTH LARS ALL);
    ck_assert_int_eq(trainer_step(&t), STEP_OK);
    size_t before = mem_use().allocations;
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(trainer_step(&t), STEP_OK);
    assert_all(mem_use().allocations == before);
    close_trainer(&t, &settings);
}
END_TEST

int main(int argc, char **argv)
{
    world = comm_init(&argc, &argv);
    if (!cpu_blas_setup("auto", NULL))
        return 1;
    Suite *suite = suite_create("probes");
    add_test(suite, values_are_those_of_the_definitions);
    add_test(suite, the_golden_noise_scale);
    add_test(suite, rank_count_changes_nothing);
    add_test(suite, a_changed_gradient_is_probed_before);
    add_test(suite, a_step_that_is_left_out_is_not_the_one_before);
    add_test(suite, scale_invariant_weights_are_found);
    add_test(suite, a_step_allocates_nothing);
    int code = run_suite(suite);
    comm_free(world);
    return code;
}
