/* Lanes whose gradients are compressed, and their error memories (compress.h): what the reducer
 * asks for. feedback.c. */
#ifndef LOCKSTEP_COMM_FEEDBACK_H
#define LOCKSTEP_COMM_FEEDBACK_H

#include "lockstep/compress.h"
#include "lockstep/lanes.h"

typedef struct Feedback Feedback;

/* `host`: the ranks of this host, or comm itself where sums, not lanes, travel between ranks.
 * comm's compression is in use. Borrows everything. Collective. */
Feedback *feedback_init(Comm *comm, Comm *host, const Lanes *lanes, const Layout *layout);
void feedback_free(Feedback *feedback); /* NULL is fine */

/* Encodes the gradient of one of this rank's lanes; `gradient` becomes what is sent. Unless it
 * `learns`, only what travels whole is encoded, the rest means nothing, and errors stay. */
void feedback_lane(Feedback *feedback, int lane, float *gradient, bool learns);

/* Every lane of another host, encoded, to this host. Nothing where host is comm. Collective. */
void feedback_exchange(Feedback *feedback);

/* Floats [first, first + n) of a tensor, as the lane of another host has sent them; padding may be
 * among them. */
void feedback_decode(const Feedback *feedback, int lane, int tensor, size_t first, size_t n,
                     float *y);

/* (layout->n) of one of this rank's lanes; NULL: another rank's. */
float *feedback_errors(const Feedback *feedback, int lane);

size_t feedback_bytes(const Feedback *feedback);      /* memory of this rank */
double feedback_step_bytes(const Feedback *feedback); /* sent to other hosts in a step */

/* Does a tensor travel as it is? Frozen ones do not travel. */
bool compression_is_whole(const Compression *compression, const LayoutTensor *tensor);

#endif
