#include "plan/library.hpp"

#include <dlfcn.h>

#include <map>
#include <mutex>

#include "error.hpp"

namespace wrn {
namespace {

[[noreturn]] void missing(const std::string &name, const std::string &why) {
  throw Error(WRN_MACHINE, "this library has ONNX Runtime on a CPU alone; " + name + " cannot be loaded (" + why +
                               "): build it with `wrn-deploy embed --tensorrt FOLDER`, use the library of `wrn-deploy "
                               "embed --python`, or name the backend onnxruntime");
}

template <class Function>
Function *find(void *library, const char *symbol, const std::string &name) {
  Function *found = nullptr;
  *reinterpret_cast<void **>(&found) = dlsym(library, symbol);
  if (found == nullptr) missing(name, std::string("no ") + symbol + " in it");
  return found;
}

}  // namespace

PlanLibrary &plan_library(const std::string &flavor) {
  static std::mutex loading;
  static std::map<std::string, PlanLibrary *> loaded;
  const std::lock_guard<std::mutex> lock(loading);
  PlanLibrary *&kept = loaded[flavor];
  if (kept != nullptr) return *kept;
  // Looked for beside this library first, whose RUNPATH is its own folder. Never unloaded.
  const std::string name = "libwrn_runner_" + flavor + ".so.1";
  void *library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) missing(name, dlerror());
  const std::string version = find<PlanLibraryVersion>(library, "wrn_plan_library_version", name)();
  if (version != WRN_VERSION) missing(name, "it is of wrn-deploy " + version + ", and this one of " WRN_VERSION);
  kept = static_cast<PlanLibrary *>(find<PlanLibraryEntry>(library, "wrn_plan_library", name)());
  return *kept;
}

}  // namespace wrn
