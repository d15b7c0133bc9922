/* The command line: flags and words. Which flags there are is told by the commands that take them,
 * so a flag means the same in all of them. */
#include "command.h"
#include "lockstep/log.h"
#include "lockstep/text.h"

#include <string.h>

enum { MAX_FLAGS = 256 }; /* of all commands */

static const Flag general[] = {
    { "--help", false },    { "--version", false }, { "--quiet", false },
    { "--verbose", false }, { NULL, false },
};

static const struct {
    const char *name, *flag;
} short_names[] = {
    { "-h", "--help" },
    { "-V", "--version" },
    { "-q", "--quiet" },
    { "-v", "--verbose" },
};

/* The flag of this name (`length` characters) in a list, or NULL. */
static const Flag *find_flag(const Flag *flags, const char *name, size_t length)
{
    for (; flags->name; flags++)
        if (strncmp(flags->name, name, length) == 0 && flags->name[length] == '\0')
            return flags;
    return NULL;
}

/* The names of every flag there is; returns how many. */
static size_t all_names(const char *names[MAX_FLAGS])
{
    int commands;
    size_t count = 0;
    const Command *const *command = command_all(&commands);
    for (int i = -1; i < commands; i++)
        for (const Flag *flag = i < 0 ? general : command[i]->flags; flag->name; flag++) {
            expect(count < MAX_FLAGS);
            names[count++] = flag->name;
        }
    return count;
}

/* The flag that a word names, of whatever command. */
static const Flag *flag_of(const char *word)
{
    int commands;
    const Command *const *command = command_all(&commands);
    for (size_t i = 0; i < sizeof short_names / sizeof *short_names; i++)
        if (strcmp(word, short_names[i].name) == 0)
            word = short_names[i].flag;
    size_t length = strcspn(word, "=");
    const Flag *flag = find_flag(general, word, length);
    for (int i = 0; !flag && i < commands; i++)
        flag = find_flag(command[i]->flags, word, length);
    if (flag)
        return flag;
    const char *names[MAX_FLAGS];
    const char *nearest = text_nearest(word, names, all_names(names));
    die_all(EXIT_USAGE, "unknown option \"%s\"%s%s%s; see `lockstep --help`", word,
            nearest ? "; did you mean \"" : "", nearest ? nearest : "", nearest ? "\"?" : "");
}

/* A word that begins with "-", and the word behind it if that is its value; returns how many. */
static int parse_flag(Line *line, char *const *argv)
{
    const Flag *flag = flag_of(argv[0]);
    const char *equals = strchr(argv[0], '=');
    struct LineFlag *given = &line->flags[line->flag_count++];
    *given = (struct LineFlag){ .name = flag->name };
    if (equals && !flag->has_value)
        die_all(EXIT_USAGE, "%s takes no value; see `lockstep --help`", flag->name);
    if (equals)
        given->value = equals + 1;
    if (!flag->has_value || equals)
        return 1;
    if (!argv[1] || strncmp(argv[1], "--", 2) == 0)
        die_all(EXIT_USAGE, "%s: a value is wanted; see `lockstep --help`", flag->name);
    given->value = argv[1];
    return 2;
}

void line_parse(Line *line, int argc, char **argv)
{
    *line = (Line){ .argc = argc, .argv = argv };
    bool flags = true; /* "--" ends them */
    for (int i = 1; i < argc;) {
        if (line->count + line->flag_count == LINE_MAX_WORDS)
            die_all(EXIT_USAGE, "more than %d arguments", LINE_MAX_WORDS);
        if (flags && strcmp(argv[i], "--") == 0) {
            flags = false;
            i++;
        } else if (flags && argv[i][0] == '-' && argv[i][1])
            i += parse_flag(line, argv + i); /* argv ends with NULL */
        else
            line->words[line->count++] = argv[i++];
    }
    if (line_has(line, "--quiet"))
        log_set_level(LOG_QUIET);
    if (line_has(line, "--verbose"))
        log_set_level(LOG_VERBOSE);
}

void line_check(const Line *line, const Command *command)
{
    for (int i = 0; i < line->flag_count; i++) {
        const char *name = line->flags[i].name;
        size_t length = strlen(name);
        if (!find_flag(general, name, length) && !find_flag(command->flags, name, length))
            die_all(EXIT_USAGE, "%s takes no %s; see `lockstep %s --help`", command->name, name,
                    command->name);
    }
}

/* The last one counts. */
static const struct LineFlag *given_flag(const Line *line, const char *flag)
{
    for (int i = line->flag_count - 1; i >= 0; i--)
        if (strcmp(line->flags[i].name, flag) == 0)
            return &line->flags[i];
    return NULL;
}

bool line_has(const Line *line, const char *flag)
{
    return given_flag(line, flag) != NULL;
}

const char *line_value(const Line *line, const char *flag)
{
    const struct LineFlag *given = given_flag(line, flag);
    return given ? given->value : NULL;
}
