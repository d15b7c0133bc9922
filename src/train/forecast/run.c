/* `lockstep plan`: the request, and a forecast for every rank count that it asks for. */
#include "parts.h"

#include "lockstep/log.h"
#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MOST_RANKS 65536
#define GIVEN_MEMORY 20e9 /* bytes a second of a core, where nothing is measured */

static bool read_count(const char *word, const char *flag, int *count, Err *err)
{
    int64_t value;
    if (!text_to_int(word, &value) || value < 1 || value > MOST_RANKS)
        return err_set(err, "plan: %s %s: numbers from 1 to %d are wanted", flag, word, MOST_RANKS);
    *count = (int)value;
    return true;
}

static bool read_ranks(const char *text, ForecastPlan *plan, Err *err)
{
    for (const char *at = text; *at;) {
        char word[16] = "";
        size_t length = strcspn(at, ",");
        memcpy(word, at, length < sizeof word ? length : sizeof word - 1);
        if (plan->count == FORECAST_MAX)
            return err_set(err, "plan: --ranks: at most %d rank counts", FORECAST_MAX);
        if (!read_count(word, "--ranks", &plan->ranks[plan->count++], err))
            return false;
        at += length + (at[length] == ',');
    }
    return plan->count > 0 || err_set(err, "plan: --ranks: such as 1,2,4 is wanted");
}

static bool read_request(const ForecastRequest *request, const Comm *comm, ForecastPlan *plan,
                         Err *err)
{
    const char *scaling = request->scaling ? request->scaling : "weak";
    *plan = (ForecastPlan){ .ranks_per_host = comm_size(comm),
                            .strong = strcmp(scaling, "strong") == 0,
                            .network_text = request->network ? request->network : "100gbit-roce" };
    if (!plan->strong && strcmp(scaling, "weak") != 0)
        return err_set(err, "plan: --scaling %s: weak or strong is wanted", scaling);
    for (int ranks = 1; !request->ranks && ranks <= 4096; ranks *= 2)
        plan->ranks[plan->count++] = ranks;
    if (request->ranks && !read_ranks(request->ranks, plan, err))
        return false;
    if (request->ranks_per_host &&
        !read_count(request->ranks_per_host, "--ranks-per-host", &plan->ranks_per_host, err))
        return false;
    double ms = 0;
    if (request->compute_ms &&
        (!text_to_double(request->compute_ms, &ms) || !isfinite(ms) || ms <= 0))
        return err_set(err, "plan: --compute-ms %s: a number above 0 is wanted",
                       request->compute_ms);
    plan->compute = 1e-3 * ms;
    if (!network_read(plan->network_text, &plan->network, err))
        return err_prefix(err, "plan: ");
    if (plan->compute > 0 && plan->network.memory_bytes_per_second <= 0)
        plan->network.memory_bytes_per_second = GIVEN_MEMORY;
    return true;
}

/* Ranks that share a core compute, wait and carry messages as no rank of a cluster does. */
static void warn_crowded(int ranks)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (ranks > cores)
        log_warn("plan: what is measured is %d ranks on %ld cores, and the forecast is too low for "
                 "messages between them: start no more ranks than cores, --ranks may be more",
                 ranks, cores);
}

bool forecast_prepare(const ForecastRequest *request, const Comm *comm, Settings *settings,
                      ForecastPlan *plan, Err *err)
{
    char hosts[16];
    int ranks = comm_size(comm);
    if (!read_request(request, comm, plan, err))
        return false;
    if (comm_hosts(comm) > 1 || *settings->comm.virtual_hosts)
        return err_set(err, "plan: several hosts found; it measures on the ranks of one, and "
                            "simulates the others");
    if (settings->comm.compress || settings->train.local || settings->train.reduce != REDUCE_TREE)
        return err_set(err, "plan: comm.compress, train.local and train.reduce are not modelled: "
                            "what it knows is the sum over the lane tree");
    if (plan->compute <= 0)
        warn_crowded(ranks);
    plan->overlap = settings->comm.overlap;
    settings->comm.overlap = OVERLAP_OFF;
    settings->dry_run = plan->compute > 0;
    if (plan->compute > 0 || ranks <= plan->ranks_per_host)
        return true;
    if (ranks % plan->ranks_per_host != 0)
        return err_set(err,
                       "plan: --ranks-per-host %d: the %d ranks of this job, which are "
                       "measured, are no whole number of such hosts",
                       plan->ranks_per_host, ranks);
    snprintf(hosts, sizeof hosts, "%d", ranks / plan->ranks_per_host);
    mem_free(settings->comm.virtual_hosts);
    settings->comm.virtual_hosts = mem_string(hosts);
    return true;
}

/* Weak: every rank keeps the samples and lanes that a rank of this job has; the lanes of all are
 * then the next power of two. */
static ForecastJob job_of(const ForecastPlan *plan, const Trainer *t, int ranks)
{
    int measured = comm_size(t->comm), lanes = t->settings->train.lanes;
    ForecastJob job = { .ranks = ranks,
                        .ranks_per_host = plan->ranks_per_host,
                        .lanes = lanes,
                        .samples = (double)t->settings->train.batch,
                        .network = plan->network,
                        .wire_bytes = t->settings->comm.wire == WIRE_FP32 ? 4 : 2,
                        .overlap = plan->overlap };
    if (!plan->strong) {
        double each = (double)lanes / measured;
        for (job.lanes = 1; job.lanes < each * ranks;)
            job.lanes *= 2;
        job.samples *= (double)ranks / measured;
    }
    int hosts = (ranks + plan->ranks_per_host - 1) / plan->ranks_per_host;
    double column = t->settings->comm.bucket * 1024 * 1024 / plan->ranks_per_host;
    job.algorithm = collective_choose(t->comm, COLLECTIVE_ALL_REDUCE, hosts, (size_t)column);
    return job;
}

static void forecast_all(const ForecastPlan *plan, const Trainer *t, const StepProfile *profile,
                         Forecast *rows)
{
    ForecastJob one = job_of(plan, t, 1);
    double rate = forecast_step(profile, &one).rate;
    for (int i = 0; i < plan->count; i++) {
        ForecastJob job = job_of(plan, t, plan->ranks[i]);
        rows[i] = forecast_step(profile, &job);
        rows[i].efficiency = rows[i].rate / (rate * rows[i].ranks);
    }
}

bool forecast_run(Trainer *t, const ForecastPlan *plan, const ForecastRequest *request, Err *err)
{
    StepProfile profile = { 0 };
    bool ok = true;
    if (plan->compute > 0)
        profile_give(&profile, t, plan);
    else
        ok = profile_measure(&profile, t, request->seconds, err);
    if (ok && comm_rank(t->comm) == 0) {
        Forecast *rows = mem_array(Forecast, plan->count);
        forecast_all(plan, t, &profile, rows);
        forecast_print(plan, t, &profile, rows, request);
        mem_free(rows);
    }
    profile_free(&profile);
    return ok;
}
