/* Timelines: the ring, the trace file, clocks. */
#include "support.h"

#include "lockstep/timeline.h"

#include <jansson.h>
#include <string.h>

START_TEST(test_ring)
{
    Timeline *timeline = timeline_new(4);
    for (int i = 0; i < 10; i++)
        timeline_span(timeline, TRACK_STEP, "a name of more than twenty-seven letters", i, i,
                      i + 1);
    ck_assert(timeline->count == 10);
    for (int i = 6; i < 10; i++)
        ck_assert(timeline->spans[i % 4].number == i);
    ck_assert_str_eq(timeline->spans[0].name, "a name of more than twenty-");
    timeline_free(timeline);
    timeline_span(NULL, TRACK_STEP, "nothing", 0, 0, 1);
    timeline_free(NULL);
}
END_TEST

START_TEST(test_clock)
{
    ClockOffset clock = { .local = { 10, 20 }, .offset = { 1, 3 } };
    ck_assert(clock_aligned(&clock, 10) > 10.999 && clock_aligned(&clock, 10) < 11.001);
    ck_assert(clock_aligned(&clock, 15) > 16.999 && clock_aligned(&clock, 15) < 17.001);
    ck_assert(clock_aligned(&clock, 20) > 22.999 && clock_aligned(&clock, 20) < 23.001);
}
END_TEST

START_TEST(test_file)
{
    char folder[TEST_PATH], path[TEST_PATH];
    TimelineSpan spans[2] = { { 5, 6, 7, TRACK_LAYERS, "quo\"te" },
                              { 6, 8, 9, TRACK_COLLECTIVE + 1, "ring all-gather" } };
    ClockOffset clock = { .local = { 0, 1 }, .offset = { 100, 100 } };
    json_error_t error;
    temp_create(folder);
    FILE *file = fopen(join_path(path, folder, "trace.json"), "w");
    ck_assert(file != NULL);
    timeline_write_begin(file);
    timeline_write_rank(file, 0, "here", spans, 2, &clock, 104);
    timeline_write_rank(file, 1, "there", spans, 1, &clock, 104);
    timeline_write_end(file);
    ck_assert(fclose(file) == 0);
    json_t *trace = json_load_file(path, 0, &error);
    ck_assert_msg(trace != NULL, "line %d: %s", error.line, error.text);
    json_t *events = json_object_get(trace, "traceEvents"), *event;
    size_t i;
    int found = 0, metadata = 0;
    json_array_foreach (events, i, event) {
        bool span = strcmp(json_string_value(json_object_get(event, "ph")), "X") == 0;
        found += span;
        metadata += !span;
        if (!span || found != 2)
            continue;
        ck_assert_str_eq(json_string_value(json_object_get(event, "name")), "ring all-gather");
        ck_assert(json_number_value(json_object_get(event, "ts")) > 1.999e6);
        ck_assert(json_number_value(json_object_get(event, "dur")) < 2.001e6);
    }
    ck_assert(found == 3 && metadata == 2 + 5 + 2); /* processes, tracks 0-4 and 0-1 */
    json_decref(trace);
    temp_remove(folder);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("timeline");
    add_test(suite, test_ring);
    add_test(suite, test_clock);
    add_test(suite, test_file);
    return run_suite(suite);
}
