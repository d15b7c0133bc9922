/* Who goes on at a rung, from states that the test makes up: a pure function of them. */
#include "support.h"

#include "../../src/study/study_parts.h"
#include "lockstep/memory.h"

#include <math.h>
#include <string.h>

enum { MAX = 16 };

static Study study;
static Trial trials[MAX];
static TrialState states[MAX];
static Decision decisions[MAX];

static char first[] = "1ep", second[] = "2ep";

/* `settings` settings of one arm with so many seeds, open, at no rung. */
static void begin(PruneType type, int settings, int seeds)
{
    memset(states, 0, sizeof states);
    study = (Study){ .trials = trials,
                     .count = settings * seeds,
                     .settings = settings,
                     .arms = 1,
                     .prune = { .type = type,
                                .keep = 0.5,
                                .rungs = 2,
                                .rung = { { 1, SPAN_EPOCHS }, { 2, SPAN_EPOCHS } },
                                .text = { first, second } } };
    for (int i = 0; i < study.count; i++)
        trials[i] = (Trial){ .setting = i / seeds };
}

static void pass(int trial, int rung, double value)
{
    states[trial].passed[rung] = true;
    states[trial].value[rung] = value;
}

/* One letter a trial: "1" or "2" train up to that rung, "e" to the end, "w" wait, "p" pruned at the
 * first rung, "P" at the second, "." has ended. */
static const char *decide(void)
{
    static char text[MAX + 1];
    prune_decide(&study, states, decisions);
    for (int i = 0; i < study.count; i++) {
        const Decision *d = &decisions[i];
        text[i] = states[i].status != TRIAL_OPEN ? '.'
                  : d->what == DECISION_WAIT     ? 'w'
                  : d->what == DECISION_PRUNED   ? "pP"[d->rung]
                  : d->rung < 0                  ? 'e'
                                                 : "12"[d->rung];
    }
    text[study.count] = '\0';
    return text;
}

START_TEST(test_waits)
{
    begin(PRUNE_HALVING, 4, 1);
    ck_assert_str_eq(decide(), "1111");
    pass(1, 0, 0.9);
    pass(3, 0, 0.1);
    ck_assert_str_eq(decide(), "1w1w");
}
END_TEST

START_TEST(test_halving)
{
    begin(PRUNE_HALVING, 5, 1);
    for (int i = 0; i < 5; i++)
        pass(i, 0, (double[]){ 0.3, 0.9, 0.1, 0.7, 0.5 }[i]);
    ck_assert_str_eq(decide(), "p2p22"); /* half of 5, rounded up */
    ck_assert(decisions[0].value == 0.3 && decisions[0].cut == 0.5);
    pass(1, 1, 0.6);
    pass(3, 1, 0.8);
    ck_assert_str_eq(decide(), "pwpw2");
    pass(4, 1, 0.7);
    ck_assert_str_eq(decide(), "pPpee");
}
END_TEST

/* As good ones in the order of the plan; all but one can go. */
START_TEST(test_ties)
{
    begin(PRUNE_HALVING, 4, 1);
    study.prune.keep = 0.01;
    for (int i = 0; i < 4; i++)
        pass(i, 0, 0.5);
    ck_assert_str_eq(decide(), "2ppp");
}
END_TEST

START_TEST(test_median)
{
    begin(PRUNE_MEDIAN, 4, 1);
    for (int i = 0; i < 4; i++)
        pass(i, 0, (double[]){ -1, -2, -3, -1 }[i]); /* losses */
    ck_assert_str_eq(decide(), "2pp2");
    char text[128];
    ck_assert_str_eq(prune_text(&study, &decisions[1], text, sizeof text),
                     "pruned at 1ep: loss 2, at most 1.5 wanted");
    for (int i = 0; i < 4; i++)
        pass(i, 0, -1);
    ck_assert_str_eq(decide(), "2222"); /* nobody is below the median */
}
END_TEST

/* A setting is its seeds' median, and all of them go together. */
START_TEST(test_seeds)
{
    begin(PRUNE_HALVING, 2, 3);
    for (int i = 0; i < 6; i++)
        pass(i, 0, (double[]){ 0.9, 0.4, 0.5, 0.6, 0.1, 0.7 }[i]);
    ck_assert_str_eq(decide(), "ppp222");
}
END_TEST

/* Lost ones count as the worst; who has ended is there, and stays what it is. */
START_TEST(test_ended)
{
    begin(PRUNE_HALVING, 4, 1);
    states[0].status = TRIAL_DIVERGED;
    states[1].status = TRIAL_FAILED;
    pass(2, 0, 0.2);
    ck_assert_str_eq(decide(), "..w1");
    states[3].status = TRIAL_TARGET;
    states[3].value[0] = 0.9;
    ck_assert_str_eq(decide(), "..2.");
    begin(PRUNE_MEDIAN, 1, 2); /* one of two seeds */
    states[0].status = TRIAL_DIVERGED;
    pass(1, 0, 0.5);
    ck_assert_str_eq(decide(), ".2");
}
END_TEST

/* Who is lost behind a rung does not change what was decided there. */
START_TEST(test_lost_later)
{
    begin(PRUNE_HALVING, 2, 2);
    for (int i = 0; i < 4; i++)
        pass(i, 0, (double[]){ 0.8, 0.9, 0.1, 0.2 }[i]);
    ck_assert_str_eq(decide(), "22pp");
    states[0].status = TRIAL_DIVERGED;
    ck_assert_str_eq(decide(), ".2pp");
}
END_TEST

/* Without an evaluation so far nothing can be said. */
START_TEST(test_unknown)
{
    begin(PRUNE_HALVING, 3, 1);
    pass(0, 0, (double)NAN);
    pass(1, 0, 0.4);
    pass(2, 0, 0.6);
    ck_assert_str_eq(decide(), "2p2");
}
END_TEST

START_TEST(test_arms)
{
    begin(PRUNE_HALVING, 4, 1);
    study.arms = 2;
    trials[2].arm = trials[3].arm = 1;
    pass(0, 0, 0.1);
    pass(1, 0, 0.2);
    pass(2, 0, 0.8);
    ck_assert_str_eq(decide(), "p2w1"); /* an arm does not wait for another */
    pass(3, 0, 0.9);
    ck_assert_str_eq(decide(), "p2p2");
}
END_TEST

START_TEST(test_none)
{
    begin(PRUNE_NONE, 3, 1);
    study.prune.rungs = 0;
    ck_assert_str_eq(decide(), "eee");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("prune");
    add_test(suite, test_waits);
    add_test(suite, test_halving);
    add_test(suite, test_ties);
    add_test(suite, test_median);
    add_test(suite, test_seeds);
    add_test(suite, test_ended);
    add_test(suite, test_lost_later);
    add_test(suite, test_unknown);
    add_test(suite, test_arms);
    add_test(suite, test_none);
    return run_suite(suite);
}
