/* loader.c: libwrn_runner.so. Checks arguments, finds the Python environment, loads libpython and the core.
 *
 * It is not linked to Python: if Python is gone, the process must still start and report that. And libpython must be
 * loaded with RTLD_GLOBAL, since other packages' extension modules take its symbols from there.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core.h"
#include "environment.h" /* written by `wrn-deploy embed`: WRN_PREFIX, ... */

#define ROOM 8192 /* bytes of a message */
#define LENGTH 4096 /* of a path */
#define AGAIN "run `wrn-deploy embed --python` again in an environment with wrn-deploy"

static __thread char last[ROOM];

static int32_t fail(int32_t status, const char *format, ...) {
  va_list values;
  va_start(values, format);
  vsnprintf(last, sizeof last, format, values);
  va_end(values);
  return status;
}

static struct {
  __typeof__(wrn_core_start) *start;
  __typeof__(wrn_core_open) *open;
  __typeof__(wrn_core_close) *close;
  __typeof__(wrn_core_describe) *describe;
  __typeof__(wrn_core_input) *input;
  __typeof__(wrn_core_output) *output;
  __typeof__(wrn_core_text) *text;
  __typeof__(wrn_core_infer) *infer;
  __typeof__(wrn_core_infer_device) *infer_device;
  __typeof__(wrn_core_warmup) *warmup;
  __typeof__(wrn_core_slot_open) *slot_open;
  __typeof__(wrn_core_slot_close) *slot_close;
} core;

static pthread_mutex_t starting = PTHREAD_MUTEX_INITIALIZER;
static int started;
static pid_t process; /* which called wrn_open() first; 0: none did */

/* ---- the Python environment ---- */

typedef struct {
  char executable[LENGTH], stdlib[LENGTH], libpython[LENGTH];
} python;

static int exists(const char *path) {
  struct stat found;
  return stat(path, &found) == 0;
}

/* Whether folder/name exists; its path is in `path`. */
static int within(char *path, const char *folder, const char *name) {
  return snprintf(path, LENGTH, "%s/%s", folder, name) < LENGTH && exists(path);
}

/* Whether base has the standard library; `path` is the missing file. Python recognizes the folder by os.py, and cannot
 * start without encodings. */
static int has_stdlib(char *path, const char *base) {
  return within(path, base, WRN_STDLIB "/os.py") && within(path, base, WRN_STDLIB "/encodings/__init__.py");
}

/* The installation that a virtual environment was made from (pyvenv.cfg); otherwise the folder itself. */
static void find_base(char *base, const char *folder) {
  char path[LENGTH], line[LENGTH];
  snprintf(base, LENGTH, "%s", folder);
  FILE *settings = within(path, folder, "pyvenv.cfg") ? fopen(path, "r") : NULL;
  if (settings == NULL) return;
  while (fgets(line, sizeof line, settings) != NULL) {
    char *value = strchr(line, '=');
    if (strncmp(line, "home", 4) != 0 || value == NULL) continue;
    value += 1 + strspn(value + 1, " \t");
    value[strcspn(value, "\r\n")] = '\0';
    char *end = strrchr(value, '/'); /* home = BASE/bin */
    if (end != NULL && end != value) *end = '\0';
    snprintf(base, LENGTH, "%s", value);
  }
  fclose(settings);
}

/* The environment that the library was built with. */
static int32_t recorded(python *found) {
  static const char *const remedy = "set WRN_RUNNER_PYTHON to the folder it is in now, or " AGAIN;
  snprintf(found->executable, LENGTH, "%s", WRN_EXECUTABLE);
  snprintf(found->libpython, LENGTH, "%s", WRN_LIBPYTHON);
  const char *missing = access(found->executable, X_OK) != 0 ? found->executable
                        : !has_stdlib(found->stdlib, WRN_BASE) ? found->stdlib
                        : *found->libpython != '\0' && !exists(found->libpython) ? found->libpython
                                                                                 : NULL;
  if (missing == NULL) return WRN_OK;
  return fail(WRN_MACHINE, "the Python environment %s that this library was built with is gone (no %s): %s",
              WRN_PREFIX, missing, remedy);
}

/* The environment in `folder`. */
static int32_t named(python *found, const char *folder) {
  char base[LENGTH], name[LENGTH];
  if (!within(found->executable, folder, "bin/python" WRN_PYTHON) && !within(found->executable, folder, "bin/python3"))
    return fail(WRN_MACHINE, "WRN_RUNNER_PYTHON is %s, which has no bin/python3: expected the folder of a Python "
                "environment with wrn-deploy and cffi", folder);
  find_base(base, folder);
  if (!has_stdlib(found->stdlib, base))
    return fail(WRN_MACHINE, "WRN_RUNNER_PYTHON is %s, whose Python has no %s: expected an environment of Python %s, "
                "which this library was built with; or " AGAIN, folder, found->stdlib, WRN_PYTHON);
  snprintf(found->libpython, LENGTH, "%s", WRN_LIBPYTHON);
  if (*found->libpython == '\0') return WRN_OK; /* it is part of the core */
  const char *file = strrchr(WRN_LIBPYTHON, '/') + 1;
  snprintf(name, LENGTH, "lib/%.*s", LENGTH - 8, file);
  if (!within(found->libpython, base, name))
    snprintf(found->libpython, LENGTH, "%s", exists(WRN_LIBPYTHON) ? WRN_LIBPYTHON : file);
  return WRN_OK;
}

/* ---- loading ---- */

/* libpython, unless the process has a Python already. */
static int32_t load_python(const python *found) {
  const char *(*version)(void);
  *(void **)&version = dlsym(RTLD_DEFAULT, "Py_GetVersion");
  if (version != NULL) {
    size_t length = strlen(WRN_PYTHON);
    if (strncmp(version(), WRN_PYTHON, length) == 0 && version()[length] == '.') return WRN_OK;
    return fail(WRN_MACHINE, "this process runs Python %.*s, and this library was built with %s: run `wrn-deploy embed "
                "--python` with the process's Python", (int)strcspn(version(), " "), version(), WRN_PYTHON);
  }
  if (*found->libpython != '\0' && dlopen(found->libpython, RTLD_NOW | RTLD_GLOBAL) == NULL)
    return fail(WRN_MACHINE, "cannot load Python (%s): " AGAIN, dlerror());
  return WRN_OK;
}

static void *symbol(void *library, const char *name, int *missing) {
  void *found = dlsym(library, name);
  *missing |= found == NULL;
  return found;
}

/* The core, in this library's folder. */
static int32_t load_core(void) {
  char path[LENGTH];
  Dl_info here;
  if (dladdr((void *)&starting, &here) == 0 || here.dli_fname == NULL)
    return fail(WRN_INTERNAL, "cannot find the folder of libwrn_runner.so");
  const char *end = strrchr(here.dli_fname, '/');
  snprintf(path, sizeof path, "%.*s/" WRN_CORE, end ? (int)(end - here.dli_fname) : 1, end ? here.dli_fname : ".");
  void *library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
  if (library == NULL)
    return fail(WRN_MACHINE, "cannot load the core of libwrn_runner.so (%s): keep both files in one folder, or " AGAIN,
                dlerror());
  int missing = 0;
#define BIND(name) *(void **)&core.name = symbol(library, "wrn_core_" #name, &missing)
  BIND(start), BIND(open), BIND(close), BIND(describe), BIND(input), BIND(output), BIND(text), BIND(infer);
  BIND(infer_device), BIND(warmup), BIND(slot_open), BIND(slot_close);
  return missing ? fail(WRN_MACHINE, "%s is of another version than libwrn_runner.so: " AGAIN, path) : WRN_OK;
}

static int32_t start_locked(void) {
  python found;
  const char *folder = getenv("WRN_RUNNER_PYTHON");
  int32_t status = folder != NULL && *folder != '\0' ? named(&found, folder) : recorded(&found);
  if (status == WRN_OK) status = load_python(&found);
  if (status == WRN_OK) status = load_core();
  if (status == WRN_OK) status = core.start(found.executable, WRN_EXTRA, last, sizeof last);
  return status;
}

/* Fails in a child of the process that Python was started in: its locks, the GIL too, may be held by threads that only
 * the parent has. So this comes before any lock. */
static int32_t check_process(void) {
  pid_t opener = __atomic_load_n(&process, __ATOMIC_ACQUIRE), here = getpid();
  if (opener == 0 || opener == here) return WRN_OK;
  return fail(WRN_USAGE, "opened in process %ld, called in process %ld after fork: fork before the first wrn_open and "
              "open the bundle in each process, or start the child with posix_spawn", (long)opener, (long)here);
}

static int32_t start(void) {
  pid_t none = 0;
  __atomic_compare_exchange_n(&process, &none, getpid(), 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
  int32_t checked = check_process();
  if (checked != WRN_OK) return checked;
  if (__atomic_load_n(&started, __ATOMIC_ACQUIRE)) return WRN_OK;
  pthread_mutex_lock(&starting);
  int32_t status = started ? WRN_OK : start_locked();
  if (status == WRN_OK) __atomic_store_n(&started, 1, __ATOMIC_RELEASE);
  pthread_mutex_unlock(&starting);
  return status;
}

/* Fails in another process, and if no runner can be open yet, without starting Python. */
static int32_t begin(wrn_runner runner) {
  last[0] = '\0';
  int32_t status = check_process();
  if (status != WRN_OK) return status;
  if (__atomic_load_n(&started, __ATOMIC_ACQUIRE)) return WRN_OK;
  return fail(WRN_USAGE, "runner %llu is not open: expected one from wrn_open that is not closed yet", (unsigned long long)runner);
}

/* ---- structures of other versions ---- */

/* Reads a caller's structure, whose size differs if the caller has another version of the header. */
static int32_t take(void *ours, size_t room, const void *theirs, const char *name) {
  size_t size = *(const size_t *)theirs;
  if (size < sizeof(size_t) || size > 65536)
    return fail(WRN_USAGE, "%s.size is %zu: expected sizeof(%s), which is %zu", name, size, name, room);
  for (size_t at = room; at < size; at++)
    if (((const char *)theirs)[at] != 0)
      return fail(WRN_USAGE, "%s has fields that this library (ABI %d) does not know: expected zeros there", name,
                  WRN_ABI_VERSION);
  memset(ours, 0, room);
  memcpy(ours, theirs, size < room ? size : room);
  return WRN_OK;
}

/* Writes a caller's structure, except its size. */
static void put(void *theirs, const void *ours, size_t room) {
  size_t size = *(const size_t *)theirs;
  memcpy((char *)theirs + sizeof size, (const char *)ours + sizeof size, (size < room ? size : room) - sizeof size);
}

/* Begins a call that fills a caller's structure. */
static int32_t begin_filling(wrn_runner runner, const void *theirs, size_t room, const char *name) {
  int32_t status = begin(runner);
  if (status != WRN_OK) return status;
  if (theirs == NULL) return fail(WRN_USAGE, "the pointer to a %s is NULL", name);
  size_t size = *(const size_t *)theirs;
  if (size >= sizeof(size_t) && size <= 65536) return WRN_OK;
  return fail(WRN_USAGE, "%s.size is %zu: expected sizeof(%s), which is %zu", name, size, name, room);
}

/* ---- the calls ---- */

WRN_API int32_t wrn_abi_version(void) { return WRN_ABI_VERSION; }

WRN_API const char *wrn_version(void) { return WRN_VERSION; }

WRN_API const char *wrn_last_error(void) { return last; }

WRN_API int32_t wrn_open(const char *bundle, const wrn_options *options, wrn_runner *runner) {
  wrn_options ours = {.size = sizeof ours};
  last[0] = '\0';
  if (runner == NULL) return fail(WRN_USAGE, "the pointer to a wrn_runner is NULL");
  *runner = 0;
  if (bundle == NULL) return fail(WRN_USAGE, "the bundle's folder is NULL: expected a path");
  int32_t status = options != NULL ? take(&ours, sizeof ours, options, "wrn_options") : WRN_OK;
  if (status == WRN_OK) status = start();
  return status == WRN_OK ? core.open(bundle, &ours, runner, last, sizeof last) : status;
}

WRN_API int32_t wrn_close(wrn_runner runner) {
  int32_t status = begin(runner);
  return status == WRN_OK ? core.close(runner, last, sizeof last) : status;
}

WRN_API int32_t wrn_describe(wrn_runner runner, wrn_description *description) {
  wrn_description ours = {0};
  int32_t status = begin_filling(runner, description, sizeof ours, "wrn_description");
  if (status == WRN_OK) status = core.describe(runner, &ours, last, sizeof last);
  if (status == WRN_OK) put(description, &ours, sizeof ours);
  return status;
}

WRN_API int32_t wrn_input(wrn_runner runner, int32_t dtype, wrn_tensor *tensor) {
  wrn_tensor ours = {0};
  int32_t status = begin_filling(runner, tensor, sizeof ours, "wrn_tensor");
  if (status == WRN_OK) status = core.input(runner, dtype, &ours, last, sizeof last);
  if (status == WRN_OK) put(tensor, &ours, sizeof ours);
  return status;
}

WRN_API int32_t wrn_output(wrn_runner runner, int32_t index, wrn_tensor *tensor) {
  wrn_tensor ours = {0};
  int32_t status = begin_filling(runner, tensor, sizeof ours, "wrn_tensor");
  if (status == WRN_OK) status = core.output(runner, index, &ours, last, sizeof last);
  if (status == WRN_OK) put(tensor, &ours, sizeof ours);
  return status;
}

WRN_API int32_t wrn_text(
    wrn_runner runner, int32_t kind, int64_t index, char *buffer, size_t capacity, size_t *needed) {
  size_t unused;
  int32_t status = begin(runner);
  if (status != WRN_OK) return status;
  if (buffer == NULL && capacity > 0) return fail(WRN_USAGE, "the buffer is NULL, with %zu bytes", capacity);
  return core.text(runner, kind, index, buffer, capacity, needed ? needed : &unused, last, sizeof last);
}

WRN_API int32_t wrn_infer(wrn_runner runner, const wrn_images *images, const wrn_buffer *outputs, size_t n_outputs) {
  int32_t status = begin(runner);
  if (status != WRN_OK) return status;
  if (images == NULL || outputs == NULL) return fail(WRN_USAGE, "%s is NULL", images ? "outputs" : "images");
  return core.infer(runner, images, outputs, n_outputs, last, sizeof last);
}

WRN_API int32_t wrn_slot_open(wrn_runner runner, int64_t count, wrn_slot *slot) {
  wrn_slot ours = {0};
  int32_t status = begin_filling(runner, slot, sizeof ours, "wrn_slot");
  if (status == WRN_OK) status = core.slot_open(runner, count, &ours, last, sizeof last);
  if (status == WRN_OK) put(slot, &ours, sizeof ours);
  return status;
}

WRN_API int32_t wrn_slot_close(uint64_t id) {
  last[0] = '\0';
  int32_t status = check_process();
  if (status != WRN_OK) return status;
  if (!__atomic_load_n(&started, __ATOMIC_ACQUIRE))
    return fail(WRN_USAGE, "slot %llu is not open: expected an id that wrn_slot_open returned", (unsigned long long)id);
  return core.slot_close(id, last, sizeof last);
}

WRN_API int32_t wrn_infer_device(
    wrn_runner runner, const wrn_images *images, const wrn_buffer *outputs, size_t n_outputs, void *stream) {
  int32_t status = begin(runner);
  if (status != WRN_OK) return status;
  if (images == NULL || outputs == NULL) return fail(WRN_USAGE, "%s is NULL", images ? "outputs" : "images");
  return core.infer_device(runner, images, outputs, n_outputs, stream, last, sizeof last);
}

WRN_API int32_t wrn_warmup(wrn_runner runner, const int64_t *batches, size_t n, int32_t iterations) {
  int32_t status = begin(runner);
  if (status != WRN_OK) return status;
  if (batches == NULL && n > 0) return fail(WRN_USAGE, "batches is NULL, with %zu of them", n);
  return core.warmup(runner, batches, n, iterations, last, sizeof last);
}
