/* The sum over hosts. docs/reduction.md has the picture.
 *
 * The arena is cut into buckets, from its end, and each bucket into as many columns as the largest
 * host has ranks. On every host one rank drives a column; a host with fewer ranks has some that
 * drive several. When a bucket is final on all ranks of the host, the driver adds their sums of its
 * columns into the host's sums, in place along the lane tree, and starts an all-reduce (a plan of
 * collective.h, which honours the tree) with the drivers of the same column on the other hosts. The
 * result goes to the host's one copy of the gradient. Everybody's update of the host's weights
 * follows, so no weights travel, and the sum may travel while backward is at earlier layers.
 *
 * Ordering in shared memory: a rank announces with release how far its gradients are final, and a
 * driver looks with acquire before it reads or adds. A driver writes into sums of other ranks, but
 * only inside its columns, which nobody else reads; the barrier at the end comes before anybody
 * reads the result or writes new gradients. Announcements count on over steps, so nothing has to be
 * reset.
 *
 * While backward goes on, messages need somebody who calls MPI: this rank between two layers, or a
 * helper thread that looks twice a millisecond, which is rare enough to cost nothing and often
 * enough for the sockets' buffers. Only one of the two ever acts: parts belong to the helper from
 * the first announcement of a step until cluster_finish takes them back, under a lock. */
#include "cluster_parts.h"

#include "lockstep/kernels.h"
#include "lockstep/memory.h"

#include <signal.h>
#include <time.h>

#define TILE 1024 /* floats */

/* ---- life ---- */

static size_t shared_bytes(const Cluster *cluster)
{
    return cluster->layout->n * sizeof(float) + (size_t)comm_size(cluster->host) * sizeof(Progress);
}

static void allocate(Cluster *cluster)
{
    size_t bytes = shared_bytes(cluster);
    cluster->shared = shared_alloc_one(cluster->host, bytes);
    if (!cluster->shared && comm_size(cluster->host) > 1)
        die(EXIT_USAGE, "no shared memory for the host's gradient: set comm.memory=private");
    void *memory = cluster->shared ? shared_part(cluster->shared, 0) : mem_alloc(bytes);
    cluster->result = memory;
    cluster->progress = (Progress *)(void *)(cluster->result + cluster->layout->n);
}

Cluster *cluster_init(Comm *comm, Comm *host, const Lanes *lanes, const Layout *layout,
                      const HostSum *sums, int count)
{
    Cluster *cluster = mem_new(Cluster);
    cluster->comm = comm;
    cluster->host = host;
    cluster->lanes = lanes;
    cluster->layout = layout;
    cluster->stages = 1;
    cluster_plan(cluster, sums, count);
    allocate(cluster);
    return cluster;
}

static void end_helper(Helper *helper)
{
    if (!helper->exists)
        return;
    pthread_mutex_lock(&helper->lock);
    helper->ends = true;
    pthread_cond_signal(&helper->changed);
    pthread_mutex_unlock(&helper->lock);
    pthread_join(helper->thread, NULL);
    pthread_mutex_destroy(&helper->lock);
    pthread_cond_destroy(&helper->changed);
}

void cluster_free(Cluster *cluster)
{
    if (!cluster)
        return;
    end_helper(&cluster->helper);
    for (int i = 0; i < cluster->part_count; i++) {
        collective_free(cluster->parts[i].collective);
        plan_free(cluster->parts[i].plan);
    }
    if (!cluster->shared)
        mem_free(cluster->result);
    shared_free(cluster->shared);
    mem_free(cluster->parts);
    mem_free(cluster->buckets);
    mem_free(cluster->subtrees);
    mem_free(cluster->counts);
    mem_free(cluster->inputs);
    mem_free(cluster->adds);
    mem_free(cluster->sums);
    mem_free(cluster->ranks);
    mem_free(cluster);
}

/* ---- a step ---- */

/* The announcement that tensors of `stage` and above are final in the step under way. */
static uint64_t announcement(const Cluster *cluster, int stage)
{
    uint64_t stages = (uint64_t)cluster->stages;
    return cluster->step * stages + stages - (uint64_t)stage;
}

static bool is_final(const Cluster *cluster, const SumBucket *bucket)
{
    uint64_t wanted = announcement(cluster, bucket->stage);
    for (int rank = 0; rank < comm_size(cluster->host); rank++)
        if (atomic_load_explicit(&cluster->progress[rank].count, memory_order_acquire) < wanted)
            return false;
    return true;
}

/* The sums of the host's ranks become the host's, in the range of a part. */
static void add_host_sums(const Cluster *cluster, const Part *part)
{
    for (size_t at = part->lo; at < part->hi; at += TILE) {
        size_t n = part->hi - at < TILE ? part->hi - at : TILE;
        for (int i = 0; i < cluster->add_count; i++) {
            float *left = cluster->sums[cluster->adds[i].left].x + at;
            const float *right = cluster->sums[cluster->adds[i].right].x + at;
            if (part->rounded)
                kernels()->wire_add(&cluster->comm->wire, left, left, right, n);
            else
                kernels()->add(left, left, right, n);
        }
    }
}

static void move_part(Cluster *cluster, Part *part)
{
    if (part->state == PART_WAITING && is_final(cluster, &cluster->buckets[part->bucket])) {
        add_host_sums(cluster, part);
        collective_start(part->collective, cluster->inputs, cluster->result);
        part->state = PART_TRAVELLING;
    }
    if (part->state == PART_TRAVELLING && collective_poll(part->collective)) {
        part->state = PART_THERE;
        cluster->done++;
    }
}

static void move_parts(Cluster *cluster)
{
    for (int i = 0; i < cluster->part_count; i++)
        move_part(cluster, &cluster->parts[i]);
}

static void *help(void *context)
{
    Cluster *cluster = context;
    Helper *helper = &cluster->helper;
    const struct timespec nap = { 0, (long)(1e9 * REDUCER_NAP) };
    pthread_mutex_lock(&helper->lock);
    while (!helper->ends) {
        if (!helper->moves) {
            pthread_cond_wait(&helper->changed, &helper->lock);
            continue;
        }
        move_parts(cluster);
        pthread_mutex_unlock(&helper->lock);
        nanosleep(&nap, NULL);
        pthread_mutex_lock(&helper->lock);
    }
    pthread_mutex_unlock(&helper->lock);
    return NULL;
}

/* Signals stay with the thread that trains. */
static void start_helper(Cluster *cluster)
{
    Helper *helper = &cluster->helper;
    sigset_t all, before;
    sigfillset(&all);
    pthread_mutex_init(&helper->lock, NULL);
    pthread_cond_init(&helper->changed, NULL);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&helper->thread, NULL, help, cluster) != 0)
        die(EXIT_USAGE, "no thread for messages: set comm.overlap=polling");
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    helper->exists = true;
}

static void set_moves(Helper *helper, bool moves)
{
    pthread_mutex_lock(&helper->lock);
    helper->moves = moves;
    pthread_cond_signal(&helper->changed);
    pthread_mutex_unlock(&helper->lock);
}

void cluster_set_stages(Cluster *cluster, const int *stages, bool thread)
{
    const Layout *layout = cluster->layout;
    for (int i = 0; i < layout->count; i++)
        cluster->stages = stages[i] + 1 > cluster->stages ? stages[i] + 1 : cluster->stages;
    reducer_cut(layout, cluster->comm->bucket_bytes, stages, cluster->buckets);
    if (thread && cluster->comm->threads && !mem_reserving())
        start_helper(cluster);
}

static void announce(Cluster *cluster, int stage)
{
    Progress *mine = &cluster->progress[comm_rank(cluster->host)];
    uint64_t count = announcement(cluster, stage);
    if (atomic_load_explicit(&mine->count, memory_order_relaxed) < count)
        atomic_store_explicit(&mine->count, count, memory_order_release);
}

void cluster_final(Cluster *cluster, int stage)
{
    announce(cluster, stage);
    if (!cluster->helper.exists)
        move_parts(cluster);
    else if (!cluster->early)
        set_moves(&cluster->helper, true);
    cluster->early = true;
}

float *cluster_finish(Cluster *cluster)
{
    if (cluster->helper.exists && cluster->early)
        set_moves(&cluster->helper, false); /* from here on they are ours */
    cluster->early = false;
    announce(cluster, 0);
    for (move_parts(cluster); cluster->done < cluster->part_count; move_parts(cluster))
        comm_relax(cluster->comm);
    for (int i = 0; i < cluster->part_count; i++)
        cluster->parts[i].state = PART_WAITING;
    cluster->done = 0;
    cluster->step++;
    comm_barrier(cluster->host);
    return cluster->result;
}

size_t cluster_bytes(const Cluster *cluster)
{
    size_t bytes = shared_bytes(cluster) / (size_t)comm_size(cluster->host);
    for (int i = 0; i < cluster->part_count; i++) {
        const Part *part = &cluster->parts[i];
        bytes += plan_bytes(part->plan) + (part->rounded ? collective_round_bytes(part->plan) : 0);
    }
    return bytes;
}

double cluster_step_bytes(const Cluster *cluster)
{
    double bytes = 0;
    for (int i = 0; i < cluster->part_count; i++) {
        const Part *part = &cluster->parts[i];
        bytes += plan_sent_bytes(part->plan) * (part->rounded ? 0.5 : 1);
    }
    return bytes;
}
