/* `lockstep list` and docs/options.md: what a config can say, from the tables that read it. */
#include "lockstep/list.h"
#include "families.h"
#include "lockstep/log.h"
#include "lockstep/settings.h"
#include "lockstep/text.h"

#include <string.h>

#define NAMES_MAX 256
#define TEXT_BYTES 512

/* What an option accepts and its default, in words. */
typedef struct OptionText {
    char wanted[TEXT_BYTES], def[128];
} OptionText;

static OptionText option_text(const Option *option)
{
    OptionText text;
    option_wanted(option, text.wanted, sizeof text.wanted);
    snprintf(text.def, sizeof text.def, "%s",
             !option->def           ? "required"
             : *option->def == '\0' ? "none"
                                    : option->def);
    return text;
}

static bool has_options(const Option *table)
{
    return table && table->name;
}

/* ---- to a terminal ---- */

static void print_options(const Option *table)
{
    for (; has_options(table); table++) {
        OptionText text = option_text(table);
        log_out("  %-18s %s", table->name, table->help);
        log_out("  %-18s %s; default: %s", "", text.wanted, text.def);
    }
}

static void print_family(const Family *family)
{
    log_out("%s: %s", family->name, family->help);
    for (int i = 0; i < family->count(); i++) {
        Member member = family->member(i);
        log_out("  %-22s %s", member.name, member.help);
    }
    if (family->count() == 0)
        print_options(family->common);
}

/* A formula may have several lines; all are indented. */
static void print_formula(const char *formula)
{
    for (const char *line = formula; *line;) {
        size_t length = strcspn(line, "\n");
        log_out("    %.*s", (int)length, line);
        line += length + (line[length] == '\n');
    }
}

static void print_member(const Family *family, const Member *member)
{
    log_out("%s (%s): %s", member->name, family->singular, member->help);
    if (member->formula)
        print_formula(member->formula);
    if (member->source)
        log_out("  Source: %s", member->source);
    log_out("%s", has_options(member->options) ? "Options:" : "No options of its own.");
    print_options(member->options);
    if (family->common) {
        log_out("Options of all %s:", family->name);
        print_options(family->common);
    }
}

static void print_section(const SettingsSection *section)
{
    log_out("%s: %s", *section->name ? section->name : "(top)", section->help);
    print_options(section->options);
}

/* ---- finding ---- */

static const SettingsSection *find_section(const char *name)
{
    const SettingsSection *section = settings_sections;
    while (section->name && strcmp(section->name, name) != 0)
        section++;
    return section->name ? section : NULL;
}

static const Family *find_family(const char *name)
{
    const Family *family = families;
    while (family->name && strcmp(family->name, name) != 0 && strcmp(family->singular, name) != 0)
        family++;
    return family->name ? family : NULL;
}

static bool find_member(const Family *family, const char *name, Member *member)
{
    for (int i = 0; i < family->count(); i++) {
        *member = family->member(i);
        if (strcmp(member->name, name) == 0)
            return true;
    }
    return false;
}

static bool unknown(const char *what, const char *word, const char *const *names, size_t count,
                    Err *err)
{
    char quoted[256];
    const char *nearest = text_nearest(word, names, count);
    err_set(err, "unknown %s %s", what, text_quoted(quoted, sizeof quoted, word));
    if (nearest)
        text_append(err->text, sizeof err->text, "; did you mean \"%s\"?", nearest);
    text_append(err->text, sizeof err->text, " (");
    for (size_t i = 0; i < count; i++)
        text_append(err->text, sizeof err->text, "%s%s", i ? ", " : "", names[i]);
    text_append(err->text, sizeof err->text, ")");
    return false;
}

static bool list_member(const Family *family, const char *name, Err *err)
{
    Member member;
    const char *names[NAMES_MAX];
    if (find_member(family, name, &member)) {
        print_member(family, &member);
        return true;
    }
    size_t count = 0;
    for (int i = 0; i < family->count() && count < NAMES_MAX; i++)
        names[count++] = family->member(i).name;
    return unknown(family->singular, name, names, count, err);
}

static bool list_config(const char *name, Err *err)
{
    const char *names[NAMES_MAX];
    size_t count = 0;
    const SettingsSection *found = name ? find_section(name) : NULL;
    if (found) {
        print_section(found);
        return true;
    }
    for (const SettingsSection *section = settings_sections; section->name; section++) {
        if (!name)
            print_section(section);
        if (*section->name && count < NAMES_MAX)
            names[count++] = section->name;
    }
    return !name || unknown("config section", name, names, count, err);
}

/* One word that is no family: a member of any. */
static bool list_anything(const char *word, Err *err)
{
    Member member;
    const char *names[NAMES_MAX];
    size_t count = 0;
    bool found = false;
    for (const Family *family = families; family->name; family++) {
        names[count++] = family->name;
        if (find_member(family, word, &member)) {
            print_member(family, &member);
            found = true;
        }
    }
    names[count++] = "config";
    return found || unknown("list", word, names, count, err);
}

bool list_print(const char *family_name, const char *name, Err *err)
{
    const Family *family = family_name ? find_family(family_name) : NULL;
    if (!family_name) {
        for (family = families; family->name; family++)
            print_family(family);
        log_out("config: `lockstep list config` prints the options of every section.");
        return true;
    }
    if (strcmp(family_name, "config") == 0)
        return list_config(name, err);
    if (family && name)
        return list_member(family, name, err);
    if (!family)
        return list_anything(family_name, err);
    print_family(family);
    return true;
}

/* ---- docs/options.md ---- */

/* Table cells: a bar would end the cell. */
static const char *cell(const char *text, char *buffer, size_t size)
{
    snprintf(buffer, size, "%s", "");
    for (; *text; text++)
        text_append(buffer, size, *text == '|' ? "\\%c" : "%c", *text == '\n' ? ' ' : *text);
    return buffer;
}

static void markdown_options(const Option *table)
{
    char wanted[TEXT_BYTES], help[TEXT_BYTES], def[160];
    if (!has_options(table))
        return;
    log_out("\n| option | takes | default | meaning |\n|---|---|---|---|");
    for (; table->name; table++) {
        OptionText text = option_text(table);
        bool literal = table->def && *table->def;
        snprintf(def, sizeof def, "%s%s%s", literal ? "`" : "", text.def, literal ? "`" : "");
        log_out("| `%s` | %s | %s | %s |", table->name, cell(text.wanted, wanted, sizeof wanted),
                def, cell(table->help, help, sizeof help));
    }
}

static void markdown_member(const Member *member)
{
    log_out("\n### %s\n\n%s", member->name, member->help);
    if (member->formula)
        log_out("\n```\n%s\n```", member->formula);
    if (member->source)
        log_out("\nSource: %s", member->source);
    markdown_options(member->options);
}

static void markdown_family(const Family *family)
{
    bool plain = true; /* names and help only */
    char help[TEXT_BYTES];
    log_out("\n## %c%s\n\n%s", family->name[0] - 'a' + 'A', family->name + 1, family->help);
    if (family->common && !family->section) { /* sections have shown theirs */
        log_out("\nOptions of all %s:", family->name);
        markdown_options(family->common);
    }
    for (int i = 0; i < family->count(); i++)
        plain = plain && !family->member(i).options && !family->member(i).formula;
    if (plain && family->count() > 0)
        log_out("\n| name | meaning |\n|---|---|");
    for (int i = 0; i < family->count(); i++) {
        Member member = family->member(i);
        if (plain)
            log_out("| `%s` | %s |", member.name, cell(member.help, help, sizeof help));
        else
            markdown_member(&member);
    }
}

void list_markdown(void)
{
    log_out(
        "# Options\n\nGenerated by `make docs` from the tables that read the config; do not edit.\n"
        "\nAn option is written in the YAML file, as an argument `train.batch=512` or as an\n"
        "environment variable `LOCKSTEP_TRAIN_BATCH=512`. The command line wins over the\n"
        "environment, that over the file, that over the default. Spans of training are steps\n"
        "(`500st` or `500`), epochs (`5ep`, `0.5ep`) or samples (`100000sa`).\n"
        "\n## Sections of the config");
    for (const SettingsSection *section = settings_sections; section->name; section++) {
        log_out("\n### %s%s%s\n\n%s", *section->name ? "`" : "",
                *section->name ? section->name : "Top level", *section->name ? "`" : "",
                section->help);
        markdown_options(section->options);
    }
    for (const Family *family = families; family->name; family++)
        markdown_family(family);
}
