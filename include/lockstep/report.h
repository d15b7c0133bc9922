/* `lockstep report`: one HTML page about runs or about a study, that needs nothing else. */
#ifndef LOCKSTEP_REPORT_H
#define LOCKSTEP_REPORT_H

#include "lockstep/error.h"

#include <stdbool.h>

/* What runs are to reach. */
typedef struct ReportTarget {
    bool set, accuracy; /* accuracy: at least; else a test loss: at most */
    double value;
} ReportTarget;

/* "accuracy=0.9" or "loss=0.35". */
bool report_target(const char *text, ReportTarget *target, Err *err);

typedef struct ReportRequest {
    const char *const *paths; /* runs, folders of runs, or one study */
    int count;
    const char *const *against; /* the reference to compare with, the same way */
    int against_count;
    const char *out;      /* the page; NULL: report.html in the first path's folder */
    const char *pictures; /* folder for the pictures as files, or NULL */
    ReportTarget target;  /* of runs */
} ReportRequest;

/* Writes the page and a table beside it (.csv instead of .html), each whole or not at all, and
 * prints the verdict. The same input gives the same bytes. Without gnuplot the page has no
 * pictures, and a warning says so. *slower: something has become slower than in the reference. Not
 * collective: for rank 0. */
bool report_write(const ReportRequest *request, bool *slower, Err *err);

#endif
