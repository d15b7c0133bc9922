/* The families of the registries seen alike, for `lockstep list`, the option reference and
 * LOCKSTEP_* names. */
#ifndef LOCKSTEP_FAMILIES_H
#define LOCKSTEP_FAMILIES_H

#include "lockstep/config.h"

typedef struct Member {
    const char *name, *help, *formula, *source; /* the last two may be NULL */
    const Option *options;                      /* may be NULL */
} Member;

typedef struct Family {
    const char *name; /* "optimizers" */
    const char *singular;
    const char *section;  /* the config section whose `type` names a member; NULL: inside lists */
    const char *help;     /* how a config names a member */
    const Option *common; /* options that all members share, or NULL */
    int (*count)(void);
    Member (*member)(int index);
} Family;

extern const Family families[]; /* ends with a NULL name */

#endif
