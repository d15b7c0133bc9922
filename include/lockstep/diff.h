/* `lockstep diff RUN_A RUN_B`: where two runs part. */
#ifndef LOCKSTEP_DIFF_H
#define LOCKSTEP_DIFF_H

enum DiffResult { DIFF_SAME = 0, DIFF_DIFFERENT = 1 };

/* Compares the run folders a and b record by record: the first step or evaluation whose loss,
 * accuracy, learning rate, gradient norm, clip factor, parameters or trajectory differ in any bit,
 * both values with all digits, then the final digests, and the settings that differ as context.
 * Times and speeds are not compared. The report goes to stdout.
 *
 * Returns the program's exit code: DIFF_SAME, DIFF_DIFFERENT, or EXIT_CHECKPOINT if a folder cannot
 * be read (one message on stderr). Not collective; rank 0 alone prints. */
int diff_runs(const char *a, const char *b);

#endif
