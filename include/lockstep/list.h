/* `lockstep list`: what there is, from the registries and option tables. Printed by rank 0. */
#ifndef LOCKSTEP_LIST_H
#define LOCKSTEP_LIST_H

#include "lockstep/error.h"

#include <stdio.h>

/* family: layers, losses, optimizers, schedules, datasets, augmentations, initializers, config;
 * NULL: all of them. name: one member (or config section) with formula, source and options; NULL:
 * all members, a line each. `family` may also be a member's name. Error: unknown family or name. */
bool list_print(const char *family, const char *name, Err *err);

/* docs/options.md. */
void list_markdown(void);

/* The table of docs/optimizers.md: state, memory traffic and work of every optimizer. */
void list_optimizer_costs(void);

#endif
