/* JSON text of flat objects, written without allocation: a line of metrics.jsonl costs about two
 * microseconds, which a general library does not reach. */
#include "run_parts.h"

#include "lockstep/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put(JsonText *json, const char *text, size_t length)
{
    if (json->used + length >= json->size) {
        json->full = true;
        return;
    }
    memcpy(json->text + json->used, text, length);
    json->used += length;
    json->text[json->used] = '\0';
}

static void put_string(JsonText *json, const char *text)
{
    char copy[1024], escape[8];
    put(json, "\"", 1);
    for (const char *next = text_as_utf8(copy, sizeof copy, text); *next; next++) {
        if (*next == '"' || *next == '\\') {
            escape[0] = '\\';
            escape[1] = *next;
            put(json, escape, 2);
        } else if ((unsigned char)*next < 0x20) {
            snprintf(escape, sizeof escape, "\\u%04x", (unsigned)*next);
            put(json, escape, 6);
        } else {
            put(json, next, 1);
        }
    }
    put(json, "\"", 1);
}

void json_start(JsonText *json, char *buffer, size_t size, bool indent)
{
    *json = (JsonText){ .text = buffer, .size = size, .indent = indent };
    put(json, "{", 1);
}

static void put_key(JsonText *json, const char *key)
{
    bool first = json->used == 1;
    if (json->indent)
        put(json, first ? "\n  " : ",\n  ", first ? 3 : 4);
    else if (!first)
        put(json, ",", 1);
    put(json, "\"", 1);
    put(json, key, strlen(key));
    put(json, "\": ", json->indent ? 3 : 2);
}

void json_add_text(JsonText *json, const char *key, const char *value)
{
    put_key(json, key);
    put_string(json, value);
}

void json_add_integer(JsonText *json, const char *key, int64_t value)
{
    char text[TEXT_NUMBER_SIZE];
    put_key(json, key);
    snprintf(text, sizeof text, "%lld", (long long)value);
    put(json, text, strlen(text));
}

void json_add_hex(JsonText *json, const char *key, uint64_t value)
{
    char text[TEXT_NUMBER_SIZE];
    put_key(json, key);
    snprintf(text, sizeof text, "\"%016llx\"", (unsigned long long)value);
    put(json, text, strlen(text));
}

void json_add_number(JsonText *json, const char *key, double value)
{
    char text[TEXT_NUMBER_SIZE];
    put_key(json, key);
    if (isfinite(value))
        text_number(text, value);
    else
        strcpy(text, "null");
    put(json, text, strlen(text));
}

void json_add_fixed(JsonText *json, const char *key, double value, int digits)
{
    char text[TEXT_NUMBER_SIZE];
    if (!isfinite(value) || fabs(value) > 1e15) {
        json_add_number(json, key, value);
        return;
    }
    put_key(json, key);
    snprintf(text, sizeof text, "%.*f", digits, value);
    put(json, text, strlen(text));
}

void json_finish(JsonText *json)
{
    put(json, json->indent ? "\n}\n" : "}\n", json->indent ? 3 : 2);
}
