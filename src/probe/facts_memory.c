/* Memory: how much there is, what the control group allows, and what /dev/shm is like and holds. */
#include "facts.h"

#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* ---- small files ---- */

bool facts_line(const char *path, char *text, size_t size)
{
    FILE *file = fopen(path, "r");
    text[0] = '\0';
    bool ok = file && fgets(text, (int)size, file);
    if (file)
        fclose(file);
    text[strcspn(text, "\n")] = '\0';
    return ok;
}

double facts_number(const char *path)
{
    char text[64];
    double value;
    return facts_line(path, text, sizeof text) && text_to_double(text, &value) ? value : -1;
}

double facts_field(const char *path, const char *key)
{
    FILE *file = fopen(path, "r");
    char line[256];
    double value = -1;
    size_t length = strlen(key);
    while (file && value < 0 && fgets(line, sizeof line, file))
        if (strncmp(line, key, length) == 0 && line[length] == ':')
            value = strtod(line + length + 1, NULL);
    if (file)
        fclose(file);
    return value;
}

/* The choice in force: of "always [madvise] never" madvise. */
static void read_choice(const char *path, char *text, size_t size)
{
    char line[128];
    text[0] = '\0';
    char *open = facts_line(path, line, sizeof line) ? strchr(line, '[') : NULL;
    if (open)
        snprintf(text, size, "%.*s", (int)strcspn(open + 1, "]"), open + 1);
}

/* ---- what the cgroup allows ---- */

/* This process's group below `controller` ("" for version 2), from "4:memory:/a/b". */
static bool find_group(const char *controller, char *path, size_t size)
{
    FILE *file = fopen("/proc/self/cgroup", "r");
    char line[512];
    bool found = false;
    while (file && !found && fgets(line, sizeof line, file)) {
        char *name = strchr(line, ':'), *group = name ? strchr(name + 1, ':') : NULL;
        if (!group)
            continue;
        *group = '\0';
        group[1 + strcspn(group + 1, "\n")] = '\0';
        char list[512], wanted[64];
        snprintf(list, sizeof list, ",%s,", name + 1);
        snprintf(wanted, sizeof wanted, ",%s,", controller);
        found = strstr(list, wanted) != NULL;
        if (found)
            snprintf(path, size, "%s", group + 1);
    }
    if (file)
        fclose(file);
    return found;
}

/* The smallest value that `read` finds in `file` of the group and of those above it. In a container
 * the group's path may be the host's, and then only the top is there. */
static double smallest(const char *root, const char *controller, double (*read)(const char *folder))
{
    char group[512] = "", folder[640];
    double least = -1;
    if (!find_group(controller, group, sizeof group))
        return -1;
    for (char *end = group + strlen(group); end; end = strrchr(group, '/')) {
        *end = '\0';
        snprintf(folder, sizeof folder, "%s%s", root, group);
        double value = read(folder);
        if (value >= 0 && (least < 0 || value < least))
            least = value;
    }
    return least;
}

static double in_folder(const char *folder, const char *name)
{
    char path[768];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return facts_number(path);
}

/* "200000 100000": two CPUs; "max 100000": all. */
static double quota_v2(const char *folder)
{
    char path[768], line[64];
    double quota, period;
    snprintf(path, sizeof path, "%s/cpu.max", folder);
    return facts_line(path, line, sizeof line) && sscanf(line, "%lf %lf", &quota, &period) == 2
               ? quota / period
               : -1;
}

static double quota_v1(const char *folder)
{
    double quota = in_folder(folder, "cpu.cfs_quota_us");
    double period = in_folder(folder, "cpu.cfs_period_us");
    return quota > 0 && period > 0 ? quota / period : -1;
}

static double memory_v2(const char *folder)
{
    return in_folder(folder, "memory.max");
}

static double memory_v1(const char *folder)
{
    double bytes = in_folder(folder, "memory.limit_in_bytes");
    return bytes < 1e18 ? bytes : -1; /* that is how version 1 says "none" */
}

static void collect_cgroup(Facts *facts)
{
    facts->quota = smallest("/sys/fs/cgroup", "", quota_v2);
    if (facts->quota < 0)
        facts->quota = smallest("/sys/fs/cgroup/cpu", "cpu", quota_v1);
    facts->limited = smallest("/sys/fs/cgroup", "", memory_v2);
    if (facts->limited < 0)
        facts->limited = smallest("/sys/fs/cgroup/memory", "memory", memory_v1);
}

/* ---- what dead jobs left behind ---- */

typedef struct Segment {
    char name[128];
    double bytes;
    bool used;
} Segment;

/* Files that Open MPI makes in /dev/shm for ranks, and that ranks which were killed leave there. */
static Segment *list_segments(int *found)
{
    static const char *const begins[] = { "vader_segment.", "sm_segment.", "osc_sm.", "osc_rdma." };
    DIR *folder = opendir("/dev/shm");
    Segment *segments = NULL;
    size_t count = 0, capacity = 0;
    for (const struct dirent *entry; folder && (entry = readdir(folder));) {
        struct stat status;
        char path[300];
        bool ours = false;
        for (size_t i = 0; i < sizeof begins / sizeof *begins; i++)
            ours = ours || strncmp(entry->d_name, begins[i], strlen(begins[i])) == 0;
        snprintf(path, sizeof path, "/dev/shm/%s", entry->d_name);
        if (!ours || stat(path, &status) != 0 || strlen(entry->d_name) >= sizeof segments->name)
            continue;
        if (status.st_uid != geteuid())
            continue; /* who uses it cannot be told */
        mem_grow(&segments, count, &capacity, sizeof *segments);
        segments[count] = (Segment){ .bytes = 512.0 * (double)status.st_blocks };
        snprintf(segments[count++].name, sizeof segments->name, "%.127s", entry->d_name);
    }
    if (folder)
        closedir(folder);
    *found = (int)count;
    return segments;
}

static void mark_used(Segment *segments, int count, const char *process)
{
    char path[300], line[512];
    snprintf(path, sizeof path, "/proc/%s/maps", process);
    FILE *maps = fopen(path, "r");
    while (maps && fgets(line, sizeof line, maps)) {
        const char *name = strstr(line, "/dev/shm/");
        size_t length = name ? strcspn(name + 9, " \n") : 0;
        for (int i = 0; i < count && name; i++)
            if (strncmp(segments[i].name, name + 9, length) == 0 &&
                segments[i].name[length] == '\0')
                segments[i].used = true;
    }
    if (maps)
        fclose(maps);
}

static void find_leftovers(Facts *facts)
{
    int count;
    Segment *segments = list_segments(&count);
    DIR *processes = count > 0 ? opendir("/proc") : NULL;
    for (const struct dirent *entry; processes && (entry = readdir(processes));)
        if (isdigit((unsigned char)entry->d_name[0]))
            mark_used(segments, count, entry->d_name);
    if (processes)
        closedir(processes);
    for (int i = 0; i < count; i++)
        if (!segments[i].used) {
            facts->leftovers++;
            facts->leftover_bytes += segments[i].bytes;
        }
    mem_free(segments);
}

/* ---- memory ---- */

void facts_memory(Facts *facts, bool first)
{
    collect_cgroup(facts);
    if (first)
        find_leftovers(facts);
    struct statvfs status;
    double total = facts_field("/proc/meminfo", "MemTotal");
    double available = facts_field("/proc/meminfo", "MemAvailable");
    facts->memory = total < 0 ? -1 : 1024 * total;
    facts->available = available < 0 ? -1 : 1024 * available;
    facts->shm_bytes = facts->shm_free = -1;
    if (statvfs("/dev/shm", &status) == 0) {
        facts->shm_bytes = (double)status.f_blocks * (double)status.f_frsize;
        facts->shm_free = (double)status.f_bavail * (double)status.f_frsize;
    }
    read_choice("/sys/kernel/mm/transparent_hugepage/enabled", facts->huge_pages,
                sizeof facts->huge_pages);
    read_choice("/sys/kernel/mm/transparent_hugepage/shmem_enabled", facts->shm_huge_pages,
                sizeof facts->shm_huge_pages);
    facts->overcommit = (int)facts_number("/proc/sys/vm/overcommit_memory");
}
