/* TensorBoard event files, written by hand: a file of TFRecords, each a protobuf Event. The
 * encoding is that of tensorflow/core/lib/io/record_writer.cc and
 * tensorflow/core/util/event.proto. */
#include "run_parts.h"

#include "lockstep/memory.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BUFFER_SIZE 8192
#define TAG_MAX 256

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the file is little-endian");

struct TensorBoard {
    Output output;
    uint32_t crc_table[256];
    size_t used;     /* bytes of buffer */
    int64_t records; /* in buffer */
    unsigned char buffer[BUFFER_SIZE];
};

/* Protobuf messages grow in a fixed buffer; expect guards it. */
typedef struct Message {
    size_t used;
    unsigned char data[TAG_MAX + 128];
} Message;

enum WireType { WIRE_VARINT = 0, WIRE_DOUBLE = 1, WIRE_BYTES = 2, WIRE_FLOAT = 5 };

/* CRC-32C (Castagnoli), reflected polynomial 0x82f63b78. */
static void crc_table_init(uint32_t table[256])
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
        table[byte] = crc;
    }
}

/* TFRecord masks its checksums so that a checksum of data with checksums inside stays useful. */
static uint32_t masked_crc(const uint32_t table[256], const unsigned char *data, size_t bytes)
{
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < bytes; i++)
        crc = crc >> 8 ^ table[(crc ^ data[i]) & 0xff];
    crc = ~crc;
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

static void put_bytes(Message *message, const void *data, size_t bytes)
{
    expect(message->used + bytes <= sizeof message->data);
    memcpy(message->data + message->used, data, bytes);
    message->used += bytes;
}

static void put_varint(Message *message, uint64_t value)
{
    unsigned char bytes[10];
    size_t used = 0;
    while (value >= 0x80) {
        bytes[used++] = (unsigned char)(value | 0x80);
        value >>= 7;
    }
    bytes[used++] = (unsigned char)value;
    put_bytes(message, bytes, used);
}

static void put_field(Message *message, unsigned field, enum WireType type)
{
    put_varint(message, field << 3 | (unsigned)type);
}

static void put_block(Message *message, unsigned field, const void *data, size_t bytes)
{
    put_field(message, field, WIRE_BYTES);
    put_varint(message, bytes);
    put_bytes(message, data, bytes);
}

static void put_double(Message *message, unsigned field, double value)
{
    put_field(message, field, WIRE_DOUBLE);
    put_bytes(message, &value, sizeof value);
}

static void put_float(Message *message, unsigned field, float value)
{
    put_field(message, field, WIRE_FLOAT);
    put_bytes(message, &value, sizeof value);
}

static void append(TensorBoard *board, const void *data, size_t bytes)
{
    memcpy(board->buffer + board->used, data, bytes);
    board->used += bytes;
}

/* u64 length, masked CRC of the length, payload, masked CRC of the payload; all little-endian. */
static void put_record(TensorBoard *board, const Message *event)
{
    uint64_t length = event->used;
    unsigned char head[sizeof length];
    memcpy(head, &length, sizeof length);
    uint32_t head_crc = masked_crc(board->crc_table, head, sizeof head);
    uint32_t crc = masked_crc(board->crc_table, event->data, event->used);
    if (board->used + event->used + 16 > BUFFER_SIZE)
        tensorboard_flush(board);
    append(board, head, sizeof head);
    append(board, &head_crc, sizeof head_crc);
    append(board, event->data, event->used);
    append(board, &crc, sizeof crc);
    board->records++;
}

/* Event: wall_time = 1 (double), step = 2 (int64), file_version = 3 (string), summary = 5. */
static void put_version(TensorBoard *board, double wall_time)
{
    static const char version[] = "brain.Event:2";
    Message event = { 0 };
    put_double(&event, 1, wall_time);
    put_block(&event, 3, version, strlen(version));
    put_record(board, &event);
}

/* Summary: value = 1, repeated. Value: tag = 1 (string), simple_value = 2 (float). */
void tensorboard_scalar(TensorBoard *board, const char *tag, int64_t step, double wall_time,
                        double value)
{
    Message scalar = { 0 }, summary = { 0 }, event = { 0 };
    expect(strlen(tag) <= TAG_MAX);
    put_block(&scalar, 1, tag, strlen(tag));
    put_float(&scalar, 2, (float)value);
    put_block(&summary, 1, scalar.data, scalar.used);
    put_double(&event, 1, wall_time);
    put_field(&event, 2, WIRE_VARINT);
    put_varint(&event, (uint64_t)step);
    put_block(&event, 5, summary.data, summary.used);
    put_record(board, &event);
}

void tensorboard_flush(TensorBoard *board)
{
    if (board->used > 0)
        output_write(&board->output, board->buffer, board->used, board->records);
    board->used = 0;
    board->records = 0;
}

/* Event: session_log = 7. SessionLog: status = 1 (enum), START = 1. */
void tensorboard_restart(TensorBoard *board, int64_t step)
{
    static const char start[] = { 1 << 3 | WIRE_VARINT, 1 };
    Message event = { 0 };
    put_double(&event, 1, (double)time(NULL));
    put_field(&event, 2, WIRE_VARINT);
    put_varint(&event, (uint64_t)step);
    put_block(&event, 7, start, sizeof start);
    put_record(board, &event);
    tensorboard_flush(board);
}

/* Readers take files in the order of their names; a run that is resumed within a second has one
 * already. */
static time_t free_second(const char *folder, const char *host, char *name, size_t size)
{
    for (time_t now = time(NULL);; now++) {
        snprintf(name, size, "events.out.tfevents.%lld.%s", (long long)now, host);
        char *path = path_join(folder, name);
        bool taken = access(path, F_OK) == 0;
        mem_free(path);
        if (!taken)
            return now;
    }
}

TensorBoard *tensorboard_open(const char *folder, Err *err)
{
    char name[384], host[256] = "";
    if (gethostname(host, sizeof host - 1) != 0 || host[0] == '\0')
        strcpy(host, "localhost");
    time_t now = free_second(folder, host, name, sizeof name);
    TensorBoard *board = mem_new(TensorBoard);
    if (!output_open(&board->output, folder, name, err)) {
        mem_free(board);
        return NULL;
    }
    crc_table_init(board->crc_table);
    put_version(board, (double)now);
    tensorboard_flush(board);
    return board;
}

bool tensorboard_close(TensorBoard *board, Err *err)
{
    if (!board)
        return true;
    tensorboard_flush(board);
    bool ok = output_close(&board->output, err);
    mem_free(board);
    return ok;
}
