/* What all families share: verdicts, comparison, translation of hyper-parameters, flat vectors. */
#include "golden.h"

#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- verdicts ---- */

Verdict case_fails(Case *c, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(c->why.text, sizeof c->why.text, format, arguments);
    va_end(arguments);
    return FAILED;
}

Verdict case_skips(Case *c, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(c->why.text, sizeof c->why.text, format, arguments);
    va_end(arguments);
    return SKIPPED;
}

void case_compare(Case *c, const char *what, size_t index, double got, double wanted,
                  double tolerance)
{
    double difference = fabs(got - wanted);
    double excess = difference <= tolerance ? (tolerance > 0 ? difference / tolerance : 0)
                    : tolerance > 0         ? difference / tolerance
                                            : HUGE_VAL;
    if (!(excess >= 0)) /* NaN, or inf - inf */
        excess = HUGE_VAL;
    c->compared++;
    if (c->compared > 1 && excess <= c->worst)
        return;
    c->worst = excess;
    snprintf(c->what, sizeof c->what, "%s: element %zu: got %.9g, wanted %.9g, tolerance %.3g",
             what, index, got, wanted, tolerance);
}

Verdict case_verdict(Case *c)
{
    if (c->compared == 0)
        return case_fails(c, "nothing to compare");
    return c->worst <= 1 ? PASSED : case_fails(c, "%s", c->what);
}

bool case_array(Case *c, const char *file, size_t count, Npy *npy)
{
    char path[2 * GOLDEN_PATH];
    *npy = (Npy){ 0 };
    if (!file)
        return err_set(&c->why, "case.json names no file for an array it needs");
    snprintf(path, sizeof path, "%s/%s", c->folder, file);
    if (!npy_read(path, npy, &c->why))
        return false;
    if (count == 0 || npy->count == count)
        return true;
    char shape[128];
    err_set(&c->why, "%s: %zu elements expected, found shape %s", path, count,
            npy_shape(npy, shape, sizeof shape));
    npy_free(npy);
    return false;
}

const char *key_text(const json_t *object, const char *key, const char *fallback)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : fallback;
}

double key_number(const json_t *object, const char *key, double fallback)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : fallback;
}

/* ---- arrays of a layer ---- */

const json_t *case_named(const json_t *list, const char *name)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (strcmp(key_text(json_array_get(list, i), "name", ""), name) == 0)
            return json_array_get(list, i);
    return NULL;
}

bool case_input(Case *c, const char *name, Npy *npy)
{
    const json_t *entry = case_named(json_object_get(c->json, "inputs"), name);
    *npy = (Npy){ .count = 0 };
    if (!entry)
        return err_set(&c->why, "there is no input called %s", name);
    return case_array(c, key_text(entry, "file", NULL), 0, npy);
}

bool case_expects(Case *c, const json_t *entry, const float *got, size_t count)
{
    const char *name = key_text(entry, "name", "?");
    Npy truth;
    if (!case_array(c, key_text(entry, "file", NULL), count, &truth))
        return false;
    double largest = 0;
    for (size_t i = 0; i < count; i++)
        largest = fmax(largest, fabs(truth.values[i]));
    double tolerance = 20 * key_number(entry, "f32_max_abs_diff", 0) +
                       1e-6 * key_number(entry, "max_abs", largest);
    for (size_t i = 0; i < count; i++)
        case_compare(c, name, i, (double)got[i], truth.values[i], tolerance);
    npy_free(&truth);
    return true;
}

/* ---- recipes ---- */

void recipe_init(Recipe *recipe, const json_t *keys, const char *type)
{
    *recipe = (Recipe){ .left = json_is_object(keys) ? json_copy((json_t *)(size_t)keys)
                                                     : json_object() };
    snprintf(recipe->yaml, sizeof recipe->yaml, "{");
    if (type)
        recipe_add(recipe, "type: %s", type);
}

void recipe_free(Recipe *recipe)
{
    json_decref(recipe->left);
    *recipe = (Recipe){ 0 };
}

void recipe_add(Recipe *recipe, const char *format, ...)
{
    char text[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    bool first = recipe->yaml[1] == 0;
    text_append(recipe->yaml, sizeof recipe->yaml, "%s%s", first ? "" : ", ", text);
}

void recipe_unsupported(Recipe *recipe, const char *format, ...)
{
    if (recipe->unsupported[0])
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(recipe->unsupported, sizeof recipe->unsupported, format, arguments);
    va_end(arguments);
}

double recipe_number(Recipe *recipe, const char *key, double fallback)
{
    const json_t *value = json_object_get(recipe->left, key);
    double number = fallback;
    if (json_is_number(value))
        number = json_number_value(value);
    else if (json_is_null(value) || json_is_false(value))
        number = 0;
    else if (value)
        recipe_unsupported(recipe, "%s is not a number", key);
    json_object_del(recipe->left, key);
    return number;
}

bool recipe_flag(Recipe *recipe, const char *key, bool fallback)
{
    const json_t *value = json_object_get(recipe->left, key);
    bool flag = fallback;
    if (json_is_boolean(value))
        flag = json_is_true(value);
    else if (json_is_number(value))
        flag = json_number_value(value) != 0;
    else if (json_is_null(value))
        flag = false;
    else if (value)
        recipe_unsupported(recipe, "%s is not true or false", key);
    json_object_del(recipe->left, key);
    return flag;
}

void recipe_drop(Recipe *recipe, const char *key)
{
    json_object_del(recipe->left, key);
}

void recipe_copy_number(Recipe *recipe, const char *key, const char *option)
{
    if (json_object_get(recipe->left, key))
        recipe_add(recipe, "%s: %.17g", option, recipe_number(recipe, key, 0));
}

void recipe_copy_flag(Recipe *recipe, const char *key, const char *option)
{
    if (json_object_get(recipe->left, key))
        recipe_add(recipe, "%s: %s", option, recipe_flag(recipe, key, false) ? "true" : "false");
}

bool recipe_finish(Recipe *recipe)
{
    const char *key;
    json_t *value;
    json_object_foreach (recipe->left, key, value) {
        bool off = json_is_null(value) || json_is_false(value) ||
                   (json_is_number(value) && json_number_value(value) == 0);
        if (!off) {
            char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(6));
            recipe_unsupported(recipe, "%s = %s has no equivalent", key, text ? text : "?");
            free(text);
        }
    }
    text_append(recipe->yaml, sizeof recipe->yaml, "}");
    return !recipe->unsupported[0];
}

bool recipe_parse(const Recipe *recipe, const char *section, Config *config, Err *err)
{
    char text[sizeof recipe->yaml + 64];
    snprintf(text, sizeof text, "%s: %s\n", section, recipe->yaml);
    return config_parse(config, "case.json", text, strlen(text), err);
}

/* ---- flat vectors ---- */

enum { TENSOR_MAX = 1 << 26 };

static bool read_tensor(FlatTensors *flat, const json_t *tensor, Err *err)
{
    const json_t *shape = json_object_get(tensor, "shape");
    const char *name = key_text(tensor, "name", NULL);
    size_t ndim = json_array_size(shape);
    if (!name || strlen(name) >= sizeof flat->layout.tensors->name ||
        layout_find(&flat->layout, name) >= 0)
        return err_set(err, "tensors: a name is missing, too long or used twice");
    if (ndim < 1 || ndim > LAYOUT_MAX_DIMS)
        return err_set(err, "tensors: %s has %zu dimensions, 1 to %d wanted", name, ndim,
                       LAYOUT_MAX_DIMS);
    int dimensions[LAYOUT_MAX_DIMS];
    size_t n = 1;
    for (size_t i = 0; i < ndim; i++) {
        json_int_t dimension = json_integer_value(json_array_get(shape, i));
        if (dimension < 1 || dimension > TENSOR_MAX || n * (size_t)dimension > TENSOR_MAX)
            return err_set(err, "tensors: %s: cannot use its shape", name);
        dimensions[i] = (int)dimension;
        n *= (size_t)dimension;
    }
    int index = layout_add(&flat->layout, name, (int)ndim, dimensions,
                           ndim > 1 ? LAYOUT_DECAY | LAYOUT_ADAPT : 0);
    double offset = key_number(tensor, "offset", (double)flat->total);
    if (offset < 0 || offset > TENSOR_MAX || key_number(tensor, "size", (double)n) != (double)n)
        return err_set(err, "tensors: %s: offset or size does not fit its shape", name);
    flat->offset[index] = (size_t)offset;
    if (flat->offset[index] + n > flat->total)
        flat->total = flat->offset[index] + n;
    return true;
}

bool flat_init(FlatTensors *flat, const json_t *tensors, Err *err)
{
    *flat = (FlatTensors){ .total = 0 };
    if (json_array_size(tensors) == 0)
        return err_set(err, "case.json lists no tensors");
    flat->offset = mem_array(size_t, json_array_size(tensors));
    for (size_t i = 0; i < json_array_size(tensors); i++)
        if (!read_tensor(flat, json_array_get(tensors, i), err))
            return false;
    layout_seal(&flat->layout);
    return true;
}

void flat_free(FlatTensors *flat)
{
    layout_free(&flat->layout);
    mem_free(flat->offset);
    *flat = (FlatTensors){ .total = 0 };
}

void flat_to_arena(const FlatTensors *flat, const double *vector, float *arena)
{
    for (int i = 0; i < flat->layout.count; i++) {
        const LayoutTensor *tensor = &flat->layout.tensors[i];
        for (size_t k = 0; k < tensor->n; k++)
            arena[tensor->offset + k] = (float)vector[flat->offset[i] + k];
    }
}

void flat_compare(Case *c, const char *what, const FlatTensors *flat, const float *arena,
                  double sign, const double *wanted, const double *tolerance)
{
    char name[256];
    for (int i = 0; i < flat->layout.count; i++) {
        const LayoutTensor *tensor = &flat->layout.tensors[i];
        snprintf(name, sizeof name, "%s, %s", what, tensor->name);
        for (size_t k = 0; k < tensor->n; k++) {
            size_t place = flat->offset[i] + k;
            case_compare(c, name, k, sign * (double)arena[tensor->offset + k], wanted[place],
                         tolerance[place]);
        }
    }
}
