/* Networks by name. Latency and overhead are typical of what MPI messages of a few bytes see
 * between two hosts under one or two switches, to the order of magnitude: nobody has measured them
 * for this, and `bench comm` tells those of a real network (docs/scaling.md). */
#include "lockstep/simulate.h"

#include "lockstep/text.h"

#include <math.h>
#include <string.h>

/* Ethernet is TCP through the kernel: a core carries about 2.5 GB/s, sent or received. InfiniBand
 * and RoCE cards read and write memory by themselves. */
const NetworkType network_types[] = {
    { "1gbit-ethernet", "1 Gbit/s Ethernet, TCP", 40, 10, 1, 2.5 },
    { "10gbit-ethernet", "10 Gbit/s Ethernet, TCP", 20, 5, 10, 2.5 },
    { "25gbit-ethernet", "25 Gbit/s Ethernet, TCP", 15, 5, 25, 2.5 },
    { "100gbit-ethernet", "100 Gbit/s Ethernet, TCP", 12, 5, 100, 2.5 },
    { "100gbit-roce", "100 Gbit/s Ethernet, RDMA (RoCE v2)", 3, 0.8, 100, 0 },
    { "100gbit-infiniband", "100 Gbit/s InfiniBand EDR", 1.5, 0.5, 100, 0 },
    { "200gbit-infiniband", "200 Gbit/s InfiniBand HDR", 1.3, 0.5, 200, 0 },
    { NULL, NULL, 0, 0, 0, 0 },
};

static void take_type(const NetworkType *type, Network *network)
{
    network->latency = 1e-6 * type->latency_us;
    network->overhead = 1e-6 * type->overhead_us;
    network->bytes_per_second = type->gbit / 8e-9;
    network->core_bytes_per_second = 1e9 * type->core_gb;
}

static bool read_name(const char *word, Network *network, Err *err)
{
    const char *names[32];
    size_t count = 0;
    for (; network_types[count].name; count++) {
        names[count] = network_types[count].name;
        if (strcmp(word, names[count]) != 0)
            continue;
        take_type(&network_types[count], network);
        return true;
    }
    const char *nearest = text_nearest(word, names, count);
    err_set(err, "network \"%s\": unknown%s%s%s (networks:", word,
            nearest ? "; did you mean \"" : "", nearest ? nearest : "", nearest ? "\"?" : "");
    for (size_t i = 0; i < count; i++)
        text_append(err->text, sizeof err->text, "%s %s", i > 0 ? "," : "", names[i]);
    text_append(err->text, sizeof err->text, "; or latency_us=5,gbit=100)");
    return false;
}

static bool read_value(const char *word, Network *network, Err *err)
{
    const struct {
        const char *key;
        double *value, unit;
    } keys[] = {
        { "latency_us", &network->latency, 1e-6 },
        { "overhead_us", &network->overhead, 1e-6 },
        { "gbit", &network->bytes_per_second, 1 / 8e-9 },
        { "memory_gb", &network->memory_bytes_per_second, 1e9 },
        { "core_gb", &network->core_bytes_per_second, 1e9 },
    };
    const char *equals = strchr(word, '=');
    size_t length = (size_t)(equals - word);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        double value;
        if (strlen(keys[i].key) != length || memcmp(word, keys[i].key, length) != 0)
            continue;
        if (!text_to_double(equals + 1, &value) || !isfinite(value) || value < 0)
            return err_set(err, "network: %s: a number of at least 0 is wanted", word);
        *keys[i].value = value * keys[i].unit;
        return true;
    }
    return err_set(err,
                   "network: %s: unknown; latency_us, overhead_us, gbit, memory_gb or core_gb "
                   "wanted",
                   word);
}

bool network_read(const char *text, Network *network, Err *err)
{
    for (int pass = 0; pass < 2; pass++) /* the name first, wherever it stands */
        for (const char *at = text; *at;) {
            char word[64] = "";
            size_t length = strcspn(at, ",");
            memcpy(word, at, length < sizeof word ? length : sizeof word - 1);
            bool value = strchr(word, '=') != NULL;
            if (value == (pass == 1) &&
                !(value ? read_value(word, network, err) : read_name(word, network, err)))
                return false;
            at += length + (at[length] == ',');
        }
    return true;
}
