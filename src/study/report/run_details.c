/* How runs were made: command, resolved configuration, environment; each opens on demand. */
#include "parts.h"

#include <stdlib.h>
#include <string.h>

/* A word of a command line as a shell reads it back. */
static void add_word(Page *line, const char *word)
{
    bool plain = word[0] && strcspn(word, " \t\n\"'\\$`*?[](){}<>|&;~#!") == strlen(word);
    page_add(line, plain ? "" : "'");
    for (; *word; word++)
        page_put(line, *word == '\'' ? "'\\''" : word, *word == '\'' ? 4 : 1);
    page_add(line, plain ? "" : "'");
}

static void put_command(Page *page, const json_t *command)
{
    Page line = { 0 };
    json_t *word;
    size_t index;
    json_array_foreach (command, index, word) {
        page_add(&line, index ? " " : "");
        add_word(&line, json_is_string(word) ? json_string_value(word) : "");
    }
    page_code(page, line.text ? line.text : "");
    page_free(&line);
}

/* "a: the command", or for the only run "the command". */
static void open_details(Page *page, const RunData *run, bool only, const char *what)
{
    Page title = { 0 };
    page_add(&title, "%s%s%s", only ? "" : run->name, only ? "" : ": ", what);
    page_details(page, title.text, !only);
    page_free(&title);
}

static void put_details(Page *page, const RunData *run, bool only)
{
    const json_t *command = json_object_get(run->meta, "command");
    if (command) {
        open_details(page, run, only, "the command");
        put_command(page, command);
        page_details_end(page);
    }
    if (run->config) {
        open_details(page, run, only, "the resolved configuration (config.yaml)");
        page_code(page, run->config);
        page_details_end(page);
    }
    if (run->meta) {
        char *text = json_dumps(run->meta, JSON_INDENT(2));
        open_details(page, run, only, "the environment (meta.json)");
        page_code(page, text);
        page_details_end(page);
        free(text);
    }
}

void run_details(Page *page, const RunData *runs, size_t count)
{
    page_head(page, count == 1 ? "How it was made" : "How they were made");
    for (size_t i = 0; i < count; i++)
        put_details(page, &runs[i], count == 1);
}
