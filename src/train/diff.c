/* `lockstep diff`: two runs side by side. Runs that promise the same bits either keep the promise,
 * or the first step where they part, and the first quantity in it, says where to look. */
#include "lockstep/diff.h"

#include "diff_parts.h"
#include "run_parts.h"

#include "lockstep/log.h"
#include "lockstep/memory.h"

#include <stdio.h>
#include <string.h>

#define SUMMARY_MAX ((size_t)1 << 20) /* bytes */

typedef struct Side {
    const char *letter, *folder;
    Records records;
    json_t *summary; /* NULL: the run has not ended */
    int64_t alone;   /* records that the other run has not logged */
} Side;

typedef struct Diff {
    Side a, b;
    int64_t steps, evals, differing; /* records in both; how many of them differ */
    int64_t step_before;             /* last compared step record before the first difference */
} Diff;

static bool read_summary(Side *side, Err *err)
{
    char *text, *path = path_join(side->folder, "summary.json");
    size_t bytes;
    json_error_t where;
    FILE *there = fopen(path, "re");
    bool ok = !there || file_text(path, SUMMARY_MAX, &text, &bytes, err);
    if (there)
        fclose(there);
    if (there && ok) {
        side->summary = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &where);
        mem_free(text);
        if (!side->summary)
            ok = err_set(err, "%s:%d: not JSON: %s", path, where.line, where.text);
        else if (!json_is_object(side->summary))
            ok = err_set(err, "%s: not a JSON object", path);
    }
    mem_free(path);
    return ok;
}

/* ---- records ---- */

/* Where the first quantity that differs points to; only right if no step in between is missing from
 * the files. */
static void print_hint(const Diff *diff, const json_t *a, const json_t *b)
{
    int64_t step = diff->a.records.step;
    if (diff->a.records.eval)
        return;
    if (diff->step_before != step - 1)
        log_out("  step %lld is the last one before it that both have logged",
                (long long)diff->step_before);
    else if (!records_same(a, b, "loss"))
        log_out(
            "  the parameters before this step were %s: look at the samples, the forward pass and "
            "the loss",
            step == 1 ? "the initial ones" : "the same");
    else if (!records_same(a, b, "grad_norm"))
        log_out("  the losses are the same: look at the backward pass and the reduction");
    else if (!records_same(a, b, "clip") || !records_same(a, b, "lr"))
        log_out("  the gradient norms are the same: look at the schedule and the clipping");
    else if (!records_same(a, b, "digest"))
        log_out("  loss, gradient norm and learning rate are the same: look at the optimizer");
}

static void compare_records(Diff *diff)
{
    const json_t *a = diff->a.records.record, *b = diff->b.records.record;
    bool eval = diff->a.records.eval;
    *(eval ? &diff->evals : &diff->steps) += 1;
    if (records_compare(a, b, false) > 0) {
        if (diff->differing++ == 0) {
            log_out("first difference: %s step %lld", eval ? "evaluation after" : "in",
                    (long long)diff->a.records.step);
            records_compare(a, b, true);
            print_hint(diff, a, b);
        }
    }
    if (!eval && diff->differing == 0)
        diff->step_before = diff->a.records.step;
}

/* Negative: a's record comes first; an evaluation comes after the step that it follows. */
static int order(const Records *a, const Records *b)
{
    if (!a->record || !b->record)
        return a->record ? -1 : 1;
    if (a->step != b->step)
        return a->step < b->step ? -1 : 1;
    return (int)a->eval - (int)b->eval;
}

static bool merge_records(Diff *diff, Err *err)
{
    Records *a = &diff->a.records, *b = &diff->b.records;
    if (!records_next(a, err) || !records_next(b, err))
        return false;
    while (a->record || b->record) {
        int first = order(a, b);
        if (first == 0)
            compare_records(diff);
        diff->a.alone += first < 0;
        diff->b.alone += first > 0;
        if ((first <= 0 && !records_next(a, err)) || (first >= 0 && !records_next(b, err)))
            return false;
    }
    return true;
}

static void print_counts(const Diff *diff)
{
    const Side *longer = &diff->a, *shorter = &diff->b;
    if (longer->records.last_step < shorter->records.last_step) {
        longer = &diff->b;
        shorter = &diff->a;
    }
    log_out("records in both runs: %lld steps and %lld evaluations, %lld of them differ",
            (long long)diff->steps, (long long)diff->evals, (long long)diff->differing);
    if (diff->a.alone > 0 || diff->b.alone > 0)
        log_out("records in one run only: %lld in A, %lld in B", (long long)diff->a.alone,
                (long long)diff->b.alone);
    if (longer->records.last_step != shorter->records.last_step)
        log_out("%s is longer: it ends at step %lld, %s at step %lld", longer->letter,
                (long long)longer->records.last_step, shorter->letter,
                (long long)shorter->records.last_step);
}

/* ---- summaries ---- */

static bool compare_key(const Diff *diff, const char *key)
{
    const json_t *a = json_object_get(diff->a.summary, key);
    const json_t *b = json_object_get(diff->b.summary, key);
    char text_a[VALUE_SIZE], text_b[VALUE_SIZE];
    if (records_same(diff->a.summary, diff->b.summary, key))
        return true;
    log_out("summary: %-12s A %-24s B %s", key, value_text(text_a, a), value_text(text_b, b));
    return false;
}

static void print_unfinished(const Side *side)
{
    if (!side->summary)
        log_out("summary: none in %s, which has not ended in order", side->letter);
}

static bool compare_summaries(const Diff *diff)
{
    static const char *const results[] = { "status",        "steps",  "test_loss",
                                           "test_accuracy", "digest", "trajectory" };
    static const char *const context[] = { "global_batch", "lanes",     "ranks",
                                           "optimizer",    "reduction", "seed" };
    char digest[VALUE_SIZE], trajectory[VALUE_SIZE];
    bool same = true;
    print_unfinished(&diff->a);
    print_unfinished(&diff->b);
    if (!diff->a.summary || !diff->b.summary)
        return true;
    for (size_t i = 0; i < sizeof results / sizeof *results; i++)
        same = compare_key(diff, results[i]) && same;
    if (same)
        log_out("summary: the same results, digest %s, trajectory %s",
                value_text(digest, json_object_get(diff->a.summary, "digest")),
                value_text(trajectory, json_object_get(diff->a.summary, "trajectory")));
    for (size_t i = 0; i < sizeof context / sizeof *context; i++)
        compare_key(diff, context[i]);
    return same;
}

/* Sums in the order of their arrival promise nothing. */
static void print_promise(const Diff *diff)
{
    const char *a = json_string_value(json_object_get(diff->a.summary, "reduction"));
    const char *b = json_string_value(json_object_get(diff->b.summary, "reduction"));
    bool fast = (a && strcmp(a, "fast") == 0) || (b && strcmp(b, "fast") == 0);
    if (fast)
        log_out("train.reduce=fast: these sums depend on the number of ranks and on the MPI "
                "library; equal bits are not promised, and different ones prove nothing");
}

/* ---- both ---- */

static bool diff_open(Diff *diff, Err *err)
{
    return records_open(&diff->a.records, diff->a.folder, err) &&
           records_open(&diff->b.records, diff->b.folder, err) && read_summary(&diff->a, err) &&
           read_summary(&diff->b, err);
}

static bool compare(Diff *diff, bool *same, Err *err)
{
    if (!diff_open(diff, err))
        return false;
    log_out("A %s", diff->a.folder);
    log_out("B %s", diff->b.folder);
    if (!merge_records(diff, err))
        return false;
    print_counts(diff);
    bool same_summaries = compare_summaries(diff);
    settings_diff(diff->a.folder, diff->b.folder);
    print_promise(diff);
    *same = diff->steps > 0 && diff->differing == 0 && same_summaries &&
            diff->a.records.last_step == diff->b.records.last_step;
    log_out("%s", *same              ? "the runs are the same, bit for bit"
                  : diff->steps == 0 ? "no step is recorded in both runs"
                                     : "the runs differ");
    return true;
}

int diff_runs(const char *a, const char *b)
{
    Diff diff = { .a = { .letter = "A", .folder = a }, .b = { .letter = "B", .folder = b } };
    Err err;
    bool same = false;
    bool ok = compare(&diff, &same, &err);
    if (!ok && log_get_rank() == 0) {
        fflush(stdout);
        fprintf(stderr, "lockstep: %s\n", err.text);
    }
    records_close(&diff.a.records);
    records_close(&diff.b.records);
    json_decref(diff.a.summary);
    json_decref(diff.b.summary);
    return !ok ? EXIT_CHECKPOINT : same ? DIFF_SAME : DIFF_DIFFERENT;
}
