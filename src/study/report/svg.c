/* Makes gnuplot's SVG fit for a page: colours that follow the page's, names that are the picture's
 * own, nothing that tells of gnuplot. */
#include "picture.h"

#include <stdlib.h>
#include <string.h>

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* "rgb(  0,   0,  17)" at `text`: its last number and how many characters it takes; 0: not that. */
static size_t read_color(const char *text, int *number)
{
    const char *at = text + 4;
    if (!begins(text, "rgb("))
        return 0;
    for (int i = 0; i < 3; i++) {
        char *end;
        *number = (int)strtol(at, &end, 10);
        if (*end != (i < 2 ? ',' : ')') || (i < 2 && *number != 0))
            return 0;
        at = end + 1;
    }
    return (size_t)(at - text);
}

static void put_color(Page *svg, int color)
{
    char name[16];
    color_name(color, name, sizeof name);
    page_add(svg, "var(%s)", name);
}

/* "<g ...>" and "</g>" with nothing between them: their characters, or 0. */
static size_t empty_group(const char *text)
{
    if (!begins(text, "<g "))
        return 0;
    size_t head = strcspn(text, ">");
    return text[head] && begins(text + head, ">\n</g>\n") ? head + 7 : 0;
}

/* What is put in place of words of gnuplot's; returns the characters it stands for, 0: none. */
static size_t replace(Page *svg, const char *text)
{
    static const char *const words[][2] = {
        { "font-family=\"sans-serif\"", "font-family=\"inherit\"" },
        { "color='white'", "color='var(--paper)'" }, /* around points */
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (begins(text, words[i][0])) {
            page_add(svg, "%s", words[i][1]);
            return strlen(words[i][0]);
        }
    const char *end = begins(text, "<title>") ? strstr(text, "</title>") : NULL;
    return end ? (size_t)(end - text) + strlen("</title>") : 0;
}

/* Does gnuplot's name of something begin here? Several pictures of a page would share it. */
static bool is_name(const char *text)
{
    static const char *const names[] = { "gpDot", "gpPt", "gnuplot_", "textbox", "greybox" };
    if (!strchr("#'\"", text[-1]))
        return false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (begins(text, names[i]))
            return true;
    return false;
}

void svg_copy(Page *svg, const char *text, size_t number)
{
    for (size_t skip; *text; text += skip) {
        int color;
        if ((skip = empty_group(text)) > 0 || (skip = replace(svg, text)) > 0)
            continue;
        if ((skip = read_color(text, &color)) > 0) {
            put_color(svg, color);
            continue;
        }
        if (is_name(text))
            page_add(svg, "p%zu", number);
        skip = 1;
        page_put(svg, text, 1);
    }
}
