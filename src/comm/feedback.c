/* Lanes whose gradients are compressed, and their error memories.
 *
 *   this host: lanes 0 1 2 3                other host: lanes 4 5 6 7
 *   gradient + error -> code, error         the same
 *   codes of 0-3  ----------------------->
 *                 <-----------------------  codes of 4-7
 *   sums of 0-3 (dense, as ever) + decoded 4, 5, 6, 7, block by block, along the lane tree
 *
 * The codes of all lanes lie in one window of the host; each lane of another host is received by
 * one of its ranks. A lane's code has a fixed length, so everybody knows what to wait for. */
#include "feedback.h"
#include "world.h"

#include "lockstep/kernels.h"
#include "lockstep/memory.h"

#include <string.h>

struct Feedback {
    Comm *comm, *host; /* borrowed, as are these three */
    const Lanes *lanes;
    const Layout *layout;
    const Compression *compression;
    size_t *places;    /* (tensors) where in a lane's code each begins, bytes */
    size_t code_bytes; /* of a lane */
    float *errors;     /* (own lanes, layout->n) */

    SharedMemory *shared; /* codes of all lanes, where host is not comm; or NULL */
    char *codes;          /* the same, or room for one lane */
};

bool compression_is_whole(const Compression *compression, const LayoutTensor *tensor)
{
    return tensor->flags & LAYOUT_STATISTIC || tensor->n < (size_t)compression->whole;
}

static size_t tensor_bytes(const Feedback *f, const LayoutTensor *tensor)
{
    if (tensor->flags & LAYOUT_FROZEN)
        return 0;
    if (compression_is_whole(f->compression, tensor))
        return tensor->n * sizeof(float);
    return f->compression->type->bytes(f->compression->options, tensor->n);
}

static void place_tensors(Feedback *f)
{
    f->places = mem_array(size_t, f->layout->count);
    for (int i = 0; i < f->layout->count; i++) {
        f->places[i] = f->code_bytes;
        f->code_bytes += (tensor_bytes(f, &f->layout->tensors[i]) + 15) / 16 * 16;
    }
}

static bool travels(const Feedback *f)
{
    return f->host != f->comm;
}

static size_t window_bytes(const Feedback *f)
{
    return f->code_bytes * (size_t)(travels(f) ? f->lanes->count : 1);
}

static void allocate_codes(Feedback *f)
{
    if (travels(f))
        f->shared = shared_alloc_one(f->host, window_bytes(f));
    if (travels(f) && !f->shared && comm_size(f->host) > 1)
        die(EXIT_USAGE, "no shared memory for the host's codes: set comm.memory=private");
    f->codes = f->shared ? shared_part(f->shared, 0) : mem_alloc(window_bytes(f));
}

Feedback *feedback_init(Comm *comm, Comm *host, const Lanes *lanes, const Layout *layout)
{
    Feedback *f = mem_new(Feedback);
    *f = (Feedback){ .comm = comm,
                     .host = host,
                     .lanes = lanes,
                     .layout = layout,
                     .compression = comm->compression };
    place_tensors(f);
    f->errors = mem_array(float, (size_t)(lanes->last - lanes->first) * layout->n);
    allocate_codes(f);
    if (travels(f))
        messages_reserve(comm, (size_t)lanes->count * (size_t)comm_hosts(comm) * 2);
    return f;
}

void feedback_free(Feedback *f)
{
    if (!f)
        return;
    if (!f->shared)
        mem_free(f->codes);
    shared_free(f->shared);
    mem_free(f->errors);
    mem_free(f->places);
    mem_free(f);
}

float *feedback_errors(const Feedback *f, int lane)
{
    bool mine = lane >= f->lanes->first && lane < f->lanes->last;
    return mine ? f->errors + (size_t)(lane - f->lanes->first) * f->layout->n : NULL;
}

static char *lane_code(const Feedback *f, int lane)
{
    return f->codes + (travels(f) ? (size_t)lane * f->code_bytes : 0);
}

static void encode_tensor(Feedback *f, int t, float *gradient, float *errors, char *code)
{
    const LayoutTensor *tensor = &f->layout->tensors[t];
    const Compression *c = f->compression;
    float *x = gradient + tensor->offset, *m = errors + tensor->offset;
    kernels()->add(m, m, x, tensor->padded);
    c->type->encode(c->options, tensor->n, m, code + f->places[t]);
    c->type->decode(c->options, tensor->n, code + f->places[t], 0, tensor->n, x);
}

void feedback_lane(Feedback *f, int lane, float *gradient, bool learns)
{
    char *code = lane_code(f, lane);
    for (int t = 0; t < f->layout->count; t++) {
        const LayoutTensor *tensor = &f->layout->tensors[t];
        float *x = gradient + tensor->offset;
        if (tensor->flags & LAYOUT_FROZEN)
            memset(x, 0, tensor->n * sizeof *x);
        else if (compression_is_whole(f->compression, tensor))
            memcpy(code + f->places[t], x, tensor->n * sizeof *x);
        else if (learns)
            encode_tensor(f, t, gradient, feedback_errors(f, lane), code);
    }
}

/* The rank of `host` that receives a lane of another host. */
static int receiver(const Feedback *f, int host, int lane)
{
    int size = 0, rank = 0;
    for (int r = 0; r < comm_size(f->comm); r++)
        size += comm_host_index(f->comm, r) == host;
    for (int index = lane % size; comm_host_index(f->comm, rank) != host || index-- > 0;)
        rank++;
    return rank;
}

static int owner(const Feedback *f, int lane)
{
    int rank = 0;
    while (lane >= lanes_first(f->lanes->count, rank + 1, f->lanes->ranks))
        rank++;
    return rank;
}

/* Lanes of one sender for one receiver are posted in the same order on both sides. */
void feedback_exchange(Feedback *f)
{
    int me = comm_rank(f->comm), host = comm_host_index(f->comm, me);
    if (!travels(f))
        return;
    for (int lane = 0; lane < f->lanes->count; lane++) {
        int from = owner(f, lane);
        if (comm_host_index(f->comm, from) != host && receiver(f, host, lane) == me)
            messages_receive(f->comm, lane_code(f, lane), f->code_bytes, from, TAG_LANE);
    }
    for (int k = 1; k < comm_hosts(f->comm); k++)
        for (int lane = f->lanes->first; lane < f->lanes->last; lane++)
            messages_send(f->comm, lane_code(f, lane), f->code_bytes,
                          receiver(f, (host + k) % comm_hosts(f->comm), lane), TAG_LANE);
    messages_finish(f->comm);
}

void feedback_decode(const Feedback *f, int lane, int t, size_t first, size_t n, float *y)
{
    const LayoutTensor *tensor = &f->layout->tensors[t];
    const Compression *c = f->compression;
    const char *code = lane_code(f, lane) + f->places[t];
    size_t end = first + n < tensor->n ? first + n : tensor->n;
    size_t values = end > first ? end - first : 0;
    if (tensor->flags & LAYOUT_FROZEN)
        values = 0;
    else if (compression_is_whole(c, tensor))
        memcpy(y, code + first * sizeof *y, values * sizeof *y);
    else
        c->type->decode(c->options, tensor->n, code, first, values, y);
    memset(y + values, 0, (n - values) * sizeof *y);
}

size_t feedback_bytes(const Feedback *f)
{
    size_t errors = (size_t)(f->lanes->last - f->lanes->first) * f->layout->n * sizeof(float);
    size_t ranks = travels(f) ? (size_t)comm_size(f->host) : 1;
    return errors + window_bytes(f) / ranks + (size_t)f->layout->count * sizeof *f->places;
}

double feedback_step_bytes(const Feedback *f)
{
    double codes = (double)(f->lanes->last - f->lanes->first) * (double)(comm_hosts(f->comm) - 1);
    return travels(f) ? codes * (double)f->code_bytes : 0;
}
