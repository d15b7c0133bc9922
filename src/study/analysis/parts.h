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

#endif
