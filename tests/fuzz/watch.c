/* watch.bin, what `lockstep doctor --postmortem` reads: pages that a killed run has left. The input
 * is what the first bytes of each of up to three pages hold. */
#include "fuzz.h"

#include "lockstep/memory.h"
#include "lockstep/trainer.h"

#include <string.h>

#define PAGE ((size_t)4096)

static FuzzFile file;

static void start(void)
{
    file = fuzz_file();
    fuzz_link(&file, "watch.bin");
}

static void run(const uint8_t *data, size_t bytes)
{
    size_t pages = fuzz_byte(&data, &bytes) % 4, odd = fuzz_byte(&data, &bytes);
    size_t share = pages ? bytes / pages : 0;
    uint8_t *text = mem_alloc(pages * PAGE + odd);
    Err err = { .text = "" };
    for (size_t i = 0; i < pages; i++)
        memcpy(text + i * PAGE, data + i * share, share < PAGE ? share : PAGE);
    fuzz_fill(&file, text, pages * PAGE + odd);
    mem_free(text);
    expect(fuzz_told(trainer_postmortem(fuzz_folder(), &err), &err));
}

const FuzzTarget fuzz_watch = { .name = "watch", .start = start, .run = run };
