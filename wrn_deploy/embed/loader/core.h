/* core.h: the calls between the loader (which needs no Python) and the core (which is one with it). */
#ifndef WRN_CORE_H
#define WRN_CORE_H

#include "wrn_runner.h"

/* Starts Python in the environment of `executable`, unless the process has one; `extra` comes first in its path. */
int32_t wrn_core_start(const char *executable, const char *extra, char *message, size_t room);

/* core: begin */
int32_t wrn_core_open(const char *bundle, const wrn_options *options, wrn_runner *runner, char *message, size_t room);
int32_t wrn_core_close(wrn_runner runner, char *message, size_t room);
int32_t wrn_core_describe(wrn_runner runner, wrn_description *description, char *message, size_t room);
int32_t wrn_core_input(wrn_runner runner, int32_t dtype, wrn_tensor *tensor, char *message, size_t room);
int32_t wrn_core_output(wrn_runner runner, int32_t index, wrn_tensor *tensor, char *message, size_t room);
int32_t wrn_core_text(
    wrn_runner runner, int32_t kind, int64_t index, char *buffer, size_t capacity, size_t *needed,
    char *message, size_t room);
int32_t wrn_core_slot_open(wrn_runner runner, int64_t count, wrn_slot *slot, char *message, size_t room);
int32_t wrn_core_slot_close(uint64_t id, char *message, size_t room);
int32_t wrn_core_infer(
    wrn_runner runner, const wrn_images *images, const wrn_buffer *outputs, size_t n_outputs,
    char *message, size_t room);
int32_t wrn_core_infer_device(
    wrn_runner runner, const wrn_images *images, const wrn_buffer *outputs, size_t n_outputs, void *stream,
    char *message, size_t room);
int32_t wrn_core_warmup(
    wrn_runner runner, const int64_t *batches, size_t n, int32_t iterations, char *message, size_t room);
/* core: end */

#endif
