/* The section `comm` of a config, applied: where ranks pretend to be, on which network, and what
 * algorithms are chosen by. */
#include "lockstep/collective.h"
#include "lockstep/memory.h"
#include "lockstep/settings.h"

/* Rank 0 reads the table, everybody gets it. */
static bool read_table(Comm *comm, const char *path, Err *err)
{
    char *text = NULL;
    size_t bytes = 0;
    bool ok = comm_rank(comm) != 0 || config_file(path, &text, &bytes, err);
    if (!comm_all_ok(comm, ok, err))
        return err_prefix(err, "comm.table: ");
    comm_broadcast_text(comm, &text, &bytes);
    ok = collective_set_table(comm, text, err) || err_prefix(err, "comm.table: %s: ", path);
    mem_free(text);
    return ok;
}

bool settings_apply_comm(const CommSettings *settings, Comm *comm, Err *err)
{
    Injection injection = { .delay_us = settings->inject_delay_us,
                            .gbit = settings->inject_gbit,
                            .jitter_us = settings->inject_jitter_us,
                            .slow_rank = settings->inject_slow_rank,
                            .slow_factor = settings->inject_slow_factor };
    return comm_pretend_hosts(comm, settings->virtual_hosts, err) &&
           comm_inject(comm, &injection, err) &&
           collective_set_algorithm(comm, settings->algorithm, err) &&
           (!*settings->table || read_table(comm, settings->table, err));
}
