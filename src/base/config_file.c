/* A config file's bytes, before anything is parsed. */
#include "config_tree.h"
#include "lockstep/memory.h"
#include "lockstep/text.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

bool text_check(const char *text, size_t length, int *line, int *column, Err *err)
{
    *line = *column = 1;
    for (size_t i = 0; i < length;) {
        uint32_t code = 0;
        size_t bytes = text_utf8(text + i, length - i, &code);
        if (bytes == 0)
            return err_set(err, "byte 0x%02x is not UTF-8 text", (unsigned char)text[i]);
        bool control = code < 0x20 && code != '\n' && code != '\t' && code != '\r';
        if (control || (code >= 0x7f && code < 0xa0))
            return err_set(err, "control character 0x%02x", (unsigned)code);
        *line += code == '\n';
        *column = code == '\n' ? 1 : *column + 1;
        i += bytes;
    }
    return true;
}

int text_tab(const char *text, size_t length, int line)
{
    const char *at = text;
    const char *end = text + length;
    while (at && --line > 0) {
        at = memchr(at, '\n', (size_t)(end - at));
        at = at ? at + 1 : NULL;
    }
    for (int column = 1; at && at < end && (*at == ' ' || *at == '\t'); at++, column++)
        if (*at == '\t')
            return column;
    return 0;
}

bool config_file(const char *path, char **text, size_t *length, Err *err)
{
    struct stat status;
    FILE *in = fopen(path, "rb");
    if (!in)
        return err_set(err, "%s: cannot be read: %s", path, strerror(errno));
    bool folder = fstat(fileno(in), &status) == 0 && S_ISDIR(status.st_mode);
    *text = mem_alloc(CONFIG_MAX_BYTES + 2);
    *length = folder ? 0 : fread(*text, 1, CONFIG_MAX_BYTES + 1, in);
    bool failed = ferror(in) != 0;
    fclose(in);
    if (!folder && !failed && *length <= CONFIG_MAX_BYTES)
        return true;
    mem_free(*text);
    *text = NULL;
    if (folder)
        return err_set(err, "%s: a folder; a config file is wanted", path);
    if (failed)
        return err_set(err, "%s: cannot be read", path);
    return err_set(err, "%s: more than %zu bytes, a config has at most that", path,
                   CONFIG_MAX_BYTES);
}
