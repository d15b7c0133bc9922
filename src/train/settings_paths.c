/* Every option path of the config: for LOCKSTEP_* names and the keys of studies. */
#include "families.h"
#include "lockstep/memory.h"
#include "lockstep/settings.h"
#include "lockstep/text.h"

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

/* Values, or maps and lists of their own (which are no values for a variable). */
static void add_table(Paths *paths, const char *section, const Option *table, bool nodes)
{
    for (; table && table->name; table++)
        if ((table->type == OPTION_NODE) == nodes)
            add_path(paths, section, table->name);
}

static void add_family(Paths *paths, const Family *family, bool nodes)
{
    if (!nodes)
        add_path(paths, family->section, "type");
    for (int i = 0; i < family->count(); i++)
        add_table(paths, family->section, family->member(i).options, nodes);
}

static char **all_paths(size_t *count, bool nodes)
{
    Paths paths = { 0 };
    for (const SettingsSection *section = settings_sections; section->name; section++)
        add_table(&paths, section->name, section->options, nodes);
    for (const Family *family = families; family->name; family++)
        if (family->section)
            add_family(&paths, family, nodes);
    mem_grow(&paths.path, paths.count, &paths.capacity, sizeof(char *));
    *count = paths.count;
    return paths.path; /* zeroed behind the last */
}

char **settings_paths(size_t *count)
{
    return all_paths(count, false);
}

bool settings_path_is_section(const char *path)
{
    for (const SettingsSection *section = settings_sections; section->name; section++)
        if (strcmp(section->name, path) == 0)
            return true;
    for (const Family *family = families; family->name; family++)
        if (family->section && strcmp(family->section, path) == 0)
            return true;
    return false;
}

static bool is_value(const char *path, char **nearest)
{
    size_t count;
    bool found = false;
    char **paths = settings_paths(&count);
    for (size_t i = 0; i < count && !found; i++)
        found = strcmp(paths[i], path) == 0;
    const char *near = found ? NULL : text_nearest(path, (const char *const *)paths, count);
    *nearest = near ? mem_string(near) : NULL;
    settings_paths_free(paths);
    return found;
}

/* Is it, or something below it, a map or list whose options are the reader's? Sections are not:
 * their options are known. */
static bool is_node(const char *path)
{
    size_t count;
    bool found = false;
    char **nodes = all_paths(&count, true);
    for (size_t i = 0; i < count && !found; i++) {
        size_t length = strlen(nodes[i]);
        found = strncmp(nodes[i], path, length) == 0 && strchr(".[", path[length]) &&
                (path[length] == '\0' || !settings_path_is_section(nodes[i]));
    }
    settings_paths_free(nodes);
    return found;
}

bool settings_path_known(const char *path, char **nearest)
{
    if (is_value(path, nearest))
        return true;
    if (!is_node(path))
        return false;
    mem_free(*nearest);
    *nearest = NULL;
    return true;
}

void settings_paths_free(char **paths)
{
    for (size_t i = 0; paths[i]; i++)
        mem_free(paths[i]);
    mem_free(paths);
}
