/* `lockstep report`: reads runs or a study, draws, and puts the page together: the verdict, what to
 * beware of, pictures, tables, and at the end how it was made. */
#include "lockstep/report.h"
#include "parts.h"

#include "lockstep/files.h"
#include "lockstep/log.h"
#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <stdio.h>
#include <string.h>

bool report_target(const char *text, ReportTarget *target, Err *err)
{
    const char *equals = strchr(text, '=');
    char quoted[128];
    *target = (ReportTarget){ .set = true };
    size_t length = equals ? (size_t)(equals - text) : 0;
    target->accuracy = length == 8 && strncmp(text, "accuracy", 8) == 0;
    bool loss = length == 4 && strncmp(text, "loss", 4) == 0;
    if (!(target->accuracy || loss) || !text_to_double(equals + 1, &target->value))
        return err_set(err, "--target %s: accuracy=NUMBER or loss=NUMBER is wanted",
                       text_quoted(quoted, sizeof quoted, text));
    return true;
}

/* What the report is made of. */
typedef struct Report {
    Source source, reference;
    Contrasts contrasts;
    Album album;
    char *no_pictures; /* why; NULL: there are pictures */
} Report;

static void free_report(Report *report)
{
    source_free(&report->source);
    source_free(&report->reference);
    contrasts_free(&report->contrasts);
    album_free(&report->album);
    mem_free(report->no_pictures);
}

static bool read_report(Report *report, const ReportRequest *request, Err *err)
{
    if (!source_read(&report->source, request->paths, request->count, err))
        return false;
    if (request->against_count == 0)
        return true;
    return source_read(&report->reference, request->against, request->against_count, err) &&
           contrasts_make(&report->contrasts, &report->source, &report->reference, &request->target,
                          err);
}

/* A page without pictures is better than none. */
static void draw(Report *report)
{
    Err err;
    if (report->source.study)
        study_pictures(&report->album, report->source.study);
    else
        run_pictures(&report->album, report->source.runs, report->source.run_count);
    if (album_draw(&report->album, &err))
        return;
    log_warn("report: no pictures: %s", err.text);
    report->no_pictures = mem_string(err.text);
}

/* ---- the page ---- */

/* "lars (3 runs)", "studies/mlp" */
static void title_text(const Report *report, char *title, size_t size)
{
    const Source *source = &report->source;
    if (source->study)
        snprintf(title, size, "Study %s", source->study_path);
    else if (source->run_count == 1)
        snprintf(title, size, "Run %s", source->runs[0].folder);
    else
        snprintf(title, size, "%zu runs", source->run_count);
}

/* A line for each curve; the only one is the verdict itself. */
static void put_curves(const Analysis *analysis, Page *page)
{
    char text[2048];
    if (analysis->curve_count < 2)
        return;
    page_add(page, "<ul class=\"facts\">\n");
    for (int i = 0; i < analysis->curve_count; i++) {
        page_add(page, "<li>");
        page_text(page, curve_text(analysis, &analysis->curves[i], text, sizeof text));
        page_add(page, "</li>\n");
    }
    page_add(page, "</ul>\n");
}

static void put_study_verdict(const Answer *study, Page *page)
{
    char text[2048], outcome[128];
    page_text(page, analysis_verdict(&study->analysis, text, sizeof text));
    if (answer_outcome(study, outcome, sizeof outcome)[0])
        page_add(page, " %s.", outcome);
}

static void put_run_verdict(const Source *source, Page *page)
{
    Page text = { 0 };
    run_verdict(&text, source->runs, source->run_count);
    page_text(page, text.text);
    page_free(&text);
}

static void put_verdict(const Report *report, Page *page)
{
    char text[2048];
    page_add(page, "<p class=\"verdict\">");
    for (size_t i = 0; i < report->contrasts.count; i++) {
        page_text(page, contrast_text(&report->contrasts.list[i], text, sizeof text));
        page_add(page, i + 1 < report->contrasts.count ? "<br>\n" : "</p>\n<p class=\"verdict\">");
    }
    if (report->source.study)
        put_study_verdict(report->source.study, page);
    else
        put_run_verdict(&report->source, page);
    page_add(page, "</p>\n");
    if (report->source.study)
        put_curves(&report->source.study->analysis, page);
}

static void put_warnings(const Report *report, Page *page)
{
    Page items = { 0 };
    const Source *source = &report->source;
    if (source->study)
        for (size_t i = 0; i < source->study->analysis.warning_count; i++) {
            page_add(&items, "<li><b>Warning:</b> ");
            page_text(&items, source->study->analysis.warnings[i]);
            page_add(&items, "</li>\n");
        }
    else
        run_warnings(&items, source->runs, source->run_count);
    if (report->no_pictures) {
        page_add(&items, "<li><b>No pictures:</b> ");
        page_text(&items, report->no_pictures);
        page_add(&items, "</li>\n");
    }
    if (items.used > 0)
        page_add(page, "<ul class=\"warnings\">\n%s</ul>\n", items.text);
    page_free(&items);
}

static void put_page(const Report *report, Page *page)
{
    char title[1024];
    const Source *source = &report->source;
    title_text(report, title, sizeof title);
    page_begin(page, title);
    page_add(page, "<h1>");
    page_text(page, title);
    page_add(page, "</h1>\n");
    put_verdict(report, page);
    put_warnings(report, page);
    if (source->study)
        study_claims(page, source->study);
    album_put(&report->album, page);
    if (report->contrasts.count > 0)
        contrasts_put(&report->contrasts, page);
    if (source->study) {
        study_tables(page, source->study);
        study_details(page, source->study, source->study_path);
    } else {
        run_tables(page, source->runs, source->run_count);
        run_details(page, source->runs, source->run_count);
    }
    page_end(page);
}

/* ---- files ---- */

/* The page's path; mem_alloc'ed. One path: beside what it names; several: here. */
static char *page_path(const Report *report, const ReportRequest *request)
{
    if (request->out)
        return mem_string(request->out);
    if (report->source.study)
        return path_join(report->source.study->folder, "report.html");
    return request->count == 1 ? path_join(request->paths[0], "report.html")
                               : mem_string("report.html");
}

/* "report.html" -> "report.csv"; mem_alloc'ed. */
static char *csv_path(const char *path)
{
    size_t length = strlen(path);
    char *csv = mem_alloc(length + 5);
    bool html = length > 5 && strcmp(path + length - 5, ".html") == 0;
    snprintf(csv, length + 5, "%.*s.csv", (int)(html ? length - 5 : length), path);
    return csv;
}

static bool write_files(const Report *report, const ReportRequest *request, Err *err)
{
    Page page = { 0 }, csv = { 0 };
    char *path = page_path(report, request), *table = csv_path(path);
    put_page(report, &page);
    if (report->source.study)
        study_csv(&csv, report->source.study);
    else
        run_csv(&csv, report->source.runs, report->source.run_count);
    bool ok = file_replace(path, page.text, page.used, err) &&
              file_replace(table, csv.text, csv.used, err) &&
              (!request->pictures || (folder_make(request->pictures, err) &&
                                      album_save(&report->album, request->pictures, err)));
    if (ok)
        log_info("report: %s and %s", path, table);
    mem_free(path);
    mem_free(table);
    page_free(&page);
    page_free(&csv);
    return ok;
}

/* ---- the terminal ---- */

static void say(const Report *report)
{
    char text[2048];
    Page verdict = { 0 };
    for (size_t i = 0; i < report->contrasts.count; i++)
        log_out("%s", contrast_text(&report->contrasts.list[i], text, sizeof text));
    if (report->source.study) {
        answer_print(report->source.study);
        return;
    }
    run_verdict(&verdict, report->source.runs, report->source.run_count);
    log_out("%s", verdict.text);
    page_free(&verdict);
}

bool report_write(const ReportRequest *request, bool *slower, Err *err)
{
    Report report = { 0 };
    bool ok = read_report(&report, request, err);
    if (ok) {
        draw(&report);
        ok = write_files(&report, request, err);
    }
    if (ok)
        say(&report);
    *slower = ok && contrasts_slower(&report.contrasts);
    free_report(&report);
    return ok;
}
