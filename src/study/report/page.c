/* A page as one growing string. */
#include "page.h"

#include "lockstep/error.h"
#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static void make_room(Page *page, size_t bytes)
{
    if (page->used + bytes + 1 <= page->capacity)
        return;
    size_t capacity = 2 * (page->used + bytes) + 1024;
    char *text = mem_alloc(capacity);
    if (page->used > 0)
        memcpy(text, page->text, page->used);
    mem_free(page->text);
    page->text = text;
    page->capacity = capacity;
}

void page_put(Page *page, const char *text, size_t bytes)
{
    make_room(page, bytes);
    memcpy(page->text + page->used, text, bytes);
    page->used += bytes;
    page->text[page->used] = '\0';
}

static void add_formatted(Page *page, const char *format, va_list arguments)
    __attribute__((format(printf, 2, 0)));

static void add_formatted(Page *page, const char *format, va_list arguments)
{
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    expect(length >= 0);
    make_room(page, (size_t)length);
    vsnprintf(page->text + page->used, (size_t)length + 1, format, again);
    page->used += (size_t)length;
    va_end(again);
}

void page_add(Page *page, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add_formatted(page, format, arguments);
    va_end(arguments);
}

void page_free(Page *page)
{
    mem_free(page->text);
    *page = (Page){ 0 };
}

/* One character; returns its bytes. */
static size_t put_escaped(Page *page, const char *text, size_t bytes)
{
    static const struct {
        char character;
        const char *name;
    } names[] = { { '<', "&lt;" }, { '>', "&gt;" }, { '&', "&amp;" }, { '"', "&quot;" } };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (*text == names[i].character) {
            page_put(page, names[i].name, strlen(names[i].name));
            return 1;
        }
    uint32_t code;
    size_t length = text_utf8(text, bytes, &code);
    bool shown = length > 0 && ((code >= 32 && code != 127) || code == '\n' || code == '\t') &&
                 !(code >= 128 && code < 160);
    page_put(page, shown ? text : "?", shown ? length : 1);
    return length > 0 ? length : 1;
}

void page_text(Page *page, const char *text)
{
    size_t bytes = strlen(text);
    for (size_t at = 0; at < bytes;)
        at += put_escaped(page, text + at, bytes - at);
}

void page_csv(Page *page, const char *text, bool first)
{
    if (!first)
        page_put(page, ",", 1);
    if (!strpbrk(text, ",\"\r\n")) {
        page_put(page, text, strlen(text));
        return;
    }
    page_put(page, "\"", 1);
    for (; *text; text++)
        page_put(page, *text == '"' ? "\"\"" : text, *text == '"' ? 2 : 1);
    page_put(page, "\"", 1);
}

/* ---- tables ---- */

void page_table(Page *page, const char *heads)
{
    page_add(page, "<div class=\"scroll\" tabindex=\"0\"><table>\n<thead><tr>");
    for (const char *head = heads; *head;) {
        size_t length = strcspn(head, "|");
        bool number = *head == '#';
        char text[128];
        snprintf(text, sizeof text, "%.*s", (int)(length - number), head + number);
        page_add(page, number ? "<th class=\"n\">" : "<th>");
        page_text(page, text);
        page_add(page, "</th>");
        head += length + (head[length] == '|');
    }
    page_add(page, "</tr></thead>\n<tbody>");
}

void page_row(Page *page, const char *class)
{
    page_add(page, class ? "\n<tr class=\"%s\">" : "\n<tr>", class);
}

void page_word(Page *page, const char *text)
{
    page_add(page, "<td>");
    page_text(page, text);
    page_add(page, "</td>");
}

void page_number(Page *page, const char *format, ...)
{
    va_list arguments;
    page_add(page, "<td class=\"n\">");
    va_start(arguments, format);
    add_formatted(page, format, arguments);
    va_end(arguments);
    page_add(page, "</td>");
}

void page_table_end(Page *page)
{
    page_add(page, "\n</tbody></table></div>\n");
}

void page_head(Page *page, const char *title)
{
    page_add(page, "<h2>");
    page_text(page, title);
    page_add(page, "</h2>\n");
}

void page_details(Page *page, const char *title, bool is_long)
{
    page_add(page, is_long ? "<details class=\"long\"><summary>" : "<details><summary>");
    page_text(page, title);
    page_add(page, "</summary>\n");
}

void page_details_end(Page *page)
{
    page_add(page, "</details>\n");
}

void page_code(Page *page, const char *text)
{
    page_add(page, "<pre>");
    page_text(page, text);
    page_add(page, "</pre>\n");
}
