/* Which algorithm: what the user says, else what was measured nearest, else a rule of thumb. Every
 * one gives the same bits.
 *
 * A table is text; a line is a measurement, and # begins a comment:
 *
 *   reduce-scatter 4 65536 halving     kind, members, bytes of the whole range, fastest algorithm
 */
#include "world.h"

#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct Measured {
    CollectiveKind kind;
    int members;
    double bytes;
    const CollectiveAlgorithm *fastest;
};

#define SMALL 16384.0 /* bytes a member; below, the rule of thumb counts rounds */
#define SHORT 65536.0 /* bytes of all; beyond, sending them in every round costs more than rounds */

/* Small messages: the fewest rounds. Long ones: the fewest bytes, and then the fewest messages. */
static const CollectiveAlgorithm *rule_of_thumb(CollectiveKind kind, int members, double bytes)
{
    bool small = bytes <= SMALL * members;
    if (kind == COLLECTIVE_ALL_REDUCE && bytes <= SHORT)
        return collective_find("doubling");
    return collective_find(members <= 2 || (members <= 8 && small) ? "direct" : "halving");
}

/* How far a measurement is from what is asked: factors count, members more than bytes. */
static double distance(const Measured *measured, int members, double bytes)
{
    return 100 * fabs(log((double)measured->members / members)) +
           fabs(log(fmax(measured->bytes, 1) / fmax(bytes, 1)));
}

const CollectiveAlgorithm *collective_choose(const Comm *comm, CollectiveKind kind, int members,
                                             size_t bytes)
{
    const Measured *nearest = NULL;
    if (comm->algorithm)
        return comm->algorithm;
    for (size_t i = 0; i < comm->measured_count; i++) {
        const Measured *measured = &comm->measured[i];
        if (measured->kind == kind && (!nearest || distance(measured, members, (double)bytes) <
                                                       distance(nearest, members, (double)bytes)))
            nearest = measured;
    }
    return nearest ? nearest->fastest : rule_of_thumb(kind, members, (double)bytes);
}

static bool unknown(const char *name, Err *err)
{
    int count;
    const CollectiveAlgorithm *const *all = collective_all(&count);
    const char *names[32];
    for (int i = 0; i < count; i++)
        names[i] = all[i]->name;
    const char *nearest = text_nearest(name, names, (size_t)count);
    err_set(err, "unknown algorithm \"%s\"%s%s%s (algorithms: auto", name,
            nearest ? "; did you mean \"" : "", nearest ? nearest : "", nearest ? "\"?" : "");
    for (int i = 0; i < count; i++)
        text_append(err->text, sizeof err->text, ", %s", names[i]);
    text_append(err->text, sizeof err->text, ")");
    return false;
}

bool collective_set_algorithm(Comm *comm, const char *name, Err *err)
{
    comm->algorithm = collective_find(name);
    if (comm->algorithm || strcmp(name, "auto") == 0)
        return true;
    return unknown(name, err) || err_prefix(err, "comm.algorithm: ");
}

static bool find_kind(const char *name, CollectiveKind *kind)
{
    for (*kind = 0; *kind < COLLECTIVE_KINDS; (*kind)++)
        if (strcmp(name, collective_kind_name(*kind)) == 0)
            return true;
    return false;
}

static bool read_line(Comm *comm, const char *line, Err *err)
{
    char kind[32], name[32], rest[2];
    Measured measured;
    int found =
        sscanf(line, "%31s %d %lf %31s %1s", kind, &measured.members, &measured.bytes, name, rest);
    if (found <= 0)
        return true;
    if (found < 4 || (found == 5 && rest[0] != '#') || measured.members < 1 ||
        !(measured.bytes >= 0))
        return err_set(err, "\"%s\" found, wanted: kind members bytes algorithm", line);
    if (!find_kind(kind, &measured.kind))
        return err_set(err, "%s: reduce-scatter, all-gather or all-reduce wanted", kind);
    measured.fastest = collective_find(name);
    if (!measured.fastest)
        return unknown(name, err);
    mem_grow(&comm->measured, comm->measured_count, &comm->measured_room, sizeof *comm->measured);
    comm->measured[comm->measured_count++] = measured;
    return true;
}

bool collective_set_table(Comm *comm, const char *text, Err *err)
{
    int number = 1;
    mem_free(comm->measured);
    comm->measured = NULL;
    comm->measured_count = comm->measured_room = 0;
    for (const char *at = text; *at; number++) {
        char line[128] = "";
        size_t length = strcspn(at, "\n"), comment = strcspn(at, "#\n");
        memcpy(line, at, comment < sizeof line ? comment : sizeof line - 1);
        if (!read_line(comm, line, err))
            return err_prefix(err, "line %d: ", number);
        at += length + (at[length] == '\n');
    }
    return true;
}
