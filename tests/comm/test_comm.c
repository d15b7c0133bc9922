/* ranks: 1 2 3 5 8
 * Moving data between ranks and agreeing: what arrives, and what messages say. */
#include "support.h"

#include "../../src/comm/world.h"
#include "lockstep/clock.h"
#include "lockstep/log.h"
#include "lockstep/memory.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static Comm *comm;
static int rank, size;

START_TEST(test_who_and_where)
{
    assert_all(rank >= 0 && rank < size);
    assert_all(log_get_rank() == rank);
    assert_all(comm_hosts(comm) == 1);
    assert_all(strlen(comm_host(comm)) > 0);
    assert_all(strncmp(comm_library(), "Open MPI ", 9) == 0);
    assert_all(strchr(comm_library(), ',') == NULL);
}
END_TEST

START_TEST(test_clock)
{
    double before = clock_seconds();
    comm_barrier(comm);
    double after = clock_seconds();
    assert_all(after >= before && after - before < 60);
}
END_TEST

static unsigned char pattern(int root, size_t i)
{
    return (unsigned char)((size_t)root * 37 + i * 11 + i / 251);
}

static bool broadcast_works(size_t bytes, int root)
{
    unsigned char *data = mem_alloc(bytes + 1);
    for (size_t i = 0; i < bytes && rank == root; i++)
        data[i] = pattern(root, i);
    data[bytes] = 0xee;
    comm_broadcast(comm, data, bytes, root);
    bool good = data[bytes] == 0xee;
    for (size_t i = 0; i < bytes; i++)
        good &= data[i] == pattern(root, i);
    mem_free(data);
    return good;
}

/* Lengths around multiples of the limit; 8 stands for 2^30. */
START_TEST(test_broadcast)
{
    static const size_t lengths[] = { 0, 1, 7, 8, 9, 15, 16, 17, 64, 1000 };
    for (size_t limit = 8; limit <= (size_t)1 << 30; limit *= (size_t)1 << 27) {
        comm_set_message_bytes(comm, limit);
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
            for (int root = 0; root < size; root++)
                assert_all(broadcast_works(lengths[i], root));
    }
}
END_TEST

static bool text_arrives(const char *text, size_t bytes)
{
    char *data = rank == 0 ? mem_alloc(bytes + 1) : NULL;
    size_t length = rank == 0 ? bytes : 12345;
    if (rank == 0)
        memcpy(data, text, bytes);
    char *before = data;
    comm_broadcast_text(comm, &data, &length);
    bool good = length == bytes && memcmp(data, text, bytes) == 0 && data[bytes] == '\0';
    good &= rank != 0 || data == before;
    mem_free(data);
    return good;
}

START_TEST(test_broadcast_text)
{
    assert_all(text_arrives("", 0));
    assert_all(text_arrives("seed: 1\n", 8));
    assert_all(text_arrives("zero\0inside", 11));
}
END_TEST

/* Rank r owns sizes[(r + shift) % 6] elements. */
static bool allgather_works(const size_t sizes[6], int shift, size_t bytes)
{
    size_t bounds[64] = { 0 };
    for (int r = 0; r < size; r++)
        bounds[r + 1] = bounds[r] + sizes[(r + shift) % 6];
    size_t total = bounds[size] * bytes;
    unsigned char *array = mem_alloc(total + 1);
    memset(array, 0xee, total + 1);
    for (size_t i = bounds[rank] * bytes; i < bounds[rank + 1] * bytes; i++)
        array[i] = pattern(rank, i);
    comm_allgather(comm, array, bounds, bytes);
    bool good = array[total] == 0xee;
    for (int r = 0; r < size; r++)
        for (size_t i = bounds[r] * bytes; i < bounds[r + 1] * bytes; i++)
            good &= array[i] == pattern(r, i);
    mem_free(array);
    return good;
}

START_TEST(test_allgather)
{
    static const size_t uneven[6] = { 3, 0, 17, 1, 64, 0 };
    static const size_t nothing[6] = { 0 };
    static const size_t many[6] = { 40000, 1, 70000, 0, 5, 12345 };
    for (size_t limit = 8; limit <= (size_t)1 << 30; limit *= (size_t)1 << 27) {
        comm_set_message_bytes(comm, limit);
        for (int shift = 0; shift < 6; shift++) {
            assert_all(allgather_works(uneven, shift, 1));
            assert_all(allgather_works(uneven, shift, 12));
            assert_all(allgather_works(nothing, shift, 8));
        }
    }
    for (int shift = 0; shift < 6; shift++)
        assert_all(allgather_works(many, shift, 4));
}
END_TEST

/* Between our library and MPI: counts what this rank sends. */
static int sent_messages;

int MPI_Isend(const void *data, int count, MPI_Datatype type, int to, int tag, MPI_Comm world,
              MPI_Request *request)
{
    sent_messages++;
    return PMPI_Isend(data, count, type, to, tag, world, request);
}

/* In rounds of three messages, each a range or, around the end, two; a long array takes one message
 * to everybody. */
START_TEST(test_allgather_messages)
{
    static const size_t one[6] = { 1, 1, 1, 1, 1, 1 };
    sent_messages = 0;
    assert_all(allgather_works(one, 0, 8));
    assert_all(sent_messages <= size - 1);
    assert_all(size < 5 || size > 16 || sent_messages <= 3 + 2 * ((size - 1) / 4));
    sent_messages = 0;
    assert_all(allgather_works(one, 0, (size_t)1 << 19));
    assert_all(sent_messages == size - 1);
}
END_TEST

static bool gather_works(size_t bytes)
{
    unsigned char *mine = mem_alloc(bytes);
    unsigned char *all = rank == 0 ? mem_alloc((size_t)size * bytes) : NULL;
    for (size_t i = 0; i < bytes; i++)
        mine[i] = pattern(rank, i);
    comm_gather(comm, mine, all, bytes);
    bool good = true;
    for (int r = 0; r < size && rank == 0; r++)
        for (size_t i = 0; i < bytes; i++)
            good &= all[(size_t)r * bytes + i] == pattern(r, i);
    mem_free(mine);
    mem_free(all);
    return good;
}

START_TEST(test_gather)
{
    static const size_t lengths[] = { 0, 1, 8, 9, 24, 1000, 100000 };
    for (size_t limit = 8; limit <= (size_t)1 << 30; limit *= (size_t)1 << 27) {
        comm_set_message_bytes(comm, limit);
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
            assert_all(gather_works(lengths[i]));
    }
}
END_TEST

/* Ranks that leave a call early and enter the next one must not be heard in the wrong call. */
START_TEST(test_calls_in_a_row)
{
    static const size_t sizes[6] = { 5, 6, 7, 0, 9, 2 };
    bool good = true;
    for (int i = 0; i < 200; i++) {
        good &= allgather_works(sizes, i, 4);
        good &= gather_works((size_t)(i % 3));
    }
    assert_all(good);
}
END_TEST

START_TEST(test_any)
{
    assert_all(!comm_any(comm, false));
    assert_all(comm_any(comm, true));
    for (int who = 0; who < size; who++)
        assert_all(comm_any(comm, rank == who));
}
END_TEST

START_TEST(test_all_ok)
{
    Err err = { "untouched" };
    assert_all(comm_all_ok(comm, true, &err));
    assert_all(strcmp(err.text, "untouched") == 0);
    assert_all(comm_all_ok(comm, true, NULL));
    assert_all(!comm_all_ok(comm, false, NULL));
}
END_TEST

/* Everybody failed: rank 0's message as it is. */
START_TEST(test_all_failed)
{
    Err err;
    err_set(&err, "file %d: missing", rank);
    assert_all(!comm_all_ok(comm, false, &err));
    assert_all(strcmp(err.text, "file 0: missing") == 0);
}
END_TEST

/* Some failed: the lowest of them is named, also where all was well. */
START_TEST(test_lowest_failed)
{
    for (int lowest = 1; lowest < size; lowest++) {
        Err err;
        err_set(&err, "file %d: missing", rank);
        assert_all(!comm_all_ok(comm, rank < lowest, &err));
        char wanted[400];
        snprintf(wanted, sizeof wanted, "rank %d on %s: file %d: missing", lowest, comm_host(comm),
                 lowest);
        assert_all(strcmp(err.text, wanted) == 0);
    }
}
END_TEST

static bool difference_is(const char *mine, const char *root, const char *wanted)
{
    Err err = { "" };
    bool last = rank == size - 1;
    bool same = comm_same(comm, last && size > 1 ? mine : root, &err);
    if (size == 1 || !*wanted)
        return same && err.text[0] == '\0';
    char text[1000];
    snprintf(text, sizeof text, "rank %d on %s: %s (%s)", size - 1, comm_host(comm), wanted,
             comm_host(comm));
    if (strcmp(err.text, text) != 0 && last)
        fprintf(stderr, "got    %s\nwanted %s\n", err.text, text);
    return !same && strcmp(err.text, text) == 0;
}

START_TEST(test_same)
{
    assert_all(difference_is("isa: v4\nblas: Zen\n", "isa: v4\nblas: Zen\n", ""));
    assert_all(difference_is("", "", ""));
    assert_all(difference_is("isa: v3\nblas: Zen\n", "isa: v4\nblas: Zen\n",
                             "isa is 'v3', but 'v4' on rank 0"));
    assert_all(difference_is("isa: v4\nblas: Haswell", "isa: v4\nblas: Zen",
                             "blas is 'Haswell', but 'Zen' on rank 0"));
    assert_all(difference_is("isa: v4", "isa: v4x", "isa is 'v4', but 'v4x' on rank 0"));
    assert_all(
        difference_is("isa: v4\n", "isa: v4\nblas: Zen\n", "blas is missing, but 'Zen' on rank 0"));
    assert_all(
        difference_is("isa: v4\nblas: Zen\n", "isa: v4\n", "blas is 'Zen', but missing on rank 0"));
    assert_all(difference_is("blas: Zen\nisa: v4\n", "isa: v4\nblas: Zen\n", ""));
}
END_TEST

/* One piece for all: everybody writes a share and reads the next rank's. Behind every barrier the
 * next rank's number of rounds is there, and it is not a round ahead. Some ranks come late, so that
 * the others have to sleep. */
START_TEST(test_board_barrier)
{
    enum { ROUNDS = 400 };
    comm_reserve_board(comm, 64);
    SharedMemory *memory = shared_alloc_one(comm, (size_t)size * 64);
    for (int round = 1; memory && round <= ROUNDS; round++) {
        volatile int *rounds = shared_part(memory, 0);
        if (round % 100 == 99 && rank == round / 100 % size)
            usleep(20000);
        rounds[rank * 16] = round;
        comm_barrier(comm);
        bool there = rounds[(rank + 1) % size * 16] == round;
        comm_barrier(comm);
        if (round % 50 == 0 || !there)
            assert_all(there);
    }
    shared_free(memory);
    comm_reserve_board(comm, 0);
}
END_TEST

/* Arrays in a row, that fit the board or do not. */
START_TEST(test_board_allgather)
{
    static const size_t uneven[6] = { 3, 0, 17, 1, 64, 0 };
    static const size_t nothing[6] = { 0 };
    static const size_t many[6] = { 4000, 1, 7000, 0, 5, 1234 };
    comm_reserve_board(comm, 2000);
    for (int round = 0; round < 20; round++)
        for (int shift = 0; shift < 6; shift++) {
            assert_all(allgather_works(uneven, shift, 1));
            assert_all(allgather_works(nothing, shift, 8));
            assert_all(allgather_works(uneven, shift, 12));
            assert_all(allgather_works(many, shift, 1));
        }
    comm_set_share(comm, false);
    assert_all(allgather_works(uneven, 1, 4));
    comm_set_share(comm, true);
    comm_reserve_board(comm, 0);
    assert_all(allgather_works(uneven, 1, 4));
}
END_TEST

/* Each rank writes its piece, the next one reads it. */
START_TEST(test_shared_memory)
{
    int ranks = comm_size(comm), next = (rank + 1) % ranks;
    size_t floats = 1000 + 7 * (size_t)rank, others = 1000 + 7 * (size_t)next;
    SharedMemory *memory = shared_alloc(comm, floats * sizeof(float));
    assert_all((memory != NULL) == comm_shares(comm) && comm_shares(comm) == (ranks > 1));
    if (memory) {
        float *mine = shared_part(memory, rank);
        bool aligned = (uintptr_t)mine % 64 == 0, right = mine[0] == 0 && mine[floats - 1] == 0;
        for (size_t i = 0; i < floats; i++)
            mine[i] = (float)(rank * 10000 + (int)i);
        comm_barrier(comm);
        const float *theirs = shared_part(memory, next);
        for (size_t i = 0; i < others; i++)
            right = right && (int)theirs[i] == next * 10000 + (int)i;
        assert_all(aligned && right);
    }
    shared_free(memory);
    comm_set_share(comm, false);
    assert_all(shared_alloc(comm, 64) == NULL);
    comm_set_share(comm, true);
}
END_TEST

int main(int argc, char **argv)
{
    comm = comm_init(&argc, &argv);
    rank = comm_rank(comm);
    size = comm_size(comm);
    Suite *suite = suite_create("comm");
    add_test(suite, test_who_and_where);
    add_test(suite, test_clock);
    add_test(suite, test_broadcast);
    add_test(suite, test_broadcast_text);
    add_test(suite, test_allgather);
    add_test(suite, test_allgather_messages);
    add_test(suite, test_gather);
    add_test(suite, test_calls_in_a_row);
    add_test(suite, test_any);
    add_test(suite, test_all_ok);
    add_test(suite, test_all_failed);
    add_test(suite, test_lowest_failed);
    add_test(suite, test_same);
    add_test(suite, test_shared_memory);
    add_test(suite, test_board_barrier);
    add_test(suite, test_board_allgather);
    int result = run_suite(suite);
    comm_free(comm);
    return result | (mem_use().blocks != 0);
}
