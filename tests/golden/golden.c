/* golden [-v] DIR: walks DIR, prints a line for each case that failed or is not supported (-v: for
 * each case), then the sums. Exit code 1 if a case failed or if there is none. Cases that run
 * compiled-per-level code have to pass at every ISA level that this CPU has. */
#include "golden.h"

#include "lockstep/cpu.h"
#include "lockstep/log.h"
#include "lockstep/text.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct Totals {
    int count[3]; /* by verdict */
    bool verbose;
} Totals;

static void record(Totals *totals, Verdict verdict, const char *path, const Case *c)
{
    static const char *const words[] = { [FAILED] = "FAIL", [SKIPPED] = "SKIP" };
    totals->count[verdict]++;
    if (verdict != PASSED)
        printf("%s %s: %s\n", words[verdict], path, c->why.text);
    else if (totals->verbose)
        printf("PASS %s: largest difference %.2g of its tolerance\n", path, c->worst);
    fflush(stdout);
}

static bool is_folder(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

static bool is_file(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISREG(status.st_mode);
}

static bool join(char path[GOLDEN_PATH], const char *folder, const char *name)
{
    return snprintf(path, GOLDEN_PATH, "%s/%s", folder, name) < GOLDEN_PATH;
}

static json_t *load_json(Case *c, const char *path)
{
    json_error_t error;
    json_t *json = json_load_file(path, 0, &error);
    if (!json)
        case_fails(c, "%s:%d: %s", path, error.line, error.text);
    return json;
}

/* ---- families whose cases are folders ---- */

typedef Verdict (*CaseFunction)(Case *c);

/* At every level, the best first; the first verdict that is not PASSED counts. */
static Verdict run_at_levels(Case *c, CaseFunction function)
{
    static const char *const levels[ISA_COUNT] = { "v2", "v3", "v4" };
    Case start = *c;
    Verdict verdict = PASSED;
    double worst = 0;
    for (int isa = (int)cpu_isa_best(); isa >= (int)ISA_V2 && verdict == PASSED; isa--) {
        *c = start;
        verdict = cpu_set_isa(levels[isa], &c->why) ? function(c) : FAILED;
        worst = fmax(worst, c->worst);
        if (verdict == FAILED && isa < (int)cpu_isa_best())
            err_prefix(&c->why, "%s: ", cpu_isa_name((Isa)isa));
    }
    c->worst = worst;
    return verdict;
}

static void run_folder(Totals *totals, const char *root, const char *family, const char *name,
                       CaseFunction function)
{
    Case c = { .worst = 0 };
    char path[GOLDEN_PATH], label[GOLDEN_PATH];
    bool fits = (family[0] ? join(label, family, name) : join(label, name, "")) &&
                join(c.folder, root, label) && join(path, c.folder, "case.json");
    Verdict verdict = FAILED;
    json_t *json = fits ? load_json(&c, path) : NULL;
    if (!fits)
        case_fails(&c, "the path is too long");
    else if (json && !function)
        verdict = case_skips(&c, "no code for this kind of case");
    else if (json) {
        c.json = json;
        verdict = run_at_levels(&c, function);
    }
    json_decref(json);
    record(totals, verdict, label, &c);
}

static void run_folders(Totals *totals, const char *root, const char *family, CaseFunction function)
{
    char folder[GOLDEN_PATH], path[GOLDEN_PATH];
    struct dirent **entries;
    if (!join(folder, root, family))
        return;
    int count = scandir(folder, &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        bool wanted = name[0] != '.' && strcmp(name, "inputs") != 0;
        if (wanted && join(path, folder, name) && is_folder(path))
            run_folder(totals, root, family, name, function);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
}

/* ---- schedules: index.json lists them ---- */

static void run_schedules(Totals *totals, const char *root)
{
    Case c = { .worst = 0 };
    char path[GOLDEN_PATH], label[GOLDEN_PATH];
    json_t *index = NULL;
    if (!join(c.folder, root, "schedules") || !is_folder(c.folder))
        return;
    if (join(path, c.folder, "index.json"))
        index = load_json(&c, path);
    const json_t *list = json_object_get(index, "schedules");
    if (!json_is_array(list)) {
        if (index)
            case_fails(&c, "%s: no list called schedules", path);
        record(totals, FAILED, "schedules", &c);
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        Case one = { .json = json_array_get(list, i) };
        memcpy(one.folder, c.folder, sizeof one.folder);
        join(label, "schedules", key_text(one.json, "name", "(no name)"));
        record(totals, golden_schedule(&one), label, &one);
    }
    json_decref(index);
}

/* ---- init: every row of init_scales.csv is a case ---- */

static void run_init(Totals *totals, const char *root)
{
    char folder[GOLDEN_PATH], path[GOLDEN_PATH], label[64], header[1024], row[1024];
    if (!join(folder, root, "init") || !is_folder(folder) || !join(path, folder, "init_scales.csv"))
        return;
    FILE *file = fopen(path, "r");
    Case c = { .worst = 0 };
    if (!file || !fgets(header, sizeof header, file)) {
        record(totals, case_fails(&c, "cannot be read"), "init/init_scales.csv", &c);
        if (file)
            fclose(file);
        return;
    }
    for (int line = 2; fgets(row, sizeof row, file); line++) {
        row[strcspn(row, "\r\n")] = 0;
        if (!row[0])
            continue;
        Case one = { .worst = 0 };
        snprintf(label, sizeof label, "init/init_scales.csv:%d", line);
        record(totals, golden_init_row(&one, header, row), label, &one);
    }
    fclose(file);
}

/* ---- the walk ---- */

static void run_family(Totals *totals, const char *root, const char *family)
{
    char path[GOLDEN_PATH];
    if (strcmp(family, "optimizers") == 0)
        run_folders(totals, root, family, golden_optimizer);
    else if (strcmp(family, "schedules") == 0)
        run_schedules(totals, root);
    else if (strcmp(family, "layers") == 0)
        run_folders(totals, root, family, golden_layer);
    else if (strcmp(family, "models") == 0)
        run_folders(totals, root, family, golden_model);
    else if (strcmp(family, "init") == 0)
        run_init(totals, root);
    else if (join(path, root, family) &&
             is_folder(path)) { /* a case of its own, or a folder of them */
        char own[GOLDEN_PATH];
        if (join(own, path, "case.json") && is_file(own))
            run_folder(totals, root, "", family,
                       strcmp(family, "diagnostics") == 0 ? golden_diagnostics : NULL);
        else
            run_folders(totals, root, family, NULL);
    }
}

int main(int argc, char **argv)
{
    bool verbose = argc == 3 && strcmp(argv[1], "-v") == 0;
    if (argc != 2 && !verbose) {
        fprintf(stderr, "usage: golden [-v] DIR\n");
        return 2;
    }
    const char *root = argv[argc - 1];
    Totals totals = { .verbose = verbose };
    struct dirent **entries;
    log_set_level(LOG_QUIET);
    int count = scandir(root, &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        if (entries[i]->d_name[0] != '.')
            run_family(&totals, root, entries[i]->d_name);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
    if (totals.count[PASSED] + totals.count[FAILED] + totals.count[SKIPPED] == 0) {
        Case c = { .worst = 0 };
        record(&totals, case_fails(&c, "no golden cases found"), root, &c);
    }
    golden_end();
    printf("%d passed, %d failed, %d skipped\n", totals.count[PASSED], totals.count[FAILED],
           totals.count[SKIPPED]);
    return totals.count[FAILED] > 0;
}
