/* What a study's file has claimed beforehand, and what came of it. */
#include "parts.h"

#include "lockstep/text.h"

#include <math.h>
#include <stdio.h>

/* "above", "about (by 0.01)": how the two were to differ. */
static char *relation_text(const Expectation *e, char *buffer, size_t size)
{
    static const char *const relations[] = { "above", "below", "about" };
    snprintf(buffer, size, "%s", relations[e->relation]);
    if (e->factor > 1)
        text_append(buffer, size, ", factor %g", e->factor);
    if (e->by > 0)
        text_append(buffer, size, ", by %g", e->by);
    return buffer;
}

void study_claims(Page *page, const Answer *study)
{
    const Expectations *expectations = &study->expectations;
    if (expectations->count == 0)
        return;
    page_head(page, "What was expected");
    page_table(page, "outcome|claim|found|wanted|other");
    for (int i = 0; i < expectations->count; i++) {
        const Expectation *e = &expectations->list[i];
        char text[512];
        page_row(page, e->outcome == OUTCOME_NO ? "no" : e->outcome == OUTCOME_OPEN ? "bad" : NULL);
        page_word(page, outcome_text(e->outcome));
        page_word(page, e->claim);
        page_word(page, quantity_text(&e->value, e->found[0], text, sizeof text));
        page_word(page, relation_text(e, text, sizeof text));
        page_word(page, quantity_text(&e->other, e->found[1], text, sizeof text));
    }
    page_table_end(page);
}
