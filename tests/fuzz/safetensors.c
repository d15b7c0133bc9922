/* Safetensors files: as checkpoints, as weights for a layout, and imported from other programs. The
 * input is a file, or with the flag only its header, and a length for the data behind it. */
#include "fuzz.h"

#include "../../src/train/checkpoint_parts.h"
#include "lockstep/memory.h"
#include "lockstep/weights.h"

#include <stdio.h>
#include <string.h>

enum { HEADER_ONLY = 1, IMPORT = 2 };

static FuzzFile file;
static Layout layout;
static float *arena;
static char imported[FUZZ_PATH + 16];

static void start(void)
{
    file = fuzz_file();
    layout_add(&layout, "a.weight", 2, (int[]){ 2, 3 }, LAYOUT_DECAY);
    layout_add(&layout, "a.bias", 1, (int[]){ 2 }, 0);
    layout_add(&layout, "b", 1, (int[]){ 1 }, LAYOUT_STATISTIC);
    layout_seal(&layout);
    arena = mem_array(float, layout.n);
    snprintf(imported, sizeof imported, "%s/imported", fuzz_folder());
}

static void fill_behind_header(const uint8_t *header, size_t bytes, size_t data)
{
    uint64_t length = bytes;
    char *whole = mem_alloc(sizeof length + bytes + data);
    memcpy(whole, &length, sizeof length);
    if (bytes > 0)
        memcpy(whole + sizeof length, header, bytes);
    fuzz_fill(&file, whole, sizeof length + bytes + data);
    mem_free(whole);
}

static void read_all(const TensorFile *tensors)
{
    Err err = { .text = "" };
    uint64_t digest;
    for (size_t i = 0; i < tensors->count; i++) {
        const TensorEntry *entry = &tensors->entries[i];
        expect(tensor_file_find(tensors, entry->name) == entry);
        expect(tensor_file_digest(tensors, entry, &digest, &err));
    }
}

/* What was imported is a file of the same tensors. */
static void import(size_t count)
{
    const char *words[] = { "import", file.path };
    const CkptRequest request = { .words = words, .count = 2, .out = imported, .force = true };
    TensorFile tensors;
    Err err = { .text = "" };
    if (!fuzz_told(ckpt_command(&request, &err) == EXIT_OK, &err))
        return;
    expect(tensor_file_open(&tensors, imported, &err));
    expect(tensors.count == count);
    tensor_file_close(&tensors);
}

static void run(const uint8_t *data, size_t bytes)
{
    uint8_t flags = fuzz_byte(&data, &bytes);
    size_t behind = fuzz_byte(&data, &bytes);
    TensorFile tensors;
    Err err = { .text = "" };
    if (flags & HEADER_ONLY)
        fill_behind_header(data, bytes, behind);
    else
        fuzz_fill(&file, data, bytes);
    if (fuzz_told(tensor_file_open(&tensors, file.path, &err), &err)) {
        size_t count = tensors.count;
        read_all(&tensors);
        tensor_file_close(&tensors);
        if (flags & IMPORT)
            import(count);
    }
    fuzz_told(weights_read(file.path, &layout, arena, NULL, &err), &err);
}

const FuzzTarget fuzz_safetensors = { .name = "safetensors", .start = start, .run = run };
