/* Normalisation: x = (value - mean) / std, a mean and a standard deviation per channel. A byte
 * stands for byte / 255. */
#include "lockstep/memory.h"
#include "parts.h"

#include <math.h>

__extension__ typedef unsigned __int128 Wide;

typedef struct Sums {
    uint64_t sum, squares;
} Sums;

/* At most 65,536 bytes, so that 32 bits hold the squares (65,536 * 255^2 < 2^32) and the loop
 * vectorises. */
static void add_piece(const uint8_t *x, size_t n, Sums *sums)
{
    uint32_t sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t value = x[i];
        sum += value;
        squares += value * value;
    }
    sums->sum += sum;
    sums->squares += squares;
}

static void add_bytes(const uint8_t *x, size_t n, Sums *sums)
{
    for (size_t at = 0; at < n; at += 65536)
        add_piece(x + at, n - at < 65536 ? n - at : 65536, sums);
}

/* var = (n Q - S^2) / n^2 with S and Q the sums of bytes and of their squares: exact up to the
 * division. */
static void measure_channel(const Sums *sums, uint64_t n, float *mean, float *std)
{
    Wide spread = (Wide)n * sums->squares - (Wide)sums->sum * sums->sum;
    *mean = (float)((double)sums->sum / (255.0 * (double)n));
    *std = (float)(sqrt((double)spread) / (255.0 * (double)n));
}

static void measure_bytes(Loader *loader)
{
    const Dataset *set = &loader->train;
    size_t count = (size_t)set->count, plane = loader->sample_size / (size_t)loader->channels;
    for (size_t c = 0; c < (size_t)loader->channels; c++) {
        Sums sums = { 0, 0 };
        for (size_t i = 0; i < count; i++)
            add_bytes(set->bytes + i * loader->sample_size + c * plane, plane, &sums);
        measure_channel(&sums, count * plane, &loader->mean[c], &loader->std[c]);
    }
}

static void measure_values(Loader *loader)
{
    const float *x = loader->train.values;
    size_t n = (size_t)loader->train.count * loader->sample_size;
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i];
    double mean = sum / (double)n;
    for (size_t i = 0; i < n; i++)
        squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    loader->mean[0] = (float)mean;
    loader->std[0] = (float)sqrt(squares / (double)n);
}

void normalize_measure(Loader *loader)
{
    if (loader->train.bytes)
        measure_bytes(loader);
    else
        measure_values(loader);
    for (int c = 0; c < loader->channels; c++)
        if (!(loader->std[c] > 0)) /* a constant channel becomes 0 */
            loader->std[c] = 1;
}

static void fill_table(Loader *loader)
{
    loader->table = mem_array(float, (size_t)loader->channels * 256);
    for (int c = 0; c < loader->channels; c++)
        for (int byte = 0; byte < 256; byte++) {
            double value = (byte / 255.0 - (double)loader->mean[c]) / (double)loader->std[c];
            loader->table[c * 256 + byte] = (float)value;
        }
}

static void change_values(const Loader *loader, Dataset *set)
{
    size_t n = (size_t)set->count * loader->sample_size;
    for (size_t i = 0; i < n; i++) {
        double value = ((double)set->values[i] - (double)loader->mean[0]) / (double)loader->std[0];
        set->values[i] = (float)value;
    }
}

void normalize_prepare(Loader *loader)
{
    if (loader->train.bytes) {
        fill_table(loader);
    } else if (loader->normalize) {
        change_values(loader, &loader->train);
        change_values(loader, &loader->test);
    }
}
