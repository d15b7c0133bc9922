/* meta.json: provenance. When and where a run took place, with which program, libraries and CPU,
 * started by which command: what somebody needs to repeat it, or to see why a repetition
 * differs. */
#include "run_parts.h"

#include "lockstep/bf16.h"
#include "lockstep/cpu.h"
#include "lockstep/memory.h"
#include "lockstep/version.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

/* Variables that change what a run does or say where it ran. Names by prefix; SLURM_ alone would
 * take authentication tokens along. */
static const char *const environment_prefixes[] = {
    "LOCKSTEP_",
    "OPENBLAS_",
    "OMP_",
    "GOTO_NUM_THREADS",
    "OMPI_COMM_WORLD_",
    "OMPI_MCA_btl",
    "OMPI_MCA_coll",
    "OMPI_MCA_hwloc",
    "OMPI_MCA_mpi_",
    "OMPI_MCA_osc",
    "OMPI_MCA_pml",
    "OMPI_MCA_rmaps",
    "SLURM_ARRAY_",
    "SLURM_CLUSTER_NAME",
    "SLURM_CPU",
    "SLURM_JOB_",
    "SLURM_MEM",
    "SLURM_NNODES",
    "SLURM_NODELIST",
    "SLURM_NPROCS",
    "SLURM_NTASKS",
    "SLURM_RESTART_COUNT",
    "SLURM_TASKS_PER_NODE",
};

char *time_text(char *buffer, size_t size, int64_t unix_seconds)
{
    time_t seconds = (time_t)unix_seconds;
    struct tm parts;
    if (!gmtime_r(&seconds, &parts) || strftime(buffer, size, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
        snprintf(buffer, size, "unknown");
    return buffer;
}

static json_t *text_value(const char *text)
{
    char copy[4096];
    return json_string(text_as_utf8(copy, sizeof copy, text));
}

static void set_text(json_t *object, const char *key, const char *text)
{
    json_object_set_new(object, key, text_value(text));
}

static void set_digest(json_t *object, const char *key, uint64_t digest)
{
    char text[17];
    if (digest == 0)
        return;
    snprintf(text, sizeof text, "%016llx", (unsigned long long)digest);
    set_text(object, key, text);
}

static json_t *command_value(int argc, char *const *argv)
{
    json_t *command = json_array();
    for (int i = 0; i < argc; i++)
        json_array_append_new(command, text_value(argv[i]));
    return command;
}

/* [{"name": "node1", "ranks": 2}], in the order of each host's first rank. */
static json_t *hosts_value(const char *hosts, int ranks)
{
    json_t *list = json_array();
    for (int rank = 0; rank < ranks; rank++) {
        char copy[HOST_SIZE];
        const char *name = text_as_utf8(copy, sizeof copy, hosts + (size_t)rank * HOST_SIZE);
        json_t *host = NULL, *item;
        size_t index;
        json_array_foreach (list, index, item)
            if (strcmp(json_string_value(json_object_get(item, "name")), name) == 0)
                host = item;
        if (host) {
            json_int_t count = json_integer_value(json_object_get(host, "ranks"));
            json_object_set_new(host, "ranks", json_integer(count + 1));
        } else {
            json_array_append_new(list, json_pack("{s:s, s:i}", "name", name, "ranks", 1));
        }
    }
    return list;
}

static bool is_relevant(const char *variable)
{
    size_t count = sizeof environment_prefixes / sizeof *environment_prefixes;
    for (size_t i = 0; i < count; i++)
        if (strncmp(variable, environment_prefixes[i], strlen(environment_prefixes[i])) == 0)
            return true;
    return false;
}

/* Owned by the caller; sorted by name when it is written. */
static json_t *environment_value(void)
{
    json_t *values = json_object();
    for (char **variable = environ; *variable; variable++) {
        const char *equals = strchr(*variable, '=');
        char name[128], copy[128];
        if (!equals || !is_relevant(*variable) || (size_t)(equals - *variable) >= sizeof name)
            continue;
        snprintf(name, sizeof name, "%.*s", (int)(equals - *variable), *variable);
        set_text(values, text_as_utf8(copy, sizeof copy, name), equals + 1);
    }
    return values;
}

static int by_name(const void *left, const void *right)
{
    const char *const *a = left, *const *b = right;
    return strcmp(*a, *b);
}

static json_t *sorted(json_t *object)
{
    size_t count = json_object_size(object), used = 0;
    const char **names = mem_array(const char *, count);
    const char *name;
    json_t *value, *result = json_object();
    json_object_foreach (object, name, value)
        names[used++] = name;
    qsort(names, count, sizeof *names, by_name);
    for (size_t i = 0; i < count; i++)
        json_object_set(result, names[i], json_object_get(object, names[i]));
    mem_free(names);
    json_decref(object);
    return result;
}

static json_t *program_value(void)
{
    json_t *program = json_object();
    set_text(program, "version", version_string());
    set_text(program, "git", version_git());
    set_text(program, "compiler", version_compiler());
    set_text(program, "flags", version_flags());
    set_text(program, "mpi", comm_library());
    return program;
}

static json_t *cpu_value(void)
{
    json_t *cpu = json_object();
    set_text(cpu, "model", cpu_model());
    set_text(cpu, "isa", cpu_isa_name(cpu_isa()));
    set_text(cpu, "blas_core", cpu_blas_core());
    set_text(cpu, "blas_core_inherited", cpu_blas_inherited());
    set_text(cpu, "bf16_kernel", bf16_kernel());
    return cpu;
}

static json_t *digests_value(const RunFacts *facts)
{
    json_t *digests = json_object();
    set_digest(digests, "train_data", facts->train_data);
    set_digest(digests, "test_data", facts->test_data);
    set_digest(digests, "initial_weights", facts->initial);
    return digests;
}

bool meta_write(const char *path, int argc, char *const *argv, const char *hosts, int ranks,
                const RunFacts *facts, Err *err)
{
    char time_now[32], folder[4096];
    json_t *meta = json_object();
    set_text(meta, "time", time_text(time_now, sizeof time_now, time(NULL)));
    json_object_set_new(meta, "command", command_value(argc, argv));
    set_text(meta, "working_directory", getcwd(folder, sizeof folder) ? folder : strerror(errno));
    json_object_set_new(meta, "ranks", json_integer(ranks));
    json_object_set_new(meta, "hosts", hosts_value(hosts, ranks));
    json_object_set_new(meta, "cpu", cpu_value());
    json_object_set_new(meta, "program", program_value());
    if (facts)
        json_object_set_new(meta, "digests", digests_value(facts));
    if (facts && facts->resumes > 0)
        json_object_set_new(meta, "resumed",
                            json_pack("{s:I, s:I}", "times", (json_int_t)facts->resumes, "step",
                                      (json_int_t)facts->resumed_step));
    json_object_set_new(meta, "environment", sorted(environment_value()));
    char *text = json_dumps(meta, JSON_INDENT(2));
    expect(text);
    size_t length = strlen(text);
    text[length] = '\n'; /* in place of the NUL: file_replace takes a length */
    bool ok = file_replace(path, text, length + 1, err);
    free(text);
    json_decref(meta);
    return ok;
}
