/* How long a training step would take on a cluster that is not there: what one rank's step is made
 * of is measured here, or given, and the exchange between hosts is simulated (simulate.h), over the
 * same buckets and algorithms that the run would have. docs/scaling.md says what is assumed. */
#ifndef LOCKSTEP_FORECAST_H
#define LOCKSTEP_FORECAST_H

#include "lockstep/simulate.h"
#include "lockstep/trainer.h"

/* A rank's step, measured or given; seconds a step. */
typedef struct StepProfile {
    double samples; /* that the rank trained on */
    int folds;      /* additions of lanes to one another in `fold` */
    double load, forward, backward, fold, update, digest;
    double wait;         /* for the other ranks of its host */
    double update_share; /* of the arena that the rank updated */
    int sums;            /* that the update read and added, of all ranks of its host */

    size_t floats;         /* of the arena */
    int buckets, nodes;    /* of the network: between two of them a rank may look for messages */
    double *bucket_floats; /* (buckets) */
    double *ready;         /* (buckets) when each is final: 0 to 1 of the last lane's backward */
    double state_bytes;    /* of the optimizer, all of it */
    double rank_bytes;     /* of a rank: activations, layers, data */
    double memory_rate;    /* bytes a second that one core reads and writes */
} StepProfile;

typedef struct ForecastJob {
    int ranks, ranks_per_host;
    int lanes;      /* global */
    double samples; /* global batch */
    Network network;
    double wire_bytes;                    /* of a float between hosts; 0: four */
    int overlap;                          /* of CommSettings */
    const CollectiveAlgorithm *algorithm; /* between hosts */
} ForecastJob;

/* Seconds of a step; bytes of a host. */
typedef struct Forecast {
    int ranks, hosts;
    bool possible; /* false: more ranks than lanes */
    double samples;
    double load, forward, backward, fold; /* of the busiest rank */
    double helping;       /* of its core, while it computes, for messages and sums of the host */
    double exposed;       /* from the end of its computing until the sum over hosts is there */
    double hidden;        /* of the exchange, behind computing: its length alone less exposed */
    double reports;       /* losses of all lanes to all ranks */
    double update, wait;  /* with digests, and sums of a single host; for ranks of the host */
    double step, formula; /* the whole; with the exchange by formula */
    double rate;          /* samples a second */
    double efficiency;    /* rate / (ranks * rate of one rank); set by whoever knows that of one */
    double memory, sent;  /* bytes of a host; that it sends in a step */
} Forecast;

Forecast forecast_step(const StepProfile *profile, const ForecastJob *job);

/* Sums that a rank has when its last lane is in, which is added to its siblings only behind. */
int forecast_sums(const ForecastJob *job, int rank);

typedef struct ForecastRequest {
    const char *ranks;          /* "1,2,4"; NULL: 1, 2, 4, ... 4096 */
    const char *ranks_per_host; /* NULL: as many as this job has */
    const char *network;        /* network_read; NULL: 100gbit-roce */
    const char *scaling;        /* "weak" or NULL: the batch grows with the ranks; "strong" */
    const char *compute_ms;     /* forward and backward of the config's batch on one rank, instead
                                   of measuring; or NULL */
    double seconds;             /* to measure */
    bool json, csv;
} ForecastRequest;

/* A request that was read. */
#define FORECAST_MAX 64
typedef struct ForecastPlan {
    int ranks[FORECAST_MAX], count, ranks_per_host;
    bool strong;
    double compute; /* seconds; 0: to be measured */
    const char *network_text;
    Network network;
    int overlap; /* of the config, which is measured without */
} ForecastPlan;

/* Reads the request, and changes the settings for measuring: if this job has more ranks than a
 * host will have, it is measured as several hosts of so many, whose exchange is left out. */
bool forecast_prepare(const ForecastRequest *request, const Comm *comm, Settings *settings,
                      ForecastPlan *plan, Err *err);

/* `lockstep plan`: measures on all ranks of this job, forecasts and prints on rank 0. Where
 * compute_ms is given the trainer may be that of a dry run. False, on every rank: training diverged
 * meanwhile. Collective. */
bool forecast_run(Trainer *trainer, const ForecastPlan *plan, const ForecastRequest *request,
                  Err *err);

#endif
