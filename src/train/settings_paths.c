/* Every option path of the config: for LOCKSTEP_* names. */
#include "families.h"
#include "lockstep/memory.h"
#include "lockstep/settings.h"

#include <string.h>

typedef struct Paths {
    char **path;
    size_t count, capacity;
} Paths;

/* Adds "section.name" unless it is there. */
static void add_path(Paths *paths, const char *section, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s%s%s", section, *section ? "." : "", name);
    for (size_t i = 0; i < paths->count; i++)
        if (strcmp(paths->path[i], path) == 0)
            return;
    mem_grow(&paths->path, paths->count, &paths->capacity, sizeof(char *));
    paths->path[paths->count++] = mem_string(path);
}

static void add_table(Paths *paths, const char *section, const Option *table)
{
    for (; table && table->name; table++)
        if (table->type != OPTION_NODE) /* maps and lists are no values for a variable */
            add_path(paths, section, table->name);
}

static void add_family(Paths *paths, const Family *family)
{
    add_path(paths, family->section, "type");
    for (int i = 0; i < family->count(); i++)
        add_table(paths, family->section, family->member(i).options);
}

char **settings_paths(size_t *count)
{
    Paths paths = { 0 };
    for (const SettingsSection *section = settings_sections; section->name; section++)
        add_table(&paths, section->name, section->options);
    for (const Family *family = families; family->name; family++)
        if (family->section)
            add_family(&paths, family);
    mem_grow(&paths.path, paths.count, &paths.capacity, sizeof(char *));
    *count = paths.count;
    return paths.path; /* zeroed behind the last */
}

void settings_paths_free(char **paths)
{
    for (size_t i = 0; paths[i]; i++)
        mem_free(paths[i]);
    mem_free(paths);
}
