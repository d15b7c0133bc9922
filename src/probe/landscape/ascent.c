/* The largest value of a function in a box around 0, by projected L-BFGS, after Byrd et al. 1995
 * (L-BFGS-B), which Keskar et al. 2017 use, but simpler: elements at a bound that the gradient
 * would push out of the box stand still, for the others the two-loop recursion (Nocedal 1980) gives
 * a direction, and the step along it is projected back into the box and made smaller until the
 * value has grown enough.
 *
 * Boxes are small, and in a small box a function is nearly linear: so the first step of all tries
 * the corner that the gradient points to. */
#include "lockstep/landscape.h"

#include "lockstep/memory.h"

#include <math.h>
#include <string.h>

enum { MEMORY = 5, TRIES = 8 };
#define SHORTER 0.25 /* from one try to the next */
#define ENOUGH 1e-4  /* share of the growth that the slope promises (Armijo 1966) */
#define CURVED 1e-9  /* pairs with less curvature than that are left out */

typedef struct Climb {
    const Objective *objective;
    const float *radius;
    int pairs;                          /* filled; the oldest first */
    float *step[MEMORY], *turn[MEMORY]; /* s = new z - old z, y = old g - new g */
    float *z, *g, *next, *next_g, *free, *direction;
    double f;
    Ascent *ascent;
} Climb;

static double dot(const Climb *c, const float *a, const float *b)
{
    return space_dot(c->objective->space, a, b);
}

/* free = g where z may still move that way, else 0. */
static void find_free(Climb *c)
{
    Slice slice = c->objective->space->slice;
    for (size_t i = slice.lo; i < slice.hi; i++) {
        bool stuck =
            (c->z[i] >= c->radius[i] && c->g[i] > 0) || (c->z[i] <= -c->radius[i] && c->g[i] < 0);
        c->free[i] = stuck ? 0 : c->g[i];
    }
}

/* direction = (minus the inverse Hessian) free, by the pairs. */
static void find_direction(Climb *c)
{
    const Space *space = c->objective->space;
    double along[MEMORY], curvature[MEMORY];
    space_copy(space, c->direction, c->free);
    for (int i = c->pairs - 1; i >= 0; i--) {
        curvature[i] = dot(c, c->step[i], c->turn[i]);
        along[i] = dot(c, c->step[i], c->direction) / curvature[i];
        space_add(space, c->direction, -along[i], c->turn[i]);
    }
    if (c->pairs > 0) {
        int last = c->pairs - 1;
        space_scale(space, c->direction, curvature[last] / dot(c, c->turn[last], c->turn[last]));
    }
    for (int i = 0; i < c->pairs; i++) {
        double back = dot(c, c->turn[i], c->direction) / curvature[i];
        space_add(space, c->direction, along[i] - back, c->step[i]);
    }
    for (size_t i = space->slice.lo; i < space->slice.hi; i++)
        c->direction[i] = c->free[i] != 0 ? c->direction[i] : 0;
}

/* next = z + t direction, back in the box; t infinite: to the corner. */
static void move(Climb *c, double t)
{
    Slice slice = c->objective->space->slice;
    for (size_t i = slice.lo; i < slice.hi; i++) {
        float radius = c->radius[i], d = c->direction[i];
        float to = isinf(t) ? (float)((d > 0) - (d < 0)) * radius + (d == 0 ? c->z[i] : 0)
                            : c->z[i] + (float)t * d;
        c->next[i] = to > radius ? radius : to < -radius ? -radius : to;
    }
}

/* The slope's promise: g . (next - z). */
static double promised(const Climb *c)
{
    return dot(c, c->g, c->next) - dot(c, c->g, c->z);
}

static void swap(float **a, float **b)
{
    float *kept = *a;
    *a = *b;
    *b = kept;
}

/* z and g become next; the step is remembered. */
static void accept(Climb *c, double f)
{
    const Space *space = c->objective->space;
    if (c->pairs == MEMORY) {
        for (int i = 0; i + 1 < MEMORY; i++) {
            swap(&c->step[i], &c->step[i + 1]);
            swap(&c->turn[i], &c->turn[i + 1]);
        }
        c->pairs--;
    }
    float *step = c->step[c->pairs], *turn = c->turn[c->pairs];
    space_copy(space, step, c->next);
    space_add(space, step, -1, c->z);
    space_copy(space, turn, c->g);
    space_add(space, turn, -1, c->next_g);
    double bend = dot(c, step, turn);
    if (bend > CURVED * sqrt(dot(c, step, step) * dot(c, turn, turn)))
        c->pairs++;
    swap(&c->z, &c->next);
    swap(&c->g, &c->next_g);
    c->f = f;
}

static bool search(Climb *c)
{
    double size = sqrt(dot(c, c->direction, c->direction));
    double box = sqrt(dot(c, c->radius, c->radius));
    bool fresh = c->pairs == 0;
    double t = fresh ? (double)INFINITY : 1;
    for (int try = 0; try < TRIES; try++) {
        move(c, t);
        double f = c->objective->value(c->objective->context, c->next, c->next_g);
        c->ascent->values++;
        double promise = promised(c);
        if (isfinite(f) && promise > 0 && f >= c->f + ENOUGH * promise) {
            accept(c, f);
            return true;
        }
        t = isinf(t) ? SHORTER * box / size : SHORTER * t;
    }
    return false;
}

/* False: there is nowhere to go. */
static bool climb_once(Climb *c)
{
    find_free(c);
    if (!(dot(c, c->free, c->free) > 0))
        return false;
    find_direction(c);
    if (!(dot(c, c->direction, c->free) > 0)) { /* the pairs mislead */
        c->pairs = 0;
        find_direction(c);
    }
    if (search(c))
        return true;
    bool again = c->pairs > 0; /* along the gradient itself */
    c->pairs = 0;
    return again;
}

static float **climb_vectors(Climb *c, int index)
{
    float **all[] = { &c->g, &c->next, &c->next_g, &c->free, &c->direction };
    int own = (int)(sizeof all / sizeof *all);
    if (index < own)
        return all[index];
    index -= own;
    if (index >= 2 * MEMORY)
        return NULL;
    return index % 2 ? &c->turn[index / 2] : &c->step[index / 2];
}

Ascent ascend(const Objective *objective, const float *radius, int iterations, float *z)
{
    Ascent ascent = { .values = 1 };
    Space *space = objective->space;
    float *mine = space_vector(space);
    Climb c = { .objective = objective, .radius = radius, .z = mine, .ascent = &ascent };
    for (int i = 0; climb_vectors(&c, i); i++)
        *climb_vectors(&c, i) = space_vector(space);
    c.f = objective->value(objective->context, c.z, c.g);
    ascent.start = c.f;
    while (ascent.iterations < iterations && climb_once(&c))
        ascent.iterations++;
    ascent.best = c.f;
    space_copy(space, z, c.z);
    mem_free(c.z);
    for (int i = 0; climb_vectors(&c, i); i++)
        mem_free(*climb_vectors(&c, i));
    return ascent;
}
