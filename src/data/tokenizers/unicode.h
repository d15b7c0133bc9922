/* Classes of characters, as far as GPT-2 looks at them. */
#ifndef LOCKSTEP_DATA_UNICODE_H
#define LOCKSTEP_DATA_UNICODE_H

#include <stdint.h>

enum UnicodeClass { UNICODE_OTHER, UNICODE_LETTER, UNICODE_NUMBER, UNICODE_SPACE };

#define UNICODE_CODES 0x3347a /* code points from here on are all UNICODE_OTHER */

/* (UNICODE_CODES) class of each code point; freed with mem_free. */
uint8_t *unicode_classes(void);

#endif
