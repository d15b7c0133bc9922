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

/* What references of different families have in common: lr, weight_decay, clipping, wrappers; and
 * momentum; and betas with eps; `count` numbers of an array under our names. */
void take_common(Translation *translation);
void take_momentum(Translation *translation);
void take_betas(Translation *translation);
void take_numbers(Translation *translation, const char *key, const char *const *names,
                  size_t count);

/* More references, in references_whole.c: those that are more than element-wise. Ends with a NULL
 * name. */
extern const Reference references_whole[];

/* A case that comes with an objective instead of gradients. */
Verdict golden_closure(Case *c);

/* Of a case by its `reference` and `reference_repo`; NULL: not here. */
const Reference *reference_find(const json_t *json);

#endif
