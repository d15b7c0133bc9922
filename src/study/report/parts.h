/* The parts of `lockstep report`, one file each. Private to src/study/report. */
#ifndef LOCKSTEP_STUDY_REPORT_PARTS_H
#define LOCKSTEP_STUDY_REPORT_PARTS_H

#include "page.h"
#include "picture.h"
#include "run_data.h"

#include "lockstep/answer.h"
#include "lockstep/report.h"

/* ---- sources.c: what the command line names ---- */

/* Runs, or one study. */
typedef struct Source {
    RunData *runs;
    size_t run_count, run_capacity;
    Answer *study;    /* NULL: runs */
    char *study_path; /* as given */
} Source;

/* Each path is a run folder, a study folder, a table (.csv) or a folder of runs. A study comes
 * alone. source_free in any case. */
bool source_read(Source *source, const char *const *paths, int count, Err *err);
void source_free(Source *source);

/* ---- run_pictures.c, run_page.c ---- */

void run_pictures(Album *album, const RunData *runs, size_t count);
void run_verdict(Page *text, const RunData *runs, size_t count);  /* plain text */
void run_warnings(Page *page, const RunData *runs, size_t count); /* <li> elements */
void run_tables(Page *page, const RunData *runs, size_t count);
void run_details(Page *page, const RunData *runs, size_t count);
void run_csv(Page *csv, const RunData *runs, size_t count);

/* ---- lines of runs: run_pictures.c, run_probes.c ---- */

/* A curve of a picture: column `y` of a frame's records against column `x`. */
typedef struct Line {
    const Frame *frame;
    const char *y;
    double scale; /* of y */
    Mark mark;
    int color;
    const char *key;
    bool apart; /* of a run that diverged: the picture's range is that of the others */
} Line;

typedef struct Scene {
    const RunData *runs;
    size_t count;
    const char *x;  /* "step", or "epoch" if the batches differ */
    double x_scale; /* 1, or 0.001: thousands */
    const char *x_label;
} Scene;

/* SCALE_ZERO: from 0 on, and the first records, which were just starting, may stick out;
 * SCALE_LOG: logarithmic if the values ask for it. */
typedef enum Scale { SCALE_PLAIN, SCALE_ZERO, SCALE_LOG } Scale;

/* Nothing at all if no line has a point, or all are 0. */
void draw_lines(Album *album, const Scene *scene, const char *title, const char *y_label,
                Scale scale, const Line *lines, size_t count);

bool diverged(const RunData *run);
void draw_probes(Album *album, const Scene *scene);
void draw_tensors(Album *album, const Scene *scene); /* run_tensors.c */

/* ---- study_pictures.c ---- */

typedef struct Range {
    double low, high;
} Range;
extern const Range nothing;
void include(Range *range, double value); /* widens it, if the value is finite */

Range batch_range(const Analysis *analysis);
void batch_axis(Picture *picture, const Analysis *analysis); /* x, with the batches tried */
int curve_color(const Analysis *analysis, const Curve *curve);

/* The curve's name in its colour; the only curve, which has none, goes by `otherwise`. */
void curve_key(Picture *picture, const Analysis *analysis, const Curve *curve, Mark mark,
               const char *otherwise);

void lr_picture(Album *album, const Analysis *analysis);     /* study_rates.c */
void trial_pictures(Album *album, const Analysis *analysis); /* study_trials.c */

/* ---- study_page.c, study_files.c ---- */

void study_pictures(Album *album, const Answer *study);
void study_tables(Page *page, const Answer *study);
void study_details(Page *page, const Answer *study, const char *path);
void study_claims(Page *page, const Answer *study); /* expectations.c */
void study_csv(Page *csv, const Answer *study);

/* ---- against.c: did a change slow convergence? ---- */

/* What two sources have in common, tested arm by arm (runs are one arm). */
typedef struct Contrast {
    char *arm;            /* "" for runs */
    char *measure;        /* "steps to accuracy 0.9", "test loss", ... */
    TwoSamples test;      /* a: the reference, b: the new one */
    int a_never, b_never; /* trials without a value: they are left out of the test */
} Contrast;

typedef struct Contrasts {
    Contrast *list;
    size_t count, capacity;
} Contrasts;

/* target: what runs are to reach, NULL: their final values are compared. */
bool contrasts_make(Contrasts *contrasts, const Source *fresh, const Source *reference,
                    const ReportTarget *target, Err *err);
void contrasts_free(Contrasts *contrasts);
bool contrasts_slower(const Contrasts *contrasts);                        /* any of them */
char *contrast_text(const Contrast *contrast, char *buffer, size_t size); /* a sentence */
void contrasts_put(const Contrasts *contrasts, Page *page);

#endif
