/* The sum over hosts, planned: drivers of columns, what each host brings, buckets and their
 * parts. */
#include "cluster_parts.h"

#include "lockstep/memory.h"

/* ---- who does what ---- */

/* The ranks of each host: ranks[first[h]] .. ranks[first[h + 1] - 1]. One pass over all ranks,
 * since every rank does this for every host. */
typedef struct HostRanks {
    int *first, *ranks;
} HostRanks;

static HostRanks list_hosts(const Comm *comm)
{
    int hosts = comm_hosts(comm), ranks = comm_size(comm);
    HostRanks list = { mem_array(int, hosts + 2), mem_array(int, ranks) };
    for (int rank = 0; rank < ranks; rank++)
        list.first[comm_host_index(comm, rank) + 2]++;
    for (int host = 0; host < hosts; host++)
        list.first[host + 2] += list.first[host + 1];
    for (int rank = 0; rank < ranks; rank++)
        list.ranks[list.first[comm_host_index(comm, rank) + 1]++] = rank;
    return list;
}

static void free_hosts(HostRanks list)
{
    mem_free(list.first);
    mem_free(list.ranks);
}

static int host_size(const HostRanks *list, int host)
{
    return list->first[host + 1] - list->first[host];
}

static void find_drivers(Cluster *cluster, const HostRanks *list)
{
    cluster->hosts = comm_hosts(cluster->comm);
    for (int host = 0; host < cluster->hosts; host++) {
        int size = host_size(list, host);
        cluster->columns = size > cluster->columns ? size : cluster->columns;
    }
    cluster->ranks = mem_array(int, cluster->hosts * cluster->columns);
    for (int host = 0; host < cluster->hosts; host++)
        for (int column = 0; column < cluster->columns; column++)
            cluster->ranks[host * cluster->columns + column] =
                list->ranks[list->first[host] + column * host_size(list, host) / cluster->columns];
}

/* Lists the sums of a host's ranks, left to right; NULL: only counts them. */
static int rank_sums(const Cluster *cluster, const HostRanks *list, int host, Subtree *sums)
{
    const Lanes *lanes = cluster->lanes;
    int count = 0;
    for (int at = list->first[host]; at < list->first[host + 1]; at++) {
        Subtree own[64];
        int rank = list->ranks[at];
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
static void find_sums(Cluster *cluster, const HostRanks *list, const HostSum *sums, int count)
{
    int most = 0, me = comm_host_index(cluster->comm, comm_rank(cluster->comm));
    for (int host = 0; host < cluster->hosts; host++)
        most += rank_sums(cluster, list, host, NULL);
    int *first = mem_array(int, most);
    cluster->subtrees = mem_array(Subtree, most);
    cluster->counts = mem_array(int, cluster->hosts);
    cluster->sums = mem_array(HostSum, count);
    cluster->adds = mem_array(HostAdd, count);
    cluster->inputs = mem_array(float *, count);
    Subtree *next = cluster->subtrees;
    for (int host = 0; host < cluster->hosts; host++) {
        int brings = rank_sums(cluster, list, host, next);
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

static void cut_buckets(Cluster *cluster)
{
    size_t bytes = cluster->comm->bucket_bytes;
    cluster->bucket_count = reducer_cut(cluster->layout, bytes, NULL, NULL);
    cluster->buckets = mem_array(SumBucket, cluster->bucket_count);
    reducer_cut(cluster->layout, bytes, NULL, cluster->buckets);
}

static Part new_part(const Cluster *cluster, int bucket, int column)
{
    const SumBucket *b = &cluster->buckets[bucket];
    Part part = { .lo = cut(b->lo, b->hi, column, cluster->columns),
                  .hi = cut(b->lo, b->hi, column + 1, cluster->columns),
                  .bucket = bucket,
                  .number = bucket * cluster->columns + column };
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
    part.collective = collective_init(cluster->comm, part.plan, ranks, part.number);
    part.rounded =
        cluster->comm->wire.type != WIRE_FP32 && part.hi <= layout_statistics(cluster->layout);
    if (part.rounded)
        collective_round(part.collective);
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

/* Every rank will run the plans that fit the others', or none does. */
static void compare_plans(const Cluster *cluster)
{
    int count = cluster->bucket_count * cluster->columns;
    uint64_t *digests = mem_array(uint64_t, count);
    Err err;
    for (int i = 0; i < cluster->part_count; i++)
        digests[cluster->parts[i].number] = cluster->parts[i].plan->digest;
    if (!comm_same_plans(cluster->comm, digests, count, &err))
        die_all(EXIT_REPLICAS, "%s", err.text);
    mem_free(digests);
}

void cluster_plan(Cluster *cluster, const HostSum *sums, int count)
{
    HostRanks list = list_hosts(cluster->comm);
    find_drivers(cluster, &list);
    find_sums(cluster, &list, sums, count);
    free_hosts(list);
    make_parts(cluster);
    compare_plans(cluster);
}
