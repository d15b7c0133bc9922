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

static bool read_range(const Config *config, ConfigNode *node, int type, Range *range, Err *err)
{
    if (node->kind != CONFIG_MAP)
        return config_error(config, node, err,
                            "a range is wanted, such as {from: 0.01, to: 1, scale: log}");
    return key_check(config, node, node->key, err) &&
           options_read(config, node, range_options, NULL, range, err) &&
           check_range(config, node, range, type, err);
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
static void add_sequence_axis(Axes *axes, const SearchOptions *o, const Range *ranges)
{
    int count = (int)o->ranges->count;
    Axis *axis = axes_new(axes, count, (int)o->trials);
    for (int k = 0; k < count; k++)
        axis->keys[k] = mem_string(o->ranges->children[k]->key);
    for (int row = 0; row < axis->rows; row++)
        for (int k = 0; k < count; k++)
            axis->cells[row * count + k] =
                value_at(&ranges[k], o->type == SEARCH_HALTON ? study_halton(row + 1, k)
                                                              : study_sobol(row + 1, k));
}

static bool check_search(const Axes *axes, const Config *config, const ConfigNode *search,
                         const SearchOptions *o, Err *err)
{
    const ConfigNode *ranges = o->ranges;
    if (ranges->kind != CONFIG_MAP || ranges->count == 0)
        return config_error(config, ranges, err,
                            "a map of ranges is wanted, such as "
                            "{optimizer.lr: {from: 0.01, to: 1, scale: log}}");
    if (ranges->count > STUDY_MAX_DIMENSIONS || axes->count + (int)ranges->count > AXES_MAX)
        return config_error(config, ranges, err, "at most %d ranges wanted", STUDY_MAX_DIMENSIONS);
    if ((o->type == SEARCH_GRID) == (o->trials > 0))
        return config_error(config, search, err, "trials %s",
                            o->trials > 0 ? "are for sequences; a grid has points in each range"
                                          : "is missing: how many points");
    return true;
}

/* An arm's ranges have to be those of the study with other numbers. */
static bool check_own(const Config *config, const ConfigNode *own, const ConfigNode *ranges,
                      Err *err)
{
    const char *names[STUDY_MAX_DIMENSIONS];
    for (size_t i = 0; i < ranges->count; i++)
        names[i] = ranges->children[i]->key;
    if (own && own->kind != CONFIG_MAP)
        return config_error(config, own, err, "a map of ranges is wanted");
    for (size_t i = 0; own && i < own->count; i++)
        if (!config_get(ranges, own->children[i]->key))
            return config_unknown(config, own->children[i], true, "range", "ranges of the search",
                                  names, ranges->count, err);
    return true;
}

bool axes_add_search(Axes *axes, const Config *config, ConfigNode *search, ConfigNode *own,
                     Err *err)
{
    SearchOptions o;
    Range ranges[STUDY_MAX_DIMENSIONS];
    if (!search && own)
        return config_error(config, own, err, "the study has no search");
    if (!search)
        return true;
    if (search->kind != CONFIG_MAP)
        return config_error(config, search, err, "a map is wanted (type: halton, ...)");
    if (!options_read(config, search, search_options, NULL, &o, err) ||
        !check_search(axes, config, search, &o, err) || !check_own(config, own, o.ranges, err))
        return false;
    for (size_t i = 0; i < o.ranges->count; i++) {
        ConfigNode *node = config_get(own, o.ranges->children[i]->key);
        if (!read_range(config, node ? node : o.ranges->children[i], o.type, &ranges[i], err))
            return false;
        if (o.type == SEARCH_GRID)
            add_grid_axis(axes, o.ranges->children[i]->key, &ranges[i]);
    }
    if (o.type != SEARCH_GRID)
        add_sequence_axis(axes, &o, ranges);
    return true;
}
