/* What this program is and how it was built. All strings are constants, never NULL. */
#ifndef LOCKSTEP_VERSION_H
#define LOCKSTEP_VERSION_H

const char *version_string(void); /* "0.1.0" */
const char *version_git(void); /* twelve digits of the commit, "+" after it if files had changed */
const char *version_compiler(void); /* "gcc 12.2.0" */
const char *version_flags(void);    /* optimisation flags, "-O3 -g" */

#endif
