/* What this program is and how it was built. The Makefile passes the LOCKSTEP_ definitions to this
 * file alone, so a new commit recompiles nothing else. */
#include "lockstep/version.h"

#ifndef LOCKSTEP_VERSION
#define LOCKSTEP_VERSION "unknown"
#endif
#ifndef LOCKSTEP_GIT
#define LOCKSTEP_GIT "none"
#endif
#ifndef LOCKSTEP_CFLAGS
#define LOCKSTEP_CFLAGS "unknown"
#endif
#ifdef __clang__
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

const char *version_string(void)
{
    return LOCKSTEP_VERSION;
}

const char *version_git(void)
{
    return LOCKSTEP_GIT;
}

const char *version_compiler(void)
{
    return COMPILER;
}

const char *version_flags(void)
{
    return LOCKSTEP_CFLAGS;
}
