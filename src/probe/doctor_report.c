/* What the doctor says: a page of text, or one JSON object. */
#include "doctor_parts.h"

#include "lockstep/log.h"
#include "lockstep/memory.h"
#include "lockstep/text.h"
#include "lockstep/version.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOSTS_SHOWN 16
#define LINKS_SHOWN 16

typedef struct Text {
    char s[512];
} Text;

static Text bytes(double value)
{
    Text text = { .s = "?" };
    if (value >= 0)
        text_bytes(text.s, sizeof text.s, value);
    return text;
}

/* "0.82 us", "1.4 ms" */
static Text duration(double seconds)
{
    Text text;
    bool micro = seconds < 1e-3;
    snprintf(text.s, sizeof text.s, "%.3g %s", seconds * (micro ? 1e6 : 1e3), micro ? "us" : "ms");
    return text;
}

/* ---- text ---- */

/* "ranks 0-3", "rank 5": in the notation of sets. */
static Text ranks_of(const Examination *e, int host)
{
    Text text, list;
    CpuSet ranks = { 0 };
    for (int rank = 0; rank < e->ranks; rank++)
        if (e->host_of[rank] == host)
            cpu_set_add(&ranks, rank);
    cpu_set_text(list.s, sizeof list.s, &ranks);
    snprintf(text.s, sizeof text.s, "rank%s %.400s", e->host[host].ranks == 1 ? "" : "s", list.s);
    return text;
}

/* Where the ranks of a host may run: "each on 0-7", or "on 0; 1; 2; 3". */
static Text binding(const Examination *e, int host)
{
    Text text = { .s = "" }, set;
    const HostReport *report = &e->host[host];
    const CpuSet *first = &e->facts[report->first].cpus;
    bool alike = true;
    for (int rank = 0; rank < e->ranks; rank++)
        if (e->host_of[rank] == host) {
            alike = alike && cpu_set_equal(first, &e->facts[rank].cpus);
            text_append(text.s, sizeof text.s, "%s%s", text.s[0] ? "; " : "",
                        cpu_set_text(set.s, sizeof set.s, &e->facts[rank].cpus));
        }
    if (alike && cpu_set_count(first) == e->facts[report->first].online_cpus)
        snprintf(text.s, sizeof text.s, "not bound");
    else if (alike) {
        cpu_set_text(set.s, sizeof set.s, first);
        snprintf(text.s, sizeof text.s, "bound to CPU %.400s", set.s);
    } else {
        set = text;
        snprintf(text.s, sizeof text.s, "bound to CPU %.400s", set.s);
    }
    return text;
}

static void print_host(const Examination *e, int host)
{
    const HostReport *report = &e->host[host];
    const Facts *facts = &e->facts[report->first];
    char quota[48] = "", limit[64] = "", began[64] = "";
    if (facts->quota > 0)
        snprintf(quota, sizeof quota, ", quota %.3g CPUs", facts->quota);
    if (facts->limited > 0 && facts->limited < facts->memory)
        snprintf(limit, sizeof limit, ", limited to %.40s", bytes(facts->limited).s);
    if (strcmp(facts->blas_core, facts->blas_began) != 0)
        snprintf(began, sizeof began, " (began as %s)", facts->blas_began);
    log_out("host       %s: %s, %s", facts->host, ranks_of(e, host).s, binding(e, host).s);
    log_out("  CPU      %s, %d online%s, %s; OpenBLAS %s%s", facts->cpu, facts->online_cpus, quota,
            facts->isa, facts->blas_core, began);
    log_out("  memory   %s, %s available%s; huge pages %s; %d NUMA node%s", bytes(facts->memory).s,
            bytes(facts->available).s, limit, facts->huge_pages[0] ? facts->huge_pages : "?",
            facts->numa_nodes, facts->numa_nodes == 1 ? "" : "s");
    log_out("  shared   /dev/shm %s, %s free, huge pages %s", bytes(facts->shm_bytes).s,
            bytes(facts->shm_free).s, facts->shm_huge_pages[0] ? facts->shm_huge_pages : "?");
}

static void print_host_link(const Examination *e, int host)
{
    const HostReport *report = &e->host[host];
    const HostLink *link = &report->link;
    const char *name = e->facts[report->first].host;
    if (report->ranks == 1)
        log_out("  %-24s one rank: nothing to share; memory copy %.3g GB/s", name,
                1e-9 * link->copy);
    else if (!link->shares)
        log_out("  %-24s no shared memory; memory copy %.3g GB/s a rank", name, 1e-9 * link->copy);
    else
        log_out("  %-24s barrier %s, reading a neighbour's %.3g GB/s, memory copy %.3g GB/s a rank",
                name, duration(link->barrier).s, 1e-9 * link->read, 1e-9 * link->copy);
}

static void print_link(const Examination *e, const Link *link)
{
    char pair[300];
    bool inside = e->host_of[link->from] == e->host_of[link->to];
    if (inside)
        snprintf(pair, sizeof pair, "ranks %d, %d of %s", link->from, link->to,
                 e->facts[link->from].host);
    else
        snprintf(pair, sizeof pair, "%s - %s", e->facts[link->from].host, e->facts[link->to].host);
    log_out("  %-24s latency %s, %.3g GB/s", pair, duration(link->latency).s, 1e-9 * link->rate);
}

static void print_hosts(const Examination *e)
{
    int hosts = e->hosts < HOSTS_SHOWN ? e->hosts : HOSTS_SHOWN;
    for (int host = 0; host < hosts; host++)
        print_host(e, host);
    log_out("store      shared memory of a host, by the copies that training makes");
    for (int host = 0; host < hosts; host++)
        print_host_link(e, host);
    if (e->hosts > hosts)
        log_out("  and %d hosts more (--json tells of all)", e->hosts - hosts);
    if (e->links == 0)
        return;
    log_out("messages   one way, between two ranks, the others waiting");
    for (int i = 0; i < e->links && i < LINKS_SHOWN; i++)
        print_link(e, &e->link[i]);
    if (e->links > LINKS_SHOWN)
        log_out("  and %d pairs more (--json tells of all)", e->links - LINKS_SHOWN);
}

static const char *const severities[SEVERITIES] = { "problem", "warning", "note" };

/* Text at an indent, broken at blanks before column 100. */
static void print_wrapped(const char *text, int indent)
{
    int room = 99 - indent;
    while (*text) {
        int length = (int)strlen(text), end = length;
        if (length > room)
            for (end = room; end > 0 && text[end] != ' ';)
                end--;
        end = end > 0 ? end : length;
        log_out("%*s%.*s", indent, "", end, text);
        text += end;
        text += *text == ' ';
    }
}

static void print_findings(const Examination *e)
{
    int count[SEVERITIES] = { 0 };
    for (size_t i = 0; i < e->findings; i++) {
        const Finding *finding = &e->finding[i];
        char where[160] = "", line[512];
        count[finding->severity]++;
        if (finding->where[0] && e->hosts > 1)
            snprintf(where, sizeof where, " (%s)", finding->where);
        snprintf(line, sizeof line, "%s: %s%s", severities[finding->severity], finding->text,
                 where);
        print_wrapped(line, 0);
        print_wrapped(finding->hint, 4);
    }
    log_out("%d problem%s, %d warning%s, %d note%s; %.1f s", count[SEVERITY_FATAL],
            count[SEVERITY_FATAL] == 1 ? "" : "s", count[SEVERITY_WARNING],
            count[SEVERITY_WARNING] == 1 ? "" : "s", count[SEVERITY_NOTE],
            count[SEVERITY_NOTE] == 1 ? "" : "s", e->seconds);
}

void doctor_print(const Examination *e)
{
    const Facts *facts = &e->facts[0];
    log_out("Lockstep %s", facts->version);
    log_out("ranks      %d on %d host%s", e->ranks, e->hosts, e->hosts == 1 ? "" : "s");
    log_out("MPI        %s; pml %s, btl %s%s", facts->mpi, facts->pml[0] ? facts->pml : "any",
            facts->btl[0] ? facts->btl : "any", facts->yields ? "; yields when idle" : "");
    print_hosts(e);
    print_findings(e);
}

/* ---- JSON ---- */

static json_t *number(double value)
{
    return value < 0 ? json_null() : json_real(value);
}

static json_t *string(const char *text)
{
    json_t *value = json_string(text);
    return value ? value : json_string("?"); /* not UTF-8 */
}

static json_t *ranks_json(const Examination *e, int host)
{
    json_t *list = json_array();
    for (int rank = 0; rank < e->ranks; rank++) {
        char cpus[512];
        if (e->host_of[rank] == host)
            json_array_append_new(
                list, json_pack("{s:i, s:i, s:s}", "rank", rank, "pid", e->facts[rank].pid, "cpus",
                                cpu_set_text(cpus, sizeof cpus, &e->facts[rank].cpus)));
    }
    return list;
}

static json_t *host_json(const Examination *e, int host)
{
    const HostReport *report = &e->host[host];
    const Facts *facts = &e->facts[report->first];
    json_t *object = json_object();
    json_object_set_new(object, "name", string(facts->host));
    json_object_set_new(object, "ranks", ranks_json(e, host));
    json_object_set_new(object, "cpu", string(facts->cpu));
    json_object_set_new(object, "cpus_online", json_integer(facts->online_cpus));
    json_object_set_new(object, "cpu_quota", number(facts->quota));
    json_object_set_new(object, "load", number(facts->load));
    json_object_set_new(object, "governor", string(facts->governor));
    json_object_set_new(object, "isa", string(facts->isa));
    json_object_set_new(object, "blas_core", string(facts->blas_core));
    json_object_set_new(object, "blas_core_inherited", string(facts->blas_began));
    json_object_set_new(object, "numa_nodes", json_integer(facts->numa_nodes));
    json_object_set_new(object, "memory_bytes", number(facts->memory));
    json_object_set_new(object, "memory_available_bytes", number(facts->available));
    json_object_set_new(object, "memory_limit_bytes", number(facts->limited));
    json_object_set_new(object, "shm_bytes", number(facts->shm_bytes));
    json_object_set_new(object, "shm_free_bytes", number(facts->shm_free));
    json_object_set_new(object, "huge_pages", string(facts->huge_pages));
    json_object_set_new(object, "shm_huge_pages", string(facts->shm_huge_pages));
    json_object_set_new(object, "shares_memory", json_boolean(report->link.shares));
    json_object_set_new(object, "barrier_us",
                        report->link.shares ? json_real(1e6 * report->link.barrier) : json_null());
    json_object_set_new(object, "shared_read_bytes_per_second",
                        report->link.shares ? json_real(report->link.read) : json_null());
    json_object_set_new(object, "copy_bytes_per_second", json_real(report->link.copy));
    return object;
}

static json_t *links_json(const Examination *e)
{
    json_t *list = json_array();
    for (int i = 0; i < e->links; i++)
        json_array_append_new(list, json_pack("{s:i, s:i, s:f, s:f}", "from", e->link[i].from, "to",
                                              e->link[i].to, "latency_us", 1e6 * e->link[i].latency,
                                              "bytes_per_second", e->link[i].rate));
    return list;
}

static json_t *findings_json(const Examination *e)
{
    json_t *list = json_array();
    for (size_t i = 0; i < e->findings; i++) {
        json_t *finding = json_object();
        json_object_set_new(finding, "severity", string(severities[e->finding[i].severity]));
        json_object_set_new(finding, "text", string(e->finding[i].text));
        json_object_set_new(finding, "hint", string(e->finding[i].hint));
        json_object_set_new(finding, "hosts", string(e->finding[i].where));
        json_array_append_new(list, finding);
    }
    return list;
}

void doctor_print_json(const Examination *e)
{
    json_t *hosts = json_array(), *object = json_object();
    for (int host = 0; host < e->hosts; host++)
        json_array_append_new(hosts, host_json(e, host));
    json_object_set_new(object, "version", string(e->facts[0].version));
    json_object_set_new(object, "mpi", string(e->facts[0].mpi));
    json_object_set_new(object, "pml", string(e->facts[0].pml));
    json_object_set_new(object, "btl", string(e->facts[0].btl));
    json_object_set_new(object, "ranks", json_integer(e->ranks));
    json_object_set_new(object, "hosts", hosts);
    json_object_set_new(object, "links", links_json(e));
    json_object_set_new(object, "findings", findings_json(e));
    json_object_set_new(object, "exit_code", json_integer(traps_code(e)));
    char *text = json_dumps(object, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    expect(text);
    log_out("%s", text);
    free(text);
    json_decref(object);
}
