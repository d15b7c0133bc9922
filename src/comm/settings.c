/* The MPI library's own settings ("MCA parameters" of Open MPI), as its tool interface tells them:
 * wherever they come from, a file, the environment or mpirun, these are the values in force. */
#include "lockstep/links.h"

#include <mpi.h>
#include <stdio.h>

/* One of a setting's types as text. */
static bool read_value(MPI_T_cvar_handle handle, MPI_Datatype type, MPI_T_enum names, char *text,
                       size_t size)
{
    union {
        char text[8192];
        int number;
        unsigned positive;
        _Bool flag;
    } value = { .text = "" };
    if (MPI_T_cvar_read(handle, &value) != MPI_SUCCESS)
        return false;
    if (type == MPI_CHAR)
        snprintf(text, size, "%s", value.text);
    else if (type == MPI_C_BOOL)
        snprintf(text, size, "%d", value.flag);
    else if (type == MPI_UNSIGNED)
        snprintf(text, size, "%u", value.positive);
    else if (type == MPI_INT)
        snprintf(text, size, "%d", value.number);
    else
        return false;
    int count = 0;
    if (type != MPI_INT || names == MPI_T_ENUM_NULL ||
        MPI_T_enum_get_info(names, &count, NULL, NULL) != MPI_SUCCESS)
        return true;
    for (int i = 0; i < count; i++) {
        char name[64] = "";
        int number, length = sizeof name;
        if (MPI_T_enum_get_item(names, i, &number, name, &length) == MPI_SUCCESS &&
            number == value.number)
            snprintf(text, size, "%s", name);
    }
    return true;
}

static bool read_setting(const char *name, char *text, size_t size)
{
    MPI_Datatype type;
    MPI_T_enum names;
    MPI_T_cvar_handle handle;
    int index, count, verbosity, bind, scope, no_name = 0, no_description = 0;
    if (MPI_T_cvar_get_index(name, &index) != MPI_SUCCESS ||
        MPI_T_cvar_get_info(index, NULL, &no_name, &verbosity, &type, &names, NULL, &no_description,
                            &bind, &scope) != MPI_SUCCESS ||
        MPI_T_cvar_handle_alloc(index, NULL, &handle, &count) != MPI_SUCCESS)
        return false;
    bool ok = read_value(handle, type, names, text, size);
    MPI_T_cvar_handle_free(&handle);
    return ok;
}

bool comm_mpi_setting(const char *name, char *text, size_t size)
{
    int provided;
    if (MPI_T_init_thread(MPI_THREAD_SINGLE, &provided) != MPI_SUCCESS)
        return false;
    bool ok = read_setting(name, text, size);
    MPI_T_finalize();
    return ok;
}
