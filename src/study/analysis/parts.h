/* The steps of analysis_make, one file each. Private to src/study/analysis. */
#ifndef LOCKSTEP_STUDY_ANALYSIS_PARTS_H
#define LOCKSTEP_STUDY_ANALYSIS_PARTS_H

#include "lockstep/analysis.h"

/* ---- arms.c ---- */

/* Groups the trials into curves, arms and settings, and finds each arm's best. */
void arms_make(Analysis *analysis);

/* ---- curves.c ---- */

/* Fits and their intervals for each curve. */
void curves_fit(Analysis *analysis);

/* ---- warnings.c ---- */

void warnings_find(Analysis *analysis);

/* ---- names.c ---- */

/* "12,345", "0.0123", "never": three or four digits, for people; into buffer; returns buffer. */
#define SHORT_SIZE 32
char *short_text(char buffer[SHORT_SIZE], double value);

/* "812 steps", "accuracy 0.912", "loss 0.31", "never": a score as people read it. */
char *score_text(const Analysis *analysis, char buffer[SHORT_SIZE], double score);

#endif
