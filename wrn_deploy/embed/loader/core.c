/* core.c: starts Python and connects wrn_deploy.embed.calls; cffi puts its own code around this file.
 *
 * Python is started here and not by cffi, which ends the process if Python cannot find itself, and prints if a package
 * is missing.
 */
#define EXPORTED __attribute__((visibility("default")))

EXPORTED int32_t wrn_core_start(const char *executable, const char *extra, char *message, size_t room);

/* Initializes Python as `executable` would, without signal handlers and without the host's variables. */
static int start_python(const char *executable, char *message, size_t room) {
  static char failed[512]; /* Python cannot be started again after a failure */
  if (failed[0] != '\0') {
    snprintf(message, room, "%s", failed);
    return -1;
  }
  PyPreConfig before;
  PyPreConfig_InitIsolatedConfig(&before);
  before.utf8_mode = 1; /* the host's locale is often "C"; texts and paths are UTF-8 here */
  PyStatus status = Py_PreInitialize(&before);
  if (!PyStatus_Exception(status)) {
    PyConfig config;
    PyConfig_InitIsolatedConfig(&config);
    config.install_signal_handlers = 0;
    config.pathconfig_warnings = 0;
    status = PyConfig_SetBytesString(&config, &config.program_name, executable);
    if (!PyStatus_Exception(status)) status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
  }
  if (!PyStatus_Exception(status)) {
    PyEval_SaveThread();
    return 0;
  }
  snprintf(failed, sizeof failed, "Python of %s cannot start (%s): repair it, or run `wrn-deploy embed --python` again in an "
           "environment that works", executable, status.err_msg ? status.err_msg : "no reason given");
  snprintf(message, room, "%s", failed);
  return -1;
}

/* Puts the pending exception into the message and clears it. */
static void report(const char *executable, char *message, size_t room) {
  PyObject *kind, *value, *trace, *text;
  PyErr_Fetch(&kind, &value, &trace);
  PyErr_NormalizeException(&kind, &value, &trace);
  text = value ? PyObject_Str(value) : NULL;
  const char *words = text ? PyUnicode_AsUTF8(text) : NULL;
  snprintf(message, room, "the Python environment of %s lacks something (%s: %s): install wrn-deploy and cffi into "
           "it, or run `wrn-deploy embed --python` again in another", executable,
           kind ? ((PyTypeObject *)kind)->tp_name : "no exception", words ? words : "no text");
  PyErr_Clear();
  Py_XDECREF(kind), Py_XDECREF(value), Py_XDECREF(trace), Py_XDECREF(text);
}

/* sys.path[0] = extra, once. */
static int add_path(const char *extra) {
  PyObject *path = PySys_GetObject("path");
  PyObject *folder = *extra && path ? PyUnicode_DecodeFSDefault(extra) : NULL;
  if (folder == NULL) return *extra ? -1 : 0;
  int there = PySequence_Contains(path, folder);
  int failed = there < 0 || (there == 0 && PyList_Insert(path, 0, folder) != 0);
  Py_DECREF(folder);
  return failed ? -1 : 0;
}

/* Imports what cffi and the calls need, so that a failure is reported and not printed. */
static int import_all(void) {
  static const char *const names[] = {"_cffi_backend", "wrn_deploy.embed.calls"};
  for (size_t each = 0; each < sizeof names / sizeof *names; each++) {
    PyObject *module = PyImport_ImportModule(names[each]);
    if (module == NULL) return -1;
    Py_DECREF(module);
  }
  return 0;
}

/* wrn_deploy.embed.calls.connect(ffi, lib, WRN_ABI_VERSION) */
static int connect_calls(void) {
  PyObject *core = PyImport_ImportModule("_wrn_core");
  PyObject *calls = core ? PyImport_ImportModule("wrn_deploy.embed.calls") : NULL;
  PyObject *ffi = calls ? PyObject_GetAttrString(core, "ffi") : NULL;
  PyObject *lib = ffi ? PyObject_GetAttrString(core, "lib") : NULL;
  PyObject *done = lib ? PyObject_CallMethod(calls, "connect", "OOi", ffi, lib, WRN_ABI_VERSION) : NULL;
  Py_XDECREF(core), Py_XDECREF(calls), Py_XDECREF(ffi), Py_XDECREF(lib), Py_XDECREF(done);
  return done == NULL ? -1 : 0;
}

EXPORTED int32_t wrn_core_start(const char *executable, const char *extra, char *message, size_t room) {
  if (!Py_IsInitialized() && start_python(executable, message, room) != 0) return WRN_MACHINE;
  PyGILState_STATE state = PyGILState_Ensure();
  int failed = add_path(extra) != 0 || import_all() != 0;
  if (failed) report(executable, message, room);
  PyGILState_Release(state);
  if (failed) return WRN_MACHINE;
  if (cffi_start_python() != 0) {
    snprintf(message, room, "cffi cannot start in the Python environment of %s: pip install cffi into "
             "it", executable);
    return WRN_MACHINE;
  }
  state = PyGILState_Ensure();
  failed = connect_calls() != 0;
  if (failed) report(executable, message, room);
  PyGILState_Release(state);
  return failed ? WRN_MACHINE : WRN_OK;
}
