/* Known traps, found in what the ranks have told: the list of findings, and those about ranks,
 * folders and links. A trap says what is, and then what helps. */
#include "doctor_parts.h"

#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void finding_add(Examination *e, const HostReport *host, Severity severity, int code,
                 const char *format, ...)
{
    char lines[512];
    Finding new = { .severity = severity, .code = code, .order = e->findings };
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(lines, sizeof lines, format, arguments);
    va_end(arguments);
    size_t length = strcspn(lines, "\n");
    snprintf(new.text, sizeof new.text, "%.*s", (int)length, lines);
    snprintf(new.hint, sizeof new.hint, "%.250s", lines[length] ? lines + length + 1 : "");
    Finding *found = NULL;
    for (size_t i = 0; i < e->findings && !found; i++)
        if (strcmp(e->finding[i].text, new.text) == 0)
            found = &e->finding[i];
    if (!found) {
        mem_grow(&e->finding, e->findings, &e->capacity, sizeof new);
        found = &e->finding[e->findings++];
        *found = new;
    }
    if (host && found->hosts++ < 4)
        text_append(found->where, sizeof found->where, "%s%.60s", found->where[0] ? ", " : "",
                    e->facts[host->first].host);
    else if (host && found->hosts == 5)
        text_append(found->where, sizeof found->where, ", ...");
}

/* ---- ranks ---- */

static void look_for_strangers(Examination *e)
{
    int launched = e->facts[0].launched;
    if (e->ranks == 1 && launched > 1)
        finding_add(
            e, NULL, SEVERITY_FATAL, EXIT_PEER,
            "%d ranks were launched, but each believes that it is alone\nmpirun is not that of %s, "
            "or srun needs --mpi=pmix: start with the mpirun of that library",
            launched, e->facts[0].mpi);
}

static void differ(Examination *e, const char *what, int code, size_t field, const char *hint)
{
    const char *first = (const char *)&e->facts[0] + field;
    for (int rank = 1; rank < e->ranks; rank++) {
        const char *other = (const char *)&e->facts[rank] + field;
        if (strcmp(first, other) == 0)
            continue;
        finding_add(e, NULL, code == EXIT_OK ? SEVERITY_WARNING : SEVERITY_FATAL, code,
                    "%s: rank 0 on %.40s has %.60s, rank %d on %.40s has %.60s\n%s", what,
                    e->facts[0].host, first, rank, e->facts[rank].host, other, hint);
        return;
    }
}

static void look_for_differences(Examination *e)
{
    differ(e, "program", EXIT_REPLICAS, offsetof(Facts, version),
           "install the same build everywhere: training refuses ranks that could differ in bits");
    differ(e, "C library", EXIT_REPLICAS, offsetof(Facts, c_library),
           "its mathematical functions may differ: training refuses; one image for all hosts");
    differ(e, "instruction set", EXIT_REPLICAS, offsetof(Facts, isa),
           "training refuses this: lower all to the weakest with compute.isa=v3 (or v2)");
    differ(e, "OpenBLAS kernels", EXIT_REPLICAS, offsetof(Facts, blas_core),
           "training refuses this: name one that all CPUs run, compute.blas_core=Haswell");
    differ(e, "MPI library", EXIT_OK, offsetof(Facts, mpi),
           "ranks of different libraries may not understand each other");
    differ(e, "folder", EXIT_OK, offsetof(Facts, folder),
           "relative paths of data sets lead elsewhere there: mpirun --wdir, or absolute paths");
}

/* Ranks of one host name on several machines. */
static void look_for_namesakes(Examination *e)
{
    for (int rank = 0; rank < e->ranks; rank++) {
        const HostReport *host = &e->host[e->host_of[rank]];
        const char *boot = e->facts[rank].boot, *first = host_facts(e, host)->boot;
        if (boot[0] && first[0] && strcmp(first, boot) != 0) {
            finding_add(e, host, SEVERITY_WARNING, EXIT_OK,
                        "several machines have the host name %.60s\nranks there cannot share "
                        "memory and take the slow way: give each machine a name of its own",
                        e->facts[rank].host);
            return;
        }
    }
}

/* Hosts of several names on one machine. */
static void look_for_containers(Examination *e)
{
    static const char text[] =
        "several hosts are one machine\ncontainers or namespaces: they share "
        "its cores, and their ranks send messages instead of sharing memory";
    const char *boot = e->facts[0].boot;
    bool any = false;
    for (int h = 1; h < e->hosts && boot[0]; h++)
        if (strcmp(boot, host_facts(e, &e->host[h])->boot) == 0) {
            if (!any)
                finding_add(e, &e->host[0], SEVERITY_NOTE, EXIT_OK, "%s", text);
            finding_add(e, &e->host[h], SEVERITY_NOTE, EXIT_OK, "%s", text);
            any = true;
        }
}

static void look_at_folder(Examination *e)
{
    const Facts *facts = &e->facts[0];
    char size[32];
    if (!facts->folder_writable)
        finding_add(
            e, NULL, SEVERITY_WARNING, EXIT_OK,
            "%.150s: no run folder can be made here\nstart elsewhere, or train with folder=PLACE",
            facts->folder);
    else if (facts->folder_free >= 0 && facts->folder_free < 1024.0 * 1024 * 1024)
        finding_add(e, NULL, SEVERITY_WARNING, EXIT_OK,
                    "%.150s: %s free\ncheckpoints take up to three times the weights each; "
                    "checkpoint.keep says how many there are",
                    facts->folder, text_bytes(size, sizeof size, facts->folder_free));
}

/* ---- what was measured ---- */

static void look_at_links(Examination *e)
{
    for (int i = 0; i < e->links; i++) {
        const Link *link = &e->link[i];
        const char *from = e->facts[link->from].host, *to = e->facts[link->to].host;
        if (!link->right)
            finding_add(
                e, NULL, SEVERITY_FATAL, EXIT_PEER,
                "messages between rank %d on %.40s and rank %d on %.40s arrive changed\nmemory or "
                "network of one of them is broken",
                link->from, from, link->to, to);
        if (e->host_of[link->from] != e->host_of[link->to] && link->latency > 2e-3)
            finding_add(
                e, NULL, SEVERITY_WARNING, EXIT_OK,
                "a message between %.40s and %.40s takes %.3g ms\na scheduler's turn, if the hosts "
                "are busy (--bind-to none, OMPI_MCA_mpi_yield_when_idle=1); else a far network",
                from, to, 1e3 * link->latency);
    }
    for (int h = 0; h < e->hosts; h++)
        if (!e->host[h].link.right)
            finding_add(
                e, &e->host[h], SEVERITY_FATAL, EXIT_PEER,
                "ranks read something else from shared memory than was written\nthe machine is "
                "broken");
}

static int by_severity(const void *a, const void *b)
{
    const Finding *x = a, *y = b;
    if (x->severity != y->severity)
        return x->severity < y->severity ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

void traps_find(Examination *e)
{
    look_for_strangers(e);
    look_for_differences(e);
    look_for_namesakes(e);
    look_for_containers(e);
    look_at_folder(e);
    look_at_links(e);
    for (int h = 0; h < e->hosts; h++)
        traps_find_on(e, &e->host[h]);
    if (e->findings > 0)
        qsort(e->finding, e->findings, sizeof *e->finding, by_severity);
}

int traps_code(const Examination *e)
{
    return e->findings > 0 && e->finding[0].severity == SEVERITY_FATAL ? e->finding[0].code
                                                                       : EXIT_OK;
}
