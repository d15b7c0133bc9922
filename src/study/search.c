/* Searches: points of a grid or of a low-discrepancy sequence in ranges of values. All arms get the
 * same points of the unit cube, so each has the same tuning budget whatever its ranges are. */
#include "study_parts.h"

#include "lockstep/memory.h"

#include <math.h>
#include <string.h>

enum { SEARCH_GRID, SEARCH_HALTON, SEARCH_SOBOL };
enum { SCALE_LINEAR, SCALE_LOG, SCALE_COMPLEMENT, SCALE_INTEGER };

typedef struct SearchOptions {
    int type;
    int64_t trials;
    ConfigNode *ranges;
} SearchOptions;

static const Option search_options[] = {
    { "type", OPTION_CHOICE, OPTION_AT(SearchOptions, type), 0, 0, "grid|halton|sobol", "halton",
      "how points are chosen" },
    { "trials", OPTION_INT, OPTION_AT(SearchOptions, trials), 1, STUDY_MAX_TRIALS, NULL, "",
      "points of a sequence" },
    { "ranges", OPTION_NODE, OPTION_AT(SearchOptions, ranges), 0, 0, NULL, NULL,
      "{from, to, scale} of each key" },
    OPTION_END,
};

typedef struct Range {
    double from, to;
    int scale;
    int64_t points;
} Range;

static const Option range_options[] = {
    { "from", OPTION_FLOAT, OPTION_AT(Range, from), 0, 0, NULL, NULL, "the lower end" },
    { "to", OPTION_FLOAT, OPTION_AT(Range, to), 0, 0, NULL, NULL, "the upper end" },
    { "scale", OPTION_CHOICE, OPTION_AT(Range, scale), 0, 0, "linear|log|complement|integer",
      "linear", "what is spread evenly: x, log x, log (1 - x) or whole numbers" },
    { "points", OPTION_INT, OPTION_AT(Range, points), 1, STUDY_MAX_TRIALS, NULL, "",
      "of a grid, both ends among them" },
    OPTION_END,
};

static bool check_range(const Config *config, const ConfigNode *node, const Range *range, int type,
                        Err *err)
{
    bool log = range->scale == SCALE_LOG, complement = range->scale == SCALE_COMPLEMENT;
    if (range->from > range->to)
        return config_error(config, node, err, "from is larger than to");
    if ((log && range->from <= 0) || (complement && range->to >= 1))
        return config_error(config, node, err, "scale %s wants numbers %s",
                            log ? "log" : "complement", log ? "above 0" : "below 1");
    if ((type == SEARCH_GRID) != (range->points > 0))
        return config_error(config, node, err, "points %s",
                            type == SEARCH_GRID ? "is missing: how many the grid has here"
                                                : "are for searches of type grid");
    return true;
}

/* The ranges of a search, those of an arm in their places. */
typedef struct Ranges {
    int count;
    char *key[STUDY_MAX_DIMENSIONS]; /* owned */
    ConfigNode *node[STUDY_MAX_DIMENSIONS];
    Range range[STUDY_MAX_DIMENSIONS];
} Ranges;

/* An arm's range has to be one of the study's with other numbers. */
static bool put_range(Ranges *ranges, const Config *config, ConfigNode *node, const char *key,
                      bool own, Err *err)
{
    int i = 0;
    while (i < ranges->count && strcmp(ranges->key[i], key) != 0)
        i++;
    if (node->kind != CONFIG_MAP)
        return config_error(config, node, err,
                            "a range is wanted, such as {from: 0.01, to: 1, scale: log}");
    if (i == ranges->count && own)
        return config_unknown(config, node, true, "range", "ranges of the search",
                              (const char *const *)ranges->key, (size_t)ranges->count, err);
    if (i == STUDY_MAX_DIMENSIONS)
        return config_error(config, node, err, "at most %d ranges wanted", STUDY_MAX_DIMENSIONS);
    if (i == ranges->count) {
        if (!key_check(config, node, key, err))
            return false;
        ranges->key[ranges->count++] = mem_string(key);
    }
    ranges->node[i] = node;
    return true;
}

/* "optimizer.lr: {from: ...}" or "optimizer: {lr: {from: ...}}". */
static bool collect(Ranges *ranges, const Config *config, const ConfigNode *map, const char *prefix,
                    bool own, Err *err)
{
    if (map->kind != CONFIG_MAP || map->count == 0)
        return config_error(config, map, err,
                            "a map of ranges is wanted, such as "
                            "{optimizer.lr: {from: 0.01, to: 1, scale: log}}");
    for (size_t i = 0; i < map->count; i++) {
        ConfigNode *node = map->children[i];
        char key[256];
        snprintf(key, sizeof key, "%s%s%s", prefix, *prefix ? "." : "", node->key);
        bool ok = key_is_group(node, key) && !config_get(node, "from")
                      ? collect(ranges, config, node, key, own, err)
                      : put_range(ranges, config, node, key, own, err);
        if (!ok)
            return false;
    }
    return true;
}

static bool read_ranges(Ranges *ranges, const Config *config, int type, Err *err)
{
    for (int i = 0; i < ranges->count; i++)
        if (!options_read(config, ranges->node[i], range_options, NULL, &ranges->range[i], err) ||
            !check_range(config, ranges->node[i], &ranges->range[i], type, err))
            return false;
    return true;
}

/* The value at u of [0, 1], four digits of it: enough for a search, and short in tables. */
static char *value_at(const Range *range, double u)
{
    char text[32];
    double value = range->from + u * (range->to - range->from);
    if (range->scale == SCALE_LOG)
        value = exp(log(range->from) + u * (log(range->to) - log(range->from)));
    if (range->scale == SCALE_COMPLEMENT)
        value = 1 - exp(log(1 - range->from) + u * (log(1 - range->to) - log(1 - range->from)));
    if (range->scale == SCALE_INTEGER) {
        value = floor(range->from + u * (floor(range->to) - range->from + 1));
        value = fmin(value, floor(range->to));
    }
    if (range->scale == SCALE_COMPLEMENT) /* four digits of what is missing to 1 */
        snprintf(text, sizeof text, "%.*f", 4 - (int)floor(log10(fmax(1 - value, 1e-12))), value);
    else
        snprintf(text, sizeof text, range->scale == SCALE_INTEGER ? "%.0f" : "%.4g", value);
    return mem_string(text);
}

static void add_grid_axis(Axes *axes, const char *key, const Range *range)
{
    int points = (int)range->points;
    Axis *axis = axes_new(axes, 1, points);
    axis->keys[0] = mem_string(key);
    for (int i = 0; i < points; i++)
        axis->cells[i] = value_at(range, points > 1 ? (double)i / (points - 1) : 0.5);
}

/* The sequences' first points are the corner of all lower ends: they begin with the second. */
static void add_sequence_axis(Axes *axes, const SearchOptions *o, const Ranges *ranges)
{
    int count = ranges->count;
    Axis *axis = axes_new(axes, count, (int)o->trials);
    for (int k = 0; k < count; k++)
        axis->keys[k] = mem_string(ranges->key[k]);
    for (int row = 0; row < axis->rows; row++)
        for (int k = 0; k < count; k++)
            axis->cells[row * count + k] =
                value_at(&ranges->range[k], o->type == SEARCH_HALTON ? study_halton(row + 1, k)
                                                                     : study_sobol(row + 1, k));
}

static bool add_axes(Axes *axes, const Config *config, const ConfigNode *search,
                     const SearchOptions *o, const Ranges *ranges, Err *err)
{
    bool grid = o->type == SEARCH_GRID;
    if (grid == (o->trials > 0))
        return config_error(config, search, err, "trials %s",
                            grid ? "are for sequences; a grid has points in each range"
                                 : "is missing: how many points");
    if (axes->count + ranges->count > AXES_MAX)
        return config_error(config, search, err, "at most %d things that vary wanted", AXES_MAX);
    for (int i = 0; grid && i < ranges->count; i++)
        add_grid_axis(axes, ranges->key[i], &ranges->range[i]);
    if (!grid)
        add_sequence_axis(axes, o, ranges);
    return true;
}

bool axes_add_search(Axes *axes, const Config *config, ConfigNode *search, ConfigNode *own,
                     Err *err)
{
    SearchOptions o;
    Ranges ranges = { .count = 0 };
    if (!search && own)
        return config_error(config, own, err, "the study has no search");
    if (!search)
        return true;
    if (search->kind != CONFIG_MAP)
        return config_error(config, search, err, "a map is wanted (type: halton, ...)");
    bool ok = options_read(config, search, search_options, NULL, &o, err) &&
              collect(&ranges, config, o.ranges, "", false, err) &&
              (!own || collect(&ranges, config, own, "", true, err)) &&
              read_ranges(&ranges, config, o.type, err) &&
              add_axes(axes, config, search, &o, &ranges, err);
    for (int i = 0; i < ranges.count; i++)
        mem_free(ranges.key[i]);
    return ok;
}
