/* Pictures of runs: what they learned, with which learning rate, how fast. */
#include "parts.h"

#include "lockstep/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    PIECES = 400, /* a longer curve is shown by the means of so many pieces */
    STARTING = 10 /* points */
};
#define LOG_RANGE 12.0 /* largest / smallest value from which an axis is logarithmic */

typedef struct Points {
    double *x, *y;
    int count;
} Points;

/* ---- lines ---- */

/* Means of the finite values in rows [from, to); false if there is none. */
static bool mean_of(const Line *line, const double *x, const double *y, size_t from, size_t to,
                    double point[2])
{
    int count = 0;
    point[0] = point[1] = 0;
    for (size_t i = from; i < to; i++)
        if (isfinite(x[i]) && isfinite(y[i])) {
            point[0] += x[i];
            point[1] += line->scale * y[i];
            count++;
        }
    point[0] /= count;
    point[1] /= count;
    return count > 0;
}

static Points points_of(const Scene *scene, const Line *line)
{
    const double *x = frame_column(line->frame, scene->x), *y = frame_column(line->frame, line->y);
    size_t rows = x && y ? line->frame->rows : 0, pieces = rows > 2 * PIECES ? PIECES : rows;
    Points points = { mem_array(double, pieces), mem_array(double, pieces), 0 };
    for (size_t i = 0; i < pieces; i++) {
        double point[2];
        if (!mean_of(line, x, y, i * rows / pieces, (i + 1) * rows / pieces, point))
            continue;
        points.x[points.count] = scene->x_scale * point[0];
        points.y[points.count++] = point[1];
    }
    return points;
}

static void draw_points(Picture *picture, const Line *line, const Points *points)
{
    if (points->count == 0)
        return;
    int block = picture_block(picture);
    for (int i = 0; i < points->count; i++)
        picture_row(picture, 2, (const double[2]){ points->x[i], points->y[i] });
    picture_draw(picture, block, points->count == 1 ? MARK_DOTS : line->mark, line->color,
                 points->count == 1 ? 0.8 : 1.8);
    if (line->key)
        picture_key(picture, line->mark, line->color, line->key);
}

static void widen_range(Range *range, const double *values, int count)
{
    for (int i = 0; i < count; i++)
        include(range, values[i]);
}

void draw_lines(Album *album, const Scene *scene, const char *title, const char *y_label,
                Scale scale, const Line *lines, size_t count)
{
    Points *points = mem_array(Points, count);
    Range x = nothing, y = nothing;
    bool all_apart = true;
    for (size_t i = 0; i < count; i++)
        all_apart = all_apart && lines[i].apart;
    for (size_t i = 0; i < count; i++) {
        points[i] = points_of(scene, &lines[i]);
        if (lines[i].apart && !all_apart)
            continue;
        widen_range(&x, points[i].x, points[i].count);
        int start = scale == SCALE_ZERO && points[i].count > 5 * STARTING ? STARTING : 0;
        widen_range(&y, points[i].y + start, points[i].count - start);
    }
    if (x.high >= x.low && !(y.low == 0 && y.high == 0)) {
        Picture *picture = album_add(album, title, "");
        bool logarithmic = scale == SCALE_LOG && y.low > 0 && y.high > LOG_RANGE * y.low;
        picture_axis(picture, 'x', scene->x_label, x.low, x.high, false);
        picture_axis(picture, 'y', y_label, scale == SCALE_ZERO ? fmin(0, y.low) : y.low, y.high,
                     logarithmic);
        for (size_t i = 0; i < count; i++)
            draw_points(picture, &lines[i], &points[i]);
    }
    for (size_t i = 0; i < count; i++) {
        mem_free(points[i].x);
        mem_free(points[i].y);
    }
    mem_free(points);
}

bool diverged(const RunData *run)
{
    return strcmp(run_text(run, "status"), "diverged") == 0;
}

/* One line a run, in the run's colour, under the run's name if there are several. */
static void draw_column(Album *album, const Scene *scene, const char *title, const char *y_label,
                        bool evals, const char *y, double factor, Scale scale)
{
    Line *lines = mem_array(Line, scene->count);
    for (size_t i = 0; i < scene->count; i++)
        lines[i] = (Line){ evals ? &scene->runs[i].evals : &scene->runs[i].steps,
                           y,
                           factor,
                           evals ? MARK_POINTS : MARK_LINE,
                           color_series((int)i),
                           scene->count > 1 ? scene->runs[i].name : NULL,
                           diverged(&scene->runs[i]) };
    draw_lines(album, scene, title, y_label, scale, lines, scene->count);
    mem_free(lines);
}

/* Training and test set: in one picture for one run, else each by itself. */
static void draw_both(Album *album, const Scene *scene, const char *what, Scale scale)
{
    char title[64];
    if (scene->count == 1) {
        const Line lines[] = {
            { &scene->runs->steps, what, 1, MARK_LINE, color_series(0), "training", false },
            { &scene->runs->evals, what, 1, MARK_POINTS, color_series(1), "test", false },
        };
        snprintf(title, sizeof title, "%c%s", what[0] - 'a' + 'A', what + 1);
        draw_lines(album, scene, title, what, scale, lines, 2);
        return;
    }
    snprintf(title, sizeof title, "Test %s", what);
    draw_column(album, scene, title, what, true, what, 1, scale);
    snprintf(title, sizeof title, "Training %s", what);
    draw_column(album, scene, title, what, false, what, 1, scale);
}

/* ---- all of them ---- */

static Scene scene_of(const RunData *runs, size_t count)
{
    Scene scene = { runs, count, "step", 1, "step" };
    double last = 0;
    for (size_t i = 0; i < count; i++) {
        const double *steps = frame_column(&runs[i].steps, "step");
        if (steps && runs[i].steps.rows > 0)
            last = fmax(last, steps[runs[i].steps.rows - 1]);
        if (run_batch(&runs[i]) != run_batch(&runs[0])) {
            scene.x = "epoch";
            scene.x_label = "epoch";
        }
    }
    if (strcmp(scene.x, "step") == 0 && last >= 20000) {
        scene.x_scale = 1e-3;
        scene.x_label = "thousand steps";
    }
    return scene;
}

void run_pictures(Album *album, const RunData *runs, size_t count)
{
    Scene scene = scene_of(runs, count);
    draw_both(album, &scene, "accuracy", SCALE_PLAIN);
    draw_both(album, &scene, "loss", SCALE_LOG);
    draw_column(album, &scene, "Learning rate", "learning rate", false, "lr", 1, SCALE_ZERO);
    draw_column(album, &scene, "Gradient norm", "gradient norm", false, "grad_norm", 1, SCALE_LOG);
    draw_column(album, &scene, "Throughput", "samples a second", false, "samples_per_second", 1,
                SCALE_ZERO);
    draw_column(album, &scene, "Exposed communication", "% of training time", false, "comm", 100,
                SCALE_ZERO);
    draw_probes(album, &scene);
    draw_tensors(album, &scene);
}
