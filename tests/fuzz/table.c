/* The table of measured collectives (`comm.table`), and numbers, spans and names as text. */
#include "fuzz.h"

#include "../../src/comm/world.h"
#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <stdio.h>
#include <string.h>

/* Choices among what was measured. */
static void choose(const Comm *comm)
{
    for (int kind = 0; kind < COLLECTIVE_KINDS; kind++)
        for (int members = 1; members < 20; members += 6)
            expect(collective_choose(comm, (CollectiveKind)kind, members, 1000));
}

static void read_words(const char *text)
{
    static const char *const names[] = { "optimizer", "train.batch", "momentum", "lr" };
    int64_t whole;
    double number;
    Span span;
    char quoted[256];
    Err err = { .text = "" };
    text_nearest(text, names, 4);
    expect(strlen(text_quoted(quoted, sizeof quoted, text)) >= 2);
    if (text_to_int(text, &whole))
        text_count(quoted, sizeof quoted, whole);
    if (text_to_double(text, &number))
        text_si(quoted, sizeof quoted, number);
    if (span_parse(text, &span))
        expect(span_steps(span, 100, 8) >= 0);
    Comm comm = { .size = 1 };
    fuzz_told(collective_set_algorithm(&comm, text, &err), &err);
}

static void run(const uint8_t *data, size_t bytes)
{
    Comm comm = { .size = 4 };
    Err err = { .text = "" };
    char *text = fuzz_text(data, bytes);
    if (fuzz_told(collective_set_table(&comm, text, &err), &err))
        choose(&comm);
    mem_free(comm.measured);
    read_words(text);
    mem_free(text);
}

const FuzzTarget fuzz_table = { .name = "table", .run = run };
