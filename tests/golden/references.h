/* Golden optimizer cases: from a reference and its hyper-parameters to our optimizer and its
 * options. */
#ifndef LOCKSTEP_TESTS_REFERENCES_H
#define LOCKSTEP_TESTS_REFERENCES_H

#include "golden.h"

/* Which tensors the reference decays and adapts. */
typedef enum Policy {
    POLICY_DECAYED,   /* adapts what it decays, or all if always_adapt */
    POLICY_ALL,       /* adapts all */
    POLICY_MATRICES,  /* decays and adapts tensors of two and more dimensions */
    POLICY_SKIP_LIST, /* decays and adapts all but names that contain an entry of skip_list */
    POLICY_NONE,      /* adapts none */
} Policy;

typedef struct Translation {
    Recipe recipe;
    double weight_decay;
    Policy policy;
    bool always_adapt;
} Translation;

typedef struct Reference {
    const char *name;       /* `reference` is or contains this */
    const char *repository; /* and reference_repo contains this; NULL: any */
    const char *type;       /* our optimizer */
    void (*translate)(Translation *t);
    double state_sign; /* of the momentum buffer relative to ours */
} Reference;

/* Of a case by its `reference` and `reference_repo`; NULL: not here. */
const Reference *reference_find(const json_t *json);

#endif
