/* Runs gnuplot, once for all pictures of a page, and takes what it has drawn. */
#include "picture.h"

#include "lockstep/files.h"
#include "lockstep/memory.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SVG_MAX ((size_t)32 << 20)
enum {
    WIDTH = 620,
    HEIGHT = 380,
    WIDE_WIDTH = 1060,
    WIDE_HEIGHT = 420,
    PATIENCE = 60 /* seconds */
};

/* ---- the script ---- */

static void write_picture(Page *script, const Picture *picture, size_t number)
{
    page_add(script,
             "reset\nset terminal svg dynamic noenhanced size %d,%d font 'sans-serif,14'\n"
             "set output 'p%zu.svg'\nset border 3 lc rgb '#0000%02x'\n"
             "set tics nomirror out scale 0.5\nset grid lt 1 lw 1 lc rgb '#0000%02x'\nset key off\n"
             "set bars 0.6\nset format x '%%.10g'\nset format y '%%.10g'\n"
             "set xlabel textcolor rgb '#0000%02x'\nset ylabel textcolor rgb '#0000%02x'\n",
             picture->wide ? WIDE_WIDTH : WIDTH, picture->wide ? WIDE_HEIGHT : HEIGHT, number,
             (unsigned)COLOR_AXIS, (unsigned)COLOR_GRID, (unsigned)COLOR_AXIS,
             (unsigned)COLOR_AXIS);
    page_add(script, "%s%s", picture->settings.text, picture->data.text);
    page_add(script, "EOD\nplot %s\nunset output\n", picture->plot.text);
}

/* ---- the process ---- */

extern char **environ;

static bool is_locale(const char *variable)
{
    return strncmp(variable, "LC_", 3) == 0 || strncmp(variable, "LANG", 4) == 0;
}

/* Ours without locales, so that numbers have decimal points; owned by the caller. */
static char **plain_environment(void)
{
    static char locale[] = "LC_ALL=C";
    size_t count = 0, used = 0;
    while (environ[count])
        count++;
    char **result = mem_array(char *, count + 2);
    for (size_t i = 0; i < count; i++)
        if (!is_locale(environ[i]))
            result[used++] = environ[i];
    result[used] = locale;
    return result;
}

static bool start(const char *folder, pid_t *pid, Err *err)
{
    static char name[] = "gnuplot", plain[] = "-d", script[] = "script.gp";
    char *arguments[] = { name, plain, script, NULL };
    posix_spawn_file_actions_t files;
    char **environment = plain_environment();
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addchdir_np(&files, folder);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "errors", O_WRONLY | O_CREAT, 0600);
    int error = posix_spawnp(pid, name, &files, NULL, arguments, environment);
    posix_spawn_file_actions_destroy(&files);
    mem_free(environment);
    if (error == ENOENT)
        return err_set(err, "gnuplot is not installed (Debian package gnuplot-nox)");
    return error == 0 || err_set(err, "gnuplot: cannot be started: %s", strerror(error));
}

/* The last line of what gnuplot has said. */
static bool complain(const char *folder, Err *err)
{
    char *path = path_join(folder, "errors"), *text;
    size_t bytes;
    if (file_text(path, SVG_MAX, &text, &bytes, NULL)) {
        while (bytes > 0 && text[bytes - 1] == '\n')
            text[--bytes] = '\0';
        const char *line = strrchr(text, '\n');
        err_set(err, "gnuplot failed: %s", line ? line + 1 : text);
        mem_free(text);
    } else
        err_set(err, "gnuplot failed");
    mem_free(path);
    return false;
}

static bool finish(pid_t pid, const char *folder, Err *err)
{
    const struct timespec pause = { 0, 10000000 }; /* 10 ms */
    int status = 0;
    for (int i = 0; waitpid(pid, &status, WNOHANG) == 0; i++) {
        if (i == 100 * PATIENCE) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            return err_set(err, "gnuplot: not done after %d seconds", PATIENCE);
        }
        nanosleep(&pause, NULL);
    }
    return (WIFEXITED(status) && WEXITSTATUS(status) == 0) || complain(folder, err);
}

/* ---- pictures ---- */

static bool take_svg(Picture *picture, const char *folder, size_t number, Err *err)
{
    char name[32], *text;
    size_t bytes;
    snprintf(name, sizeof name, "p%zu.svg", number);
    char *path = path_join(folder, name);
    bool ok = file_text(path, SVG_MAX, &text, &bytes, err);
    mem_free(path);
    if (!ok)
        return false;
    Page svg = { 0 };
    const char *body = strstr(text, "<g id=\"gnuplot_canvas\"");
    page_add(&svg,
             "<svg xmlns=\"http://www.w3.org/2000/svg\" "
             "xmlns:xlink=\"http://www.w3.org/1999/xlink\" viewBox=\"0 0 %d %d\" role=\"img\" "
             "aria-label=\"",
             picture->wide ? WIDE_WIDTH : WIDTH, picture->wide ? WIDE_HEIGHT : HEIGHT);
    page_text(&svg, picture->title);
    page_add(&svg, "\">\n");
    if (body)
        svg_copy(&svg, body, number);
    mem_free(text);
    picture->svg = svg.text;
    return body || err_set(err, "gnuplot: drew no SVG");
}

/* ---- albums ---- */

static void remove_files(const char *folder, size_t pictures)
{
    for (size_t i = 0; i < pictures + 2; i++) {
        char name[32];
        snprintf(name, sizeof name, "p%zu.svg", i);
        char *path = path_join(folder, i < pictures    ? name
                                       : i == pictures ? "script.gp"
                                                       : "errors");
        unlink(path);
        mem_free(path);
    }
    rmdir(folder);
}

static bool draw_in(Album *album, const char *folder, Err *err)
{
    Page script = { 0 };
    pid_t pid;
    for (size_t i = 0; i < album->count; i++)
        write_picture(&script, album->pictures[i], i);
    char *path = path_join(folder, "script.gp");
    bool ok = file_replace(path, script.text, script.used, err) && start(folder, &pid, err) &&
              finish(pid, folder, err);
    for (size_t i = 0; ok && i < album->count; i++)
        ok = take_svg(album->pictures[i], folder, i, err);
    mem_free(path);
    page_free(&script);
    return ok;
}

bool album_draw(Album *album, Err *err)
{
    const char *above = getenv("TMPDIR");
    if (album->count == 0)
        return true;
    char *folder = path_join(above && *above ? above : "/tmp", "lockstep-report.XXXXXX");
    bool made = mkdtemp(folder) != NULL;
    bool ok = made ? draw_in(album, folder, err)
                   : err_set(err, "%s: cannot make the folder: %s", folder, strerror(errno));
    if (made)
        remove_files(folder, album->count);
    for (size_t i = 0; !ok && i < album->count; i++) {
        mem_free(album->pictures[i]->svg);
        album->pictures[i]->svg = NULL;
    }
    mem_free(folder);
    return ok;
}

void album_put(const Album *album, Page *page)
{
    bool any = false;
    for (size_t i = 0; i < album->count; i++) {
        const Picture *picture = album->pictures[i];
        if (!picture->svg)
            continue;
        if (!any)
            page_add(page, "<div class=\"pictures\">\n");
        any = true;
        page_add(page, picture->wide ? "<figure class=\"wide\"><h3>" : "<figure><h3>");
        page_text(page, picture->title);
        page_add(page, "</h3>\n");
        keys_put(picture, page);
        page_add(page, "%s", picture->svg);
        if (picture->caption[0]) {
            page_add(page, "<figcaption>");
            page_text(page, picture->caption);
            page_add(page, "</figcaption>");
        }
        page_add(page, "</figure>\n");
    }
    if (any)
        page_add(page, "</div>\n");
}

/* "Steps to target" -> "steps-to-target.svg" */
static void file_name(const char *title, char *name, size_t size)
{
    size_t used = 0;
    for (; *title && used + 5 < size; title++)
        if (isalnum((unsigned char)*title))
            name[used++] = (char)tolower((unsigned char)*title);
        else if (used > 0 && name[used - 1] != '-')
            name[used++] = '-';
    while (used > 0 && name[used - 1] == '-')
        used--;
    snprintf(name + used, size - used, ".svg");
}

/* The picture with its title and keys above it, and with the colours that a page would give it. */
static void stand_alone(const Picture *picture, Page *svg)
{
    Page keys = { 0 };
    int width = picture->wide ? WIDE_WIDTH : WIDTH, height = picture->wide ? WIDE_HEIGHT : HEIGHT;
    int above = keys_svg(picture, &keys, width);
    page_add(svg,
             "<svg xmlns=\"http://www.w3.org/2000/svg\" "
             "xmlns:xlink=\"http://www.w3.org/1999/xlink\" viewBox=\"0 %d %d %d\">\n"
             "<style>%ssvg{background:var(--paper);font-family:sans-serif}</style>\n%s%s",
             -above, width, height + above, page_colors, keys.text,
             strstr(picture->svg, ">\n") + 2);
    page_free(&keys);
}

bool album_save(const Album *album, const char *folder, Err *err)
{
    bool ok = true;
    for (size_t i = 0; ok && i < album->count; i++) {
        char name[128];
        Page svg = { 0 };
        if (!album->pictures[i]->svg)
            continue;
        stand_alone(album->pictures[i], &svg);
        file_name(album->pictures[i]->title, name, sizeof name);
        char *path = path_join(folder, name);
        ok = file_replace(path, svg.text, svg.used, err);
        mem_free(path);
        page_free(&svg);
    }
    return ok;
}
