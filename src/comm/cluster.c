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
#include "cluster.h"
#include "world.h"

#include "lockstep/collective.h"
#include "lockstep/kernels.h"
#include "lockstep/memory.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#define TILE 1024  /* floats */
#define NAP 500000 /* nanoseconds */

/* left += right, sums of this host. */
typedef struct HostAdd {
    int left, right;
} HostAdd;

/* One column of one bucket, driven by this rank. */
typedef enum PartState { PART_WAITING, PART_TRAVELLING, PART_THERE } PartState;
typedef struct Part {
    size_t lo, hi; /* floats */
    int bucket;
    PartState state;
    Plan *plan;
    Collective *collective;
} Part;

typedef struct Bucket {
    size_t lo, hi;
    int stage; /* lowest of its tensors */
} Bucket;

/* How far a rank's gradients are final, in a cache line of its own. */
typedef struct Progress {
    _Alignas(64) _Atomic uint64_t count;
} Progress;

/* Moves parts while backward goes on. */
typedef struct Helper {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool exists, moves, ends; /* the last two under the lock */
} Helper;

struct Cluster {
    Comm *comm, *host; /* borrowed */
    const Lanes *lanes;
    const Layout *layout;
    int hosts, columns;
    int *ranks; /* (hosts, columns): who drives */

    HostSum *sums; /* of this host's ranks */
    HostAdd *adds; /* makes of them the host's */
    int add_count;
    float **inputs;    /* the host's sums */
    int *counts;       /* (hosts) how many sums each host brings */
    Subtree *subtrees; /* and which */

    Bucket *buckets; /* from the end of the arena */
    int bucket_count;
    Part *parts;
    int part_count, done;
    int stages;    /* stages are 0 .. stages - 1 */
    uint64_t step; /* number of this reduction */
    Helper helper;
    bool early; /* something was announced in this step */

    SharedMemory *shared; /* result and progress, or NULL */
    float *result;        /* (layout->n) */
    Progress *progress;   /* (ranks of the host) */
};

/* ---- who does what ---- */

static int host_size(const Comm *comm, int host)
{
    int size = 0;
    for (int rank = 0; rank < comm_size(comm); rank++)
        size += comm_host_index(comm, rank) == host;
    return size;
}

/* Rank number `index` of a host. */
static int host_rank(const Comm *comm, int host, int index)
{
    int rank = 0;
    while (comm_host_index(comm, rank) != host || index-- > 0)
        rank++;
    return rank;
}

static void find_drivers(Cluster *cluster)
{
    cluster->hosts = comm_hosts(cluster->comm);
    for (int host = 0; host < cluster->hosts; host++) {
        int size = host_size(cluster->comm, host);
        cluster->columns = size > cluster->columns ? size : cluster->columns;
    }
    cluster->ranks = mem_array(int, cluster->hosts * cluster->columns);
    for (int host = 0; host < cluster->hosts; host++)
        for (int column = 0; column < cluster->columns; column++)
            cluster->ranks[host * cluster->columns + column] = host_rank(
                cluster->comm, host, column * host_size(cluster->comm, host) / cluster->columns);
}

/* Lists the sums of a host's ranks, left to right; NULL: only counts them. */
static int rank_sums(const Cluster *cluster, int host, Subtree *sums)
{
    const Lanes *lanes = cluster->lanes;
    int count = 0;
    for (int rank = 0; rank < lanes->ranks; rank++) {
        Subtree own[64];
        if (comm_host_index(cluster->comm, rank) != host)
            continue;
        int last = lanes_first(lanes->count, rank + 1, lanes->ranks) - 1;
        int whole = lanes_subtrees(lanes_first(lanes->count, rank, lanes->ranks), last, own);
        own[whole] = (Subtree){ .first = last, .width = 1 };
        for (int i = 0; i <= whole; i++, count++)
            if (sums)
                sums[count] = own[i];
    }
    return count;
}

/* A carry stack over `count` sums, in place: what is left of them, how many, and in first[] which
 * of the sums each begins with, where it is made. adds: NULL or the additions. */
static int join_sums(Subtree *sums, int count, int *first, HostAdd *adds, int *add_count)
{
    int depth = 0;
    for (int i = 0; i < count; i++) {
        sums[depth] = sums[i];
        first[depth++] = i;
        while (depth > 1 && lanes_siblings(sums[depth - 2], sums[depth - 1])) {
            depth--;
            sums[depth - 1].width *= 2;
            if (adds)
                adds[(*add_count)++] = (HostAdd){ first[depth - 1], first[depth] };
        }
    }
    return depth;
}

/* What every host brings, and how this one makes it. */
static void find_sums(Cluster *cluster, const HostSum *sums, int count)
{
    int most = 0, me = comm_host_index(cluster->comm, comm_rank(cluster->comm));
    for (int host = 0; host < cluster->hosts; host++)
        most += rank_sums(cluster, host, NULL);
    int *first = mem_array(int, most);
    cluster->subtrees = mem_array(Subtree, most);
    cluster->counts = mem_array(int, cluster->hosts);
    cluster->sums = mem_array(HostSum, count);
    cluster->adds = mem_array(HostAdd, count);
    cluster->inputs = mem_array(float *, count);
    Subtree *next = cluster->subtrees;
    for (int host = 0; host < cluster->hosts; host++) {
        int brings = rank_sums(cluster, host, next);
        for (int i = 0; host == me && i < brings; i++) {
            expect(i < count && sums[i].node.first == next[i].first);
            cluster->sums[i] = sums[i];
        }
        expect(host != me || brings == count);
        cluster->counts[host] =
            join_sums(next, brings, first, host == me ? cluster->adds : NULL, &cluster->add_count);
        for (int i = 0; host == me && i < cluster->counts[host]; i++)
            cluster->inputs[i] = sums[first[i]].x;
        next += cluster->counts[host];
    }
    mem_free(first);
}

/* ---- buckets and parts ---- */

static size_t cut(size_t lo, size_t hi, int part, int parts)
{
    size_t lines = (hi - lo) / LAYOUT_ALIGN;
    return lo + lines * (size_t)part / (size_t)parts * LAYOUT_ALIGN;
}

/* Where running statistics begin: those of early layers are final late. */
static size_t statistics_start(const Layout *layout)
{
    size_t start = layout->n;
    for (int i = 0; i < layout->count; i++)
        if (layout->tensors[i].flags & LAYOUT_STATISTIC && layout->tensors[i].offset < start)
            start = layout->tensors[i].offset;
    return start;
}

static int add_buckets(Cluster *cluster, size_t lo, size_t hi, size_t floats, int count)
{
    for (; hi > lo; count++) {
        size_t from = hi - lo > floats ? hi - floats : lo;
        if (cluster->buckets)
            cluster->buckets[count] = (Bucket){ .lo = from, .hi = hi };
        hi = from;
    }
    return count;
}

static void cut_buckets(Cluster *cluster)
{
    size_t lines = cluster->comm->bucket_bytes / (LAYOUT_ALIGN * sizeof(float));
    size_t floats = (lines > 0 ? lines : 1) * LAYOUT_ALIGN;
    size_t n = cluster->layout->n, start = statistics_start(cluster->layout);
    for (int pass = 0; pass < 2; pass++) { /* counts, then fills */
        if (pass == 1)
            cluster->buckets = mem_array(Bucket, cluster->bucket_count);
        cluster->bucket_count = add_buckets(cluster, 0, start, floats, 0);
        cluster->bucket_count = add_buckets(cluster, start, n, floats, cluster->bucket_count);
    }
}

static Part new_part(const Cluster *cluster, int bucket, int column)
{
    const Bucket *b = &cluster->buckets[bucket];
    Part part = { .lo = cut(b->lo, b->hi, column, cluster->columns),
                  .hi = cut(b->lo, b->hi, column + 1, cluster->columns),
                  .bucket = bucket };
    if (part.lo == part.hi)
        return part;
    int hosts = cluster->hosts, *ranks = mem_array(int, hosts);
    size_t *bounds = mem_array(size_t, hosts + 1);
    for (int host = 0; host < hosts; host++)
        ranks[host] = cluster->ranks[host * cluster->columns + column];
    for (int host = 0; host <= hosts; host++)
        bounds[host] = cut(part.lo, part.hi, host, hosts);
    CollectiveShape shape = { .members = hosts,
                              .me = comm_host_index(cluster->comm, comm_rank(cluster->comm)),
                              .bounds = bounds,
                              .counts = cluster->counts,
                              .subtrees = cluster->subtrees };
    part.plan = plan_new(collective_choose(cluster->comm, COLLECTIVE_ALL_REDUCE, hosts,
                                           (part.hi - part.lo) * sizeof(float)),
                         COLLECTIVE_ALL_REDUCE, &shape);
    part.collective =
        collective_init(cluster->comm, part.plan, ranks, bucket * cluster->columns + column);
    mem_free(ranks);
    mem_free(bounds);
    return part;
}

static void make_parts(Cluster *cluster)
{
    int host = comm_host_index(cluster->comm, comm_rank(cluster->comm));
    const int *drivers = cluster->ranks + host * cluster->columns;
    cut_buckets(cluster);
    cluster->parts = mem_array(Part, cluster->bucket_count * cluster->columns);
    for (int bucket = 0; bucket < cluster->bucket_count; bucket++)
        for (int column = 0; column < cluster->columns; column++) {
            if (drivers[column] != comm_rank(cluster->comm))
                continue;
            Part part = new_part(cluster, bucket, column);
            if (part.plan)
                cluster->parts[cluster->part_count++] = part;
        }
}

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
    find_drivers(cluster);
    find_sums(cluster, sums, count);
    make_parts(cluster);
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

static bool is_final(const Cluster *cluster, const Bucket *bucket)
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
            kernels()->add(left, left, cluster->sums[cluster->adds[i].right].x + at, n);
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
    const struct timespec nap = { 0, NAP };
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
    for (int i = 0; i < cluster->bucket_count; i++) {
        Bucket *bucket = &cluster->buckets[i];
        bucket->stage = cluster->stages;
        for (int t = 0; t < layout->count; t++) {
            const LayoutTensor *tensor = &layout->tensors[t];
            bool inside =
                tensor->offset < bucket->hi && tensor->offset + tensor->padded > bucket->lo;
            if (inside && stages[t] < bucket->stage)
                bucket->stage = stages[t];
        }
    }
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
    for (int i = 0; i < cluster->part_count; i++)
        bytes += plan_bytes(cluster->parts[i].plan);
    return bytes;
}

double cluster_step_bytes(const Cluster *cluster)
{
    double bytes = 0;
    for (int i = 0; i < cluster->part_count; i++)
        bytes += plan_sent_bytes(cluster->parts[i].plan);
    return bytes;
}
