/* Agreement: what one rank knows becomes what all ranks know, so that all of them go on or all of
 * them stop, with one message. */
#include "world.h"

#include "lockstep/memory.h"

#include <string.h>

bool comm_all_ok(Comm *comm, bool ok, Err *err)
{
    /* The minimum over ranks of: the lowest rank that failed; 1 if nobody succeeded. */
    int mine[2] = { ok ? comm->size : comm->rank, !ok };
    int least[2];
    MPI_Allreduce(mine, least, 2, MPI_INT, MPI_MIN, comm->world);
    int failed = least[0];
    if (failed == comm->size)
        return true;
    Err message = { "" };
    if (comm->rank == failed) {
        if (err)
            message = *err;
        if (!least[1])
            err_prefix(&message, "rank %d on %s: ", comm->rank, comm->host);
    }
    comm_broadcast(comm, message.text, sizeof message.text, failed);
    return err_set(err, "%s", message.text);
}

bool comm_any(Comm *comm, bool flag)
{
    int mine = flag;
    int any;
    MPI_Allreduce(&mine, &any, 1, MPI_INT, MPI_MAX, comm->world);
    return any != 0;
}

/* One "key: value" line of a text; borrowed. */
typedef struct Line {
    const char *key, *value;
    int key_bytes, value_bytes;
} Line;

/* Reads the line at *text and moves *text behind it; false at the end. */
static bool next_line(const char **text, Line *line)
{
    if (**text == '\0')
        return false;
    int length = (int)strcspn(*text, "\n");
    const char *colon = memchr(*text, ':', (size_t)length);
    line->key = *text;
    line->key_bytes = colon ? (int)(colon - *text) : length;
    line->value = colon ? colon + 1 : *text + length;
    while (*line->value == ' ')
        line->value++;
    line->value_bytes = (int)(*text + length - line->value);
    *text += length + ((*text)[length] == '\n');
    return true;
}

static bool find_line(const char *text, const Line *wanted, Line *found)
{
    while (next_line(&text, found))
        if (found->key_bytes == wanted->key_bytes &&
            memcmp(found->key, wanted->key, (size_t)wanted->key_bytes) == 0)
            return true;
    return false;
}

/* Names the first line of rank 0's text that differs in ours, then the first that only we have. */
static bool compare_lines(const Comm *comm, const char *mine, const char *root, Err *err)
{
    Line theirs;
    Line ours;
    for (const char *rest = root; next_line(&rest, &theirs);) {
        if (!find_line(mine, &theirs, &ours))
            return err_set(err, "%.*s is missing, but '%.*s' on rank 0 (%s)", theirs.key_bytes,
                           theirs.key, theirs.value_bytes, theirs.value, comm->root_host);
        if (ours.value_bytes != theirs.value_bytes ||
            memcmp(ours.value, theirs.value, (size_t)ours.value_bytes) != 0)
            return err_set(err, "%.*s is '%.*s', but '%.*s' on rank 0 (%s)", ours.key_bytes,
                           ours.key, ours.value_bytes, ours.value, theirs.value_bytes, theirs.value,
                           comm->root_host);
    }
    for (const char *rest = mine; next_line(&rest, &ours);)
        if (!find_line(root, &ours, &theirs))
            return err_set(err, "%.*s is '%.*s', but missing on rank 0 (%s)", ours.key_bytes,
                           ours.key, ours.value_bytes, ours.value, comm->root_host);
    return true;
}

bool comm_same(Comm *comm, const char *text, Err *err)
{
    char *root = comm->rank == 0 ? mem_string(text) : NULL;
    size_t bytes = comm->rank == 0 ? strlen(text) : 0;
    comm_broadcast_text(comm, &root, &bytes);
    bool same = compare_lines(comm, text, root, err);
    mem_free(root);
    return comm_all_ok(comm, same, err);
}

bool comm_same_plans(Comm *comm, const uint64_t *digests, int count, Err *err)
{
    uint64_t *most = mem_array(uint64_t, count), *least = mem_array(uint64_t, count);
    bool same = true;
    for (int i = 0; i < count; i++) {
        most[i] = digests[i];
        least[i] = digests[i] ? digests[i] : UINT64_MAX;
    }
    MPI_Allreduce(MPI_IN_PLACE, most, count, MPI_UINT64_T, MPI_MAX, comm->world);
    MPI_Allreduce(MPI_IN_PLACE, least, count, MPI_UINT64_T, MPI_MIN, comm->world);
    for (int i = 0; i < count && same; i++)
        if (most[i] && most[i] != least[i])
            same = err_set(err,
                           "the ranks' plans of collective %d differ (%016llx here): other hosts, "
                           "lanes, tensors, comm.bucket, comm.algorithm or comm.table?",
                           i, (unsigned long long)digests[i]);
    mem_free(most);
    mem_free(least);
    return comm_all_ok(comm, same, err);
}
